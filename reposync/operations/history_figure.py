"""The figure of `plot_history`; the only file that knows Matplotlib, imported for a figure only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from reposync.operations.runs import RunEntry

MAX_NAMES = 8
_DPI = 180
_GREY = "#6e7781"

# Told apart by form, too: not everybody sees the colours.
_LOOKS = {
    "complete": ("#2f9e5f", "o"),
    "partial": ("#b57600", "D"),
    "cancelled": ("#6e7781", "s"),
    "interrupted": ("#8b74c9", "v"),
    "refused": ("#6e7781", "x"),
    "failed": ("#cf3b2e", "X"),
    "running": ("#3d86cc", ">"),
}
_LINES = ("#3d86cc", "#c05a00", "#2f9e5f", "#8b74c9", "#cf3b2e", "#8a6d1f", "#1f7a8c", "#6e7781")


class HistoryFigure(Figure):
    """A figure that a notebook shows although pyplot does not know it."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        file = io.BytesIO()
        FigureCanvasAgg(self).print_figure(file, format="png", dpi=_DPI)
        width, height = self.get_size_inches()
        return file.getvalue(), {"width": round(width * 96), "height": round(height * 96)}


def draw(runs: Sequence[RunEntry], figure: Figure | None = None) -> Figure:
    """Draw runs, the oldest first, into a figure, which is returned."""
    if figure is None:
        figure = HistoryFigure(
            figsize=(8.5, 7 if runs else 0.6), layout="constrained", facecolor="white"
        )
        FigureCanvasAgg(figure)
    names = list(dict.fromkeys(run.repository for run in runs))
    figure.suptitle(_title(runs, names), x=0.01, ha="left", fontsize=11)
    if not runs:
        return figure
    above, chunks, texts, failed = axes = figure.subplots(
        4, 1, sharex=True, height_ratios=(3, 3, 2, 2)
    )
    _durations(above, runs)
    _chunks(chunks, runs, names)
    _amounts(texts, runs, [run.chunks.embedded for run in runs], "#3d86cc")
    _amounts(failed, runs, [run.files.failed for run in runs], "#cf3b2e")
    titles = ("seconds", "chunks in the collection", "texts embedded", "files failed")
    for one, title in zip(axes, titles, strict=True):
        _tidy(one, title)
    _times(failed, runs)
    return figure


def _title(runs: Sequence[RunEntry], names: Sequence[str]) -> str:
    if not runs:
        return "no runs yet"
    whose = _plain(names[0]) if len(names) == 1 else f"{len(names)} repositories"
    return f"{whose}: {len(runs)} run{'s' if len(runs) > 1 else ''}"


def _durations(axes: Any, runs: Sequence[RunEntry]) -> None:
    small = 26 if len(runs) < 300 else 8
    for status, (colour, marker) in _LOOKS.items():
        those = [run for run in runs if run.status == status]
        if those:
            times, spent = [run.started_at for run in those], [_seconds(run) for run in those]
            size = small if status == "complete" else 2 * small  # what went wrong stands out
            look = {"c": colour, "marker": marker, "s": size, "linewidths": 0.5}
            axes.scatter(times, spent, label=status, **look)
    spent = [seconds for run in runs if (seconds := _seconds(run)) > 0]
    if spent and max(spent) > 50 * min(spent):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    else:
        axes.set_ylim(0, 1.1 * max(spent, default=1))
    _legend(axes)


def _seconds(run: RunEntry) -> float:
    """How long a run took; of one that was cut off, until it was last heard of."""
    if run.duration_seconds is not None:
        return run.duration_seconds
    ended = run.finished_at or run.heard_at or run.started_at
    return max(0.0, (ended - run.started_at).total_seconds())


def _chunks(axes: Any, runs: Sequence[RunEntry], names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        told = [run for run in runs if run.repository == name and run.chunks.total]
        if told:
            axes.plot(
                [run.started_at for run in told],
                [run.chunks.total for run in told],
                drawstyle="steps-post",
                color=_LINES[number % len(_LINES)],
                linewidth=1.3,
                marker="o" if len(told) < 30 else None,
                markersize=3.5,
                label=_plain(name),
            )
    axes.set_ylim(0, max(1.1 * max(run.chunks.total for run in runs), 1))
    if 1 < len(names) <= MAX_NAMES:
        _legend(axes)


def _amounts(axes: Any, runs: Sequence[RunEntry], amounts: Sequence[int], colour: str) -> None:
    """A line from the ground for each run; those of a first sync would dwarf all others."""
    some = [(run.started_at, amount) for run, amount in zip(runs, amounts, strict=True) if amount]
    if some:
        times, heights = zip(*some, strict=True)
        axes.vlines(times, 0, heights, color=colour, linewidth=1.6 if len(runs) < 300 else 0.7)
    most = max(amounts)
    if most > 100 and len(runs) > 1:
        axes.set_yscale("symlog", linthresh=1)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0, most * 2)
    else:
        axes.set_ylim(0, max(most * 1.15, 1))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _tidy(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, color=_GREY)
    axes.grid(axis="y", color="#d0d7de", linewidth=0.5)
    axes.set_axisbelow(True)


def _times(axes: Any, runs: Sequence[RunEntry]) -> None:
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    first, last = runs[0].started_at, runs[-1].started_at
    margin = max((last - first) * 0.03, timedelta(seconds=30))
    axes.set_xlim(first - margin, last + margin)


def _legend(axes: Any) -> None:
    axes.legend(
        loc="upper right",
        fontsize=8,
        ncols=8,
        frameon=False,
        borderaxespad=0,
        bbox_to_anchor=(1, 1.16),
    )


def _plain(name: str) -> str:
    """A name that Matplotlib takes for no formula, and does not leave out of a legend."""
    text = name.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
