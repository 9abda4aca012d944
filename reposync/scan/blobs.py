"""Blobs out of git's object store, by one process that is asked for one after the other."""

from __future__ import annotations

import errno
import os
import select
import time
from typing import TYPE_CHECKING

from reposync.scan import git_command
from reposync.scan.git_command import NoAnswer, calm_environment

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import Popen

_PIECE = 65_536


class Blobs:
    """The blobs of one repository. Not for use by several threads at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: Popen[bytes] | None = None

    def read(self, oid: str) -> bytes:
        """Give one blob.

        Raises:
            OSError: it is not there, or damaged, or git does not answer.
        """
        try:
            data = self._ask(oid)
        except NoAnswer as answer:
            raise OSError(errno.EIO, str(answer)) from answer
        except OSError:
            self.close()  # what it would say next belongs to no question of ours
            raise
        if data is None:
            raise FileNotFoundError(errno.ENOENT, f"git has no blob {oid}")
        return data

    def _ask(self, oid: str) -> bytes | None:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(oid.encode() + b"\n")
        reader = _Reader(process.stdout.fileno())
        head = reader.line().split()
        if len(head) != 3:  # "<oid> missing"
            return None
        data = reader.exactly(int(head[2]) + 1)
        return data[:-1] if head[1] == b"blob" else None

    def _running(self) -> Popen[bytes]:
        if self._process is None:
            from subprocess import DEVNULL, PIPE, Popen

            command = git_command.git_command(self._root, "cat-file", "--batch")
            self._process = Popen(  # noqa: S603 - see `git_command`
                command,
                cwd=self._root,
                env={**calm_environment(), "GIT_NO_REPLACE_OBJECTS": "1"},
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                bufsize=0,
            )
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


class _Reader:
    """Reads from a pipe, and not without end: a loose object may be a FIFO."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._read = bytearray()
        self._until = time.monotonic() + git_command.PATIENCE_SECONDS

    def line(self) -> bytes:
        while (end := self._read.find(b"\n")) < 0:
            self._more(_PIECE)
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more(max(_PIECE, size - len(self._read)))
        return bytes(self._read)

    def _more(self, most: int) -> None:
        if os.name == "posix":
            left = max(0.0, self._until - time.monotonic())
            if not select.select([self._handle], [], [], left)[0]:
                raise TimeoutError(errno.ETIMEDOUT, "git gave no answer")
        piece = os.read(self._handle, most)
        if not piece:
            raise OSError(errno.EIO, "git ended: the object may be damaged")
        self._read += piece
