"""One call of `sync_repository`, with the CPU seconds of each stage:  TREE STORE REPORT [PROFILE]

REPORT is a file that gets them as JSON, PROFILE one that gets a profile, by CPU time, of all of it,
imports included. Settings are taken from the environment: REPOSYNC_BATCH_ROWS=1000.
"""

from __future__ import annotations

import cProfile
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from task import COLLECTION, free

tree, store, report, *profile = map(Path, sys.argv[1:])
profiler = cProfile.Profile(time.process_time) if profile else None


def main() -> None:
    from reposync import SyncConfig, sync_repository, tally

    # Stages are timed by the clock on the wall; on a busy machine that says little.
    tally.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[assignment]
    result = sync_repository(
        tree,
        COLLECTION,
        store=store,
        collection=COLLECTION,
        embedding_function=free,
        config=SyncConfig.from_env(),
    )
    result.raise_for_failures()
    report.write_text(result.model_dump_json(include={"stages", "files", "chunks"}))


if profiler is None:
    main()
else:
    profiler.runcall(main)
    profiler.dump_stats(profile[0])
