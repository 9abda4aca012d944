"""How many cores this process may use: those that it may run on, and what its container is paid."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil
from pathlib import Path


def usable_cores(root: Path = Path("/")) -> int:
    """At least 1. A quota of 1.5 cores counts as 2, so that all of it is used.

    root: where `proc` and `sys` are, on Linux.
    """
    quotas = [ceil(quota) for folder in _cgroups(root) if (quota := _quota(folder)) is not None]
    return max(1, min([_allowed(), *quotas]))


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux; a container or taskset may leave fewer
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cgroups(root: Path) -> Iterator[Path]:
    """The control groups that may limit this process: its own, and all above it.

    Version 2 has one tree; version 1 has a tree for `cpu` beside others. Inside a container the
    path may be the host's, which is not there: the container's own limit is then at the top.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mounted / "cpu" if controllers else mounted
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts) + 1):
            yield top.joinpath(*parts[:depth])


def _quota(folder: Path) -> float | None:
    """Cores' worth of time that a control group gets; None where it is not limited."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii")
            period = (folder / "cpu.cfs_period_us").read_text("ascii")
        limit = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
    return limit if limit > 0 else None
