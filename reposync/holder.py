"""Who holds a lock, as it is written down for those who wait."""

from __future__ import annotations

import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds, or held, a lock.

    Attributes:
        pid: its number.
        host: the machine that it runs on.
        program: the file name of its program.
        since: when it took the lock, in seconds since 1970.
    """

    pid: int
    host: str
    program: str
    since: float

    @classmethod
    def me(cls) -> Holder:
        """This process, from now on."""
        program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
        return cls(os.getpid(), platform.node(), program, time.time())

    @property
    def is_this_process(self) -> bool:
        """True if it is the process that asks."""
        return (self.pid, self.host) == (os.getpid(), platform.node())

    def __str__(self) -> str:
        held = max(0.0, time.time() - self.since)
        return f"process {self.pid} on {self.host} ({self.program}), for {held:.1f} s"
