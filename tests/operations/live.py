"""A sync in a process of its own that embeds one batch each time it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import Popen
from typing import Any

from support import Desk, last_json, start_python

STEPWISE = """
import json, sys
from pathlib import Path
from support import Desk, HashEmbedding, store_at

def step():
    print("embedding", flush=True)
    if not sys.stdin.readline():
        sys.exit("nobody is left to tell how to go on")

desk = Desk(Path(sys.argv[1]), store_at(sys.argv[2]), embedding=HashEmbedding(before=step))
result = desk.sync()
print(json.dumps([result.status, result.resumed, len(desk.embedding.calls)]), flush=True)
"""


class Stepwise:
    """The sync; it stands in its first call of the embedding function."""

    def __init__(self, child: Popen[str]) -> None:
        self.child = child
        self._wait()

    def step(self, batches: int = 1) -> None:
        """Let it embed and write a batch, and go on to its next call."""
        for _ in range(batches):
            self._go()
            self._wait()

    def finish(self) -> tuple[str, bool, int]:
        """Let it go on; how it ended, whether it took up another one, and its calls."""
        self._go(100)
        assert self.child.stdin is not None
        self.child.stdin.close()
        self.child.stdin = None
        out, err = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, err
        said: Any = last_json(out)
        return said[0], said[1], said[2]

    def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        self.child.wait()

    def _go(self, times: int = 1) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("\n" * times)
        self.child.stdin.flush()

    def _wait(self) -> None:
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line == "embedding\n", (line, self.child.communicate(timeout=60)[1])


@contextmanager
def stepwise(desk: Desk) -> Iterator[Stepwise]:
    """Sync a desk in another process, batch by batch; it is killed at the end of the block."""
    with start_python(STEPWISE, desk.root, desk.where) as child:
        try:
            yield Stepwise(child)
        finally:
            child.kill()
