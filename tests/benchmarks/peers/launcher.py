"""Runs a command and reports what it and all its descendants used, as JSON.

    python -I -S launcher.py REPORT COMMAND [ARGUMENT ...]

A program of its own, with next to nothing loaded: on Linux a process inherits the peak memory of
the one that started it, so one started from a large process would seem as large. Descendants that
outlive the command are waited for, too: a daemon that does the work is not free of charge.
"""

import ctypes
import json
import os
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    report, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started = time.perf_counter()
    first = os.posix_spawnp(command[0], command, os.environ)
    cpu, peak, code, wall = 0.0, 0, 0, 0.0
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss)
        if pid == first:
            wall, code = time.perf_counter() - started, os.waitstatus_to_exitcode(status)
    with open(report, "w") as file:
        json.dump({"cpu": cpu, "wall": wall, "peak_kb": peak, "code": code}, file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
