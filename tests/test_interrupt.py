"""Ctrl-C waits for the end of a batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading

from reposync.interrupt import uninterrupted

START = """
import json, os, signal, sys, threading, time
from reposync.interrupt import uninterrupted
signal.signal(signal.SIGINT, signal.default_int_handler)

said = {}

def press():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)  # Python delivers it between two instructions
"""
END = """
said["handler"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
print(json.dumps(said))
"""


def run(code: str) -> dict[str, object]:
    """What a process says in which Ctrl-C is pressed for real."""
    script = START + textwrap.dedent(code) + END
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    said: dict[str, object] = json.loads(child.stdout)
    return said


def test_ctrl_c_waits_for_the_end_of_the_block() -> None:
    """The block is finished, then KeyboardInterrupt is raised, then all is as before."""
    said = run(
        """
        try:
            with uninterrupted():
                press()
                said["finished"] = True
            said["went on"] = True
        except KeyboardInterrupt:
            said["interrupted"] = True
        """
    )
    assert said == {"finished": True, "interrupted": True, "handler": True}


def test_a_signal_from_outside_waits_too() -> None:
    """A SIGINT that another process sends in the middle of the block waits for its end."""
    script = START + textwrap.dedent(
        """
        try:
            with uninterrupted():
                print("inside", flush=True)
                sys.stdin.readline()
                said["finished"] = True
        except KeyboardInterrupt:
            said["interrupted"] = True
        """
    )
    command = [sys.executable, "-c", script + END]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "inside\n"
            child.send_signal(signal.SIGINT)
            out, _ = child.communicate("go\n", timeout=30)
        finally:
            child.kill()
    assert json.loads(out) == {"finished": True, "interrupted": True, "handler": True}


def test_a_second_ctrl_c_gets_through() -> None:
    """Who presses twice does not want to wait."""
    said = run(
        """
        try:
            with uninterrupted():
                press()
                said["after one"] = True
                press()
                said["after two"] = True
        except KeyboardInterrupt:
            said["interrupted"] = True
        """
    )
    assert said == {"after one": True, "interrupted": True, "handler": True}


def test_nothing_pressed_nothing_raised() -> None:
    """Without Ctrl-C the block is a block, one after the other, and the handler is put back."""
    said = run(
        """
        for number in range(2):
            with uninterrupted():
                said["during"] = signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        said["went on"] = True
        """
    )
    assert said == {"during": True, "went on": True, "handler": True}


def test_an_error_in_the_block_comes_out() -> None:
    """The block's own error passes, and the handler is put back."""
    said = run(
        """
        try:
            with uninterrupted():
                1 / 0
        except ZeroDivisionError:
            said["error"] = True
        """
    )
    assert said == {"error": True, "handler": True}


def test_ctrl_c_is_not_forgotten_when_the_block_fails() -> None:
    """A block that ends by an error has ended: the Ctrl-C that waited for it gets through."""
    said = run(
        """
        try:
            with uninterrupted():
                press()
                1 / 0
        except KeyboardInterrupt:
            said["interrupted"] = True
        except ZeroDivisionError:
            said["error"] = True
        """
    )
    assert said["interrupted"] is True


def test_elsewhere_than_in_the_main_thread_nothing_is_done() -> None:
    """A sync in a worker thread leaves signals alone; the main thread gets its Ctrl-C at once."""
    said = run(
        """
        inside, done = threading.Event(), threading.Event()

        def work():
            with uninterrupted():
                said["alone"] = signal.getsignal(signal.SIGINT) is signal.default_int_handler
                inside.set()
                done.wait(10)
                said["finished"] = True

        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(10)
        try:
            press()
            said["went on"] = True
        except KeyboardInterrupt:
            said["interrupted in the block"] = "finished" not in said
        done.set()
        thread.join()
        """
    )
    expected = {"alone", "interrupted in the block", "finished", "handler"}
    assert said == dict.fromkeys(expected, True)


def test_a_handler_of_the_host_is_left_alone() -> None:
    """A host that handles SIGINT itself goes on doing so, also in the middle of a batch."""
    said = run(
        """
        heard = []
        def mine(number, frame):
            heard.append(number)
        signal.signal(signal.SIGINT, mine)
        with uninterrupted():
            said["still mine"] = signal.getsignal(signal.SIGINT) is mine
            press()
            said["heard at once"] = len(heard) == 1
        said["mine afterwards"] = signal.getsignal(signal.SIGINT) is mine
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with uninterrupted():
            press()
        said["ignored"] = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
        """
    )
    expected = {"still mine", "heard at once", "mine afterwards", "ignored", "handler"}
    assert said == dict.fromkeys(expected, True)


def test_in_this_very_process() -> None:
    """Also under a test runner, with threads about, nothing remains changed."""
    before = signal.getsignal(signal.SIGINT)
    with uninterrupted():
        assert os.getpid() > 0
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.current_thread() is threading.main_thread()
