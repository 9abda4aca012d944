"""How long neighbours wait while a cold sync of some 5 000 chunks runs; vectors come for free.

    python tests/benchmarks/neighbours.py [--json FILE] [--chunks 5000] [--only NAME]

Each scene is a sync into a new store by a process of its own, with other processes and threads
that use the store meanwhile. Two bounds are checked: four holds of the sync for each one who waits,
and 2 seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "acceptance"))

import trees
from street import Account, run_street

MOST_SECONDS = 2.0
UPSERT = ["upsert", "--every", "0.05"]
FLOCK = ["flock", "--every", "0.1", "--hold", "0.005"]
READING, PLAIN = ("--query", "reading"), ("--query", "plain")
SCENES: dict[str, tuple[list[list[str]], tuple[str, ...]]] = {
    "alone": ([], ()),
    "a: one upserts every 50 ms": ([UPSERT], ()),
    "b: four upsert every 50 ms": ([UPSERT] * 4, ()),
    "c: one polls flock every 0.1 s": ([FLOCK], ()),
    "d: a thread queries under reading()": ([], READING),
    "d: a thread queries without a lock": ([], PLAIN),
    "e: all at once": ([*[UPSERT] * 4, FLOCK], READING),
}
BYTES_A_CHUNK = 500


def make_tree(tree: Path, chunks: int) -> None:
    """Real code, of about so many chunks."""
    source = trees.Source(trees.LIBRARY, (".py",), trees.NOT_LIBRARY)
    size = chunks * BYTES_A_CHUNK
    trees.sample([source], tree, files=chunks, size=size, largest=40 * trees.KILOBYTE)


def show(name: str, account: Account) -> bool:
    """Print a scene; True if every wait kept the promise."""
    store, holds = account.sync["store"], account.holds
    print(
        f"\n{name}\n  sync: {account.sync['chunks']['total']} chunks in {account.seconds:.1f} s,"
        f" {holds.count} holds: p50 {holds.p50:.3f}, p95 {holds.p95:.3f}, max {holds.max:.3f} s;"
        f" refreshes {store.get('refreshes', '-')},"
        f" longest reload {store.get('longest_reload_seconds', 0.0):.3f} s"
    )
    kept = True
    for stay in account.stays:
        waits, visits = stay.waits, stay.visits
        locked = account.waiters > 0 and waits.max > 0.0005
        bound = min(MOST_SECONDS, account.longest_wait) if locked else MOST_SECONDS
        keeps = max(waits.max, 0.0 if locked else visits.max) <= bound
        keeps &= not locked or stay.most_passed <= account.most_passed
        kept &= keeps
        print(
            f"  {stay.who:7} {waits.count:5} waits: p50 {waits.p50:.3f}, p95 {waits.p95:.3f},"
            f" max {waits.max:.3f} s | visits: p50 {visits.p50:.3f}, p95 {visits.p95:.3f},"
            f" max {visits.max:.3f} s | passed by {stay.most_passed} holds"
            f" (allowed: {account.most_passed} holds, {bound:.2f} s):"
            f" {'kept' if keeps else 'BROKEN'}"
        )
    return kept


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="a file that gets all the numbers")
    parser.add_argument("--chunks", type=int, default=5000)
    parser.add_argument("--only", default="", help="scenes whose name begins so")
    options = parser.parse_args()
    accounts: dict[str, Account] = {}
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        make_tree(tree, options.chunks)
        for number, (name, (neighbours, sync)) in enumerate(SCENES.items()):
            if name.startswith(options.only):
                folder = Path(scratch) / str(number)
                accounts[name] = run_street(folder, tree, neighbours, sync=sync, deadline=600)
    kept = [show(name, account) for name, account in accounts.items()]
    if options.json:
        options.json.write_text(
            json.dumps({name: account.as_json() for name, account in accounts.items()}, indent=1)
        )
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
