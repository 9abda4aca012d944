"""When OpenVINO is used, when it is not, and that neither runtime does anything but compute."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reposync.embed import fast
from reposync.embed.minilm import MiniLM
from reposync.embed.ort import OnnxRuntime

TEXTS = [f"text number {number}" for number in range(fast.PAYS_FROM)]

needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="OpenVINO has no wheel for this platform"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, so that the packaged weights are used."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    return home


@pytest.fixture(autouse=True)
def _on_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor on which it pays."""
    monkeypatch.setattr(fast, "has_amx", lambda: True)


@needs_openvino
def test_it_is_loaded_once_enough_texts_were_wanted(caplog: pytest.LogCaptureFixture) -> None:
    """A few texts do not pay for loading it; from PAYS_FROM on, in all, it takes over."""
    caplog.set_level(logging.INFO, "reposync")
    model = MiniLM()
    first = model.embed(TEXTS[:-1])
    assert type(model._runtime) is OnnxRuntime
    assert not caplog.messages
    model.embed(TEXTS[-1:])
    assert type(model._runtime) is fast.OpenVino
    assert [message for message in caplog.messages if "runs on OpenVINO: cosine" in message]
    assert (model.embed(TEXTS[:-1]) * first).sum(axis=1).min() >= fast.MIN_COSINE


@needs_openvino
@pytest.mark.parametrize(
    "wrong", [lambda state: state[::-1], lambda state: state * np.nan], ids=["mixed up", "NaN"]
)
def test_wrong_vectors_are_not_used(
    wrong: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A runtime that fails the self-test is not used, and the log says so."""
    caplog.set_level(logging.INFO, "reposync")
    right = fast.OpenVino.hidden
    monkeypatch.setattr(
        fast.OpenVino, "hidden", lambda self, ids, mask: wrong(right(self, ids, mask))
    )
    model = MiniLM()
    with np.errstate(all="ignore"):
        vectors = model.embed(TEXTS)
    assert type(model._runtime) is OnnxRuntime
    assert "OpenVINO is not used: in a self-test its cosine" in caplog.text
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("error", [ImportError("libtbb.so"), RuntimeError("no primitive")])
def test_a_failing_openvino_is_not_used(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An installation that is broken costs nothing but a line in the log."""

    def fail(*args: Any) -> Any:
        raise error

    caplog.set_level(logging.INFO, "reposync")
    monkeypatch.setattr(fast, "is_possible", lambda: True)
    monkeypatch.setattr(fast, "OpenVino", fail)
    model = MiniLM()
    assert model.embed(TEXTS).shape == (len(TEXTS), 384)
    assert type(model._runtime) is OnnxRuntime
    assert str(error) in caplog.text
    model.embed(TEXTS)
    assert caplog.text.count(str(error)) == 1, "it is tried once"


def test_it_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, everything works."""
    monkeypatch.setitem(sys.modules, "openvino", None)
    model = MiniLM()
    assert model.embed(TEXTS).shape == (len(TEXTS), 384)
    assert type(model._runtime) is OnnxRuntime


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n", True),
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd bf16\n", False),
        (None, False),
    ],
)
def test_it_is_used_on_processors_where_it_pays(
    cpuinfo: str | None, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without matrix units for bf16 it was no faster, so that it is not even imported."""
    monkeypatch.undo()
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert fast.has_amx(tmp_path / "cpuinfo") is expected


def run(code: str) -> str:
    """What a fresh process prints; a hang is a failure."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_openvino
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads through /proc")
def test_runtimes_compute_and_do_nothing_else(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both would report to their makers when imported, from a thread or a process that outlives the
    call, and leave files in the user's home: neither does."""
    for name in ("CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY"):  # each turns one off
        monkeypatch.delenv(name, raising=False)
    seen = run(
        "import gc, os, sys, numpy\n"
        "from reposync.embed import fast, make_embedder\n"
        "fast.has_amx = lambda: True\n"
        "before = len(os.listdir('/proc/self/task')), dict(os.environ)\n"
        f"make_embedder(None).embed({TEXTS!r})\n"
        "gc.collect()\n"
        "assert before == (len(os.listdir('/proc/self/task')), dict(os.environ))\n"
        "print({'onnxruntime', 'openvino', 'openvino_telemetry'} & set(sys.modules))\n"
    )
    assert eval(seen) == {"onnxruntime", "openvino"}
    assert os.listdir(home) == []


@needs_openvino
def test_the_first_runs_may_be_of_many_threads() -> None:
    """Threads that use OpenVINO's binding for the first time at once could wait for ever (without
    the run that `OpenVino` begins with, one start in three hung here)."""
    run(
        "import sys, threading, numpy\n"
        "from reposync.embed import fast, weights\n"
        "sys.setswitchinterval(1e-6)\n"
        "runtime = fast.OpenVino(weights.find_weights(), 8)\n"
        "texts = numpy.full((2, 16), 101)\n"
        "ready = threading.Barrier(8)\n"
        "begin = lambda: ready.wait() + len(runtime.hidden(texts, texts // 101))\n"
        "threads = [threading.Thread(target=begin) for _ in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
    )
