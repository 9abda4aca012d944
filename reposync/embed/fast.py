"""The default model on OpenVINO (extra ``fast``); the only importer of ``openvino``.

It pays where the processor multiplies matrices of bf16 in hardware (AMX): less than a third of the
CPU time of onnxruntime. Without, it was measured to gain a fifth at best, and is not loaded.

How close is it? Cosine 0.99994 or more to onnxruntime on the same weights. Texts are padded to a
multiple of 16 tokens, so that a vector depends on its text alone, to the last bit. With any width,
kernels of several kinds would take turns, and a text's vectors differ by up to 0.001.
"""

from __future__ import annotations

import logging
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from reposync.embed.runs import Runtime, compute

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

PAYS_FROM = 32
"""Texts. Loading and testing OpenVINO takes as much CPU as 20 texts then save."""

MIN_COSINE = 0.9999

SAMPLES = (
    "",
    "hello",
    "def connect(host: str, port: int) -> Socket:\n    raise ConnectionError('Straße 7, 東京')\n",
    "A lock is held for one batch, then given back, so that neighbours get their turn. " * 8,
)
"""What the self-test embeds: nothing, a word, code, and prose of 160 tokens."""

_CLS, _SEP = 101, 102

# Two threads that use OpenVINO's binding for the first time in a process wait for each other for
# ever: one holds the lock of a static variable and wants the GIL, the other the reverse (seen with
# 2026.4, one start in four). So the first run of all happens alone.
_ONE_AT_A_TIME = threading.Lock()


class OpenVino:
    """The model of the file `weights`, compiled; see `reposync.embed.runs.Runtime`.

    Its threads end with the object.
    """

    multiple = 16

    def __init__(self, weights: Path, workers: int, precision: str = "bf16") -> None:
        self.workers = workers
        self._idle: SimpleQueue[Any] = SimpleQueue()
        with _ONE_AT_A_TIME:
            compiled = _compile(weights, workers, precision)
            for _ in range(workers):
                self._idle.put(compiled.create_infer_request())
            compute(self, [[_CLS, _SEP]])

    def hidden(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One run; see `reposync.embed.runs.Runtime`."""
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        request = self._idle.get()
        try:
            state: NDArray[np.float32] = request.infer(feed)[0]  # a copy
        finally:
            self._idle.put(request)
        return state


def _compile(weights: Path, workers: int, precision: str) -> Any:
    openvino = _import_openvino()
    from openvino import passes

    core = openvino.Core()
    model = core.read_model(weights)
    # Weights that are packed as int8 would be unpacked in every run, for half as much again.
    folding = passes.Manager()
    folding.register_pass(passes.ConstantFolding())
    folding.run_passes(model)
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": workers,
        "NUM_STREAMS": workers,  # as many runs at once, each on one core
        "ENABLE_CPU_PINNING": False,  # or two processes would share one core, and leave others
    }
    return core.compile_model(model, "CPU", settings)


def is_possible() -> bool:
    """Whether OpenVINO is installed and pays on this processor; imports nothing."""
    return has_amx() and find_spec("openvino") is not None


def load(
    weights: Path, workers: int, samples: Sequence[list[int]], expected: NDArray[np.float32]
) -> Runtime | None:
    """OpenVINO, or None if it fails, or `samples` are not `expected` (by onnxruntime).

    samples: the tokens of SAMPLES.
    """
    try:
        runtime = OpenVino(weights, workers)
        cosine = float((compute(runtime, samples) * expected).sum(axis=1).min())
    except Exception:  # whatever is wrong with it, there is another way
        logger.info("OpenVINO failed: the default model runs on onnxruntime", exc_info=True)
        return None
    if not cosine >= MIN_COSINE:  # NaN is not, either
        logger.info(
            "OpenVINO is not used: in a self-test its cosine to onnxruntime was %.6f", cosine
        )
        return None
    logger.info("the default model runs on OpenVINO: cosine %.6f to onnxruntime", cosine)
    return runtime


def has_amx(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies matrices of bf16 in hardware, as far as Linux says."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return False
    return "amx_bf16" in flags.split()


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, unless the host imported it with it.

    Its import reports to Google Analytics from a process that it forks, and writes an id of the
    user into ``~/intel``. It does without where the package for it is missing.
    """
    telemetry = "openvino_telemetry"
    if "openvino" in sys.modules or telemetry in sys.modules:
        import openvino

        return openvino

    sys.modules[telemetry] = None  # type: ignore[assignment]  # documented: its import fails
    try:
        import openvino
    finally:
        sys.modules.pop(telemetry, None)
    return openvino
