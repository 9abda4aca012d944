"""The ``reposync`` command: a thin face of the library.

A command parses its options, calls one function of the library, and shows the report that it gets:
as text (`reposync.command.output`) or as JSON. How it ends is decided in `reposync.command.exits`.
"""

from __future__ import annotations


def main() -> None:
    """Run the command that this process was started for, and end the process."""
    import os
    import sys
    from contextlib import suppress

    try:
        import signal

        from reposync.command.program import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while Python still loads
        sys.stderr.write("reposync: interrupted\n")
        code = 130
    if code == 130:
        # Where it met Python in an `exec` of text, by which data classes are made, Python would end
        # by the signal in spite of `sys.exit`, and no exit code would be seen.
        with suppress(OSError):  # nobody reads any more
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    # All is said and done: a Ctrl-C from here on ends Python's own cleaning up, silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)
