"""How a running sync shows itself: a bar on a terminal, a display in a notebook, else a few lines.

A face is drawn in the syncing thread, when the sync tells of itself; no thread draws it meanwhile.
"""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from reposync.result import SyncProgress
from reposync.words import about, one_line

LINE_SECONDS = 10.0
"""Between two lines where there is no terminal: a log should not fill with them."""

BAR = 16
_EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Scene:
    """What is to be shown.

    Attributes:
        name: of the repository.
        state: what it does ("embed"), or how it ended ("complete").
        now: how far it is; None before it told of itself.
        fraction: the same from 0 to 1; it never falls.
        elapsed: seconds since it began.
        ended: it will do no more.
    """

    name: str
    state: str
    now: SyncProgress | None
    fraction: float
    elapsed: float
    ended: bool = False

    def words(self) -> list[str]:
        """How far it is, the least important last."""
        parts = []
        if self.now is not None:
            now = self.now
            parts.append(f"{now.files_done}/{now.files_total} files")
            if self.ended:
                parts.append(f"in {about(self.elapsed)}")
            elif now.remaining_seconds is not None:
                parts.append(f"{about(now.remaining_seconds)} left")
            parts.append(f"{now.chunks_written} chunks")
            if now.chunks_per_second and not self.ended:
                parts.append(f"{now.chunks_per_second:.0f}/s")
            parts.append(f"{now.texts_embedded} embedded")
        return parts


class Face(Protocol):
    """Where a sync is shown."""

    def draw(self, scene: Scene) -> None:
        """Show how it is now; for good, if it ended."""


def face() -> Face | None:
    """The one that suits where we run; None if there is nobody to see it."""
    shell = _notebook_shell()
    if shell is not None:
        return Notebook()
    if sys.stderr is None:  # a program on Windows without a console
        return None
    return Terminal(sys.stderr) if sys.stderr.isatty() else Lines(sys.stderr)


def _notebook_shell() -> object:
    """IPython's shell, if it has a kernel: a terminal's has none."""
    python = sys.modules.get("IPython")  # who is in a notebook has imported it
    shell = python.get_ipython() if python is not None else None
    return shell if getattr(shell, "kernel", None) is not None else None


class Terminal:
    """One line that is drawn again and again, and stays when the sync ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0

    def draw(self, scene: Scene) -> None:
        """Draw the line; the cursor stays behind it, so that it does not flicker."""
        width = shutil.get_terminal_size().columns - 1  # the last column may wrap
        head = f"{scene.state:<8} {scene.fraction:4.0%} {self._bar(scene.fraction)} "
        words = scene.words()
        while words and len(head) + len(", ".join(words)) > width:
            words.pop()
        line = f"{head}{', '.join(words)}"[:width]
        end = "\n" if scene.ended else ""
        _write(self._stream, f"\r{line:<{self._drawn}}{end}")
        self._drawn = len(line)

    def _bar(self, fraction: float) -> str:
        """As fine as the terminal's characters allow."""
        try:
            _EIGHTHS.encode(self._stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return f"{'#' * round(fraction * BAR):-<{BAR}}"
        full, rest = divmod(round(fraction * BAR * 8), 8)
        return f"{'█' * full}{_EIGHTHS[rest] if rest else ''}".ljust(BAR)


class Lines:
    """For logs and pipes: a line every ten seconds, and one at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.last = time.monotonic()

    def draw(self, scene: Scene) -> None:
        """Write a line, if it is time."""
        now = time.monotonic()
        if scene.ended or now - self.last >= LINE_SECONDS:
            self.last = now
            told = ", ".join([f"{one_line(scene.name)}: {scene.state}", *scene.words()])
            _write(self._stream, f"reposync: {told}\n")


class Notebook:
    """One output of the cell, exchanged again and again: no widgets, nothing to install."""

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, scene: Scene) -> None:
        """Exchange the output."""
        from IPython.display import display

        shown = {"text/html": self._html(scene), "text/plain": self._text(scene)}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)

    def _text(self, scene: Scene) -> str:
        return ", ".join([f"{scene.name}: {scene.state}", *scene.words()])

    def _html(self, scene: Scene) -> str:
        from reposync import display as d

        words = ", ".join(scene.words())
        meter = d.meter(scene.fraction, f"{scene.fraction:.0%} done")
        parts = [d.Line(meter)] if words and scene.state != "complete" else []
        parts += [d.Line(d.join(words))] if words else []
        tone = d.tone_of(scene.state) if scene.ended else "busy"
        return d.View(f"{scene.name}: {scene.state}", tone, parts).html()


def _write(stream: TextIO, text: str) -> None:
    with suppress(OSError, ValueError):  # a closed terminal is no reason to end a sync
        stream.write(text)
        stream.flush()
