"""As many cores are used as the process may use, and no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reposync.embed import cores


@pytest.fixture
def _eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of eight cores, all of which the process may run on."""
    monkeypatch.setattr(cores, "_allowed", lambda: 8)


def tree(root: Path, files: dict[str, str]) -> Path:
    """A folder that stands for `/`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


CONTAINERS: dict[str, tuple[int, dict[str, str]]] = {
    "version 2, its own limit": (
        3,
        {
            "proc/self/cgroup": "0::/user.slice/app.scope\n",
            "sys/fs/cgroup/user.slice/app.scope/cpu.max": "300000 100000\n",
        },
    ),
    "version 2, a limit above": (
        2,
        {
            "proc/self/cgroup": "0::/user.slice/app.scope\n",
            "sys/fs/cgroup/user.slice/cpu.max": "200000 100000\n",
            "sys/fs/cgroup/user.slice/app.scope/cpu.max": "max 100000\n",
        },
    ),
    "version 2, inside a container": (
        2,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"},
    ),
    "version 2, the host's path": (
        1,
        {
            "proc/self/cgroup": "0::/../../docker/3f2a\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
        },
    ),
    "version 1": (
        4,
        {
            "proc/self/cgroup": "9:name=systemd:/\n4:memory:/x\n3:cpuacct,cpu:/docker/3f2a\n0::/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "400000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/x/cpu.max": "100000 100000\n",
        },
    ),
    "version 1, no limit": (
        8,
        {
            "proc/self/cgroup": "1:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
    ),
    "more than there is": (
        8,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"},
    ),
    "a tenth of a core": (
        1,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"},
    ),
    "nonsense": (
        8,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "much\n"},
    ),
    "a period of nothing": (
        8,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"},
    ),
    "no cgroups": (8, {}),
}


@pytest.mark.usefixtures("_eight")
@pytest.mark.parametrize("container", CONTAINERS)
def test_a_containers_quota_counts(container: str, tmp_path: Path) -> None:
    """A container that is paid for two cores gets two threads, however many the machine has."""
    expected, files = CONTAINERS[container]
    assert cores.usable_cores(tree(tmp_path, files)) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_cores_are_those_that_the_process_may_use() -> None:
    """A process confined to one core starts no threads for the others."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
