"""What a text costs with the default model: Chroma's own function, and ours on each runtime.

    python tests/benchmarks/runner.py [--texts 512] [--weights model.onnx]

The texts are chunks of this repository, in an order of chance. Each runner is a process of its own;
they take turns, a batch of 128 texts each, so that a busy machine is as busy for all of them.
Compare CPU times: wall times mean something on a quiet machine only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "embed"))

from chromas import chromas_function

from reposync.chunk import Chunker
from reposync.embed import fast, minilm
from reposync.embed.ort import OnnxRuntime
from reposync.embed.runs import Runtime
from reposync.embed.weights import find_weights
from reposync.tokens import TokenCounter

ROOT = Path(__file__).parents[2]
BATCH = 128
REFERENCE = ROOT / "tests" / "embed" / "data" / "minilm_fp32.json"
CASES = json.loads(REFERENCE.read_text("utf-8"))["cases"]

Embed = Callable[[list[str]], Any]


def chroma(weights: Path, scratch: Path) -> Embed:
    """What Chroma uses by default."""
    return chromas_function(weights, scratch / "chroma")


def on_onnxruntime(weights: Path, _: Path) -> Embed:
    """Ours, as it is without the extra `fast`."""
    fast.is_possible = lambda: False
    return ours(weights, OnnxRuntime)


def on_openvino(weights: Path, _: Path) -> Embed:
    """Ours with the extra `fast`, once there are texts enough; its self-test included."""
    fast.PAYS_FROM = 1
    return ours(weights, fast.OpenVino)


def ours(weights: Path, runtime: type[Runtime]) -> Embed:
    minilm.find_weights = lambda: weights
    model = minilm.MiniLM()

    def embed(texts: list[str]) -> Any:
        vectors = model.embed(texts)
        if type(model._runtime) is not runtime:
            raise SystemExit(f"{runtime.__name__} cannot be used on this machine")
        return vectors

    return embed


RUNNERS: dict[str, Callable[[Path, Path], Embed]] = {
    "Chroma's function": chroma,
    "reposync, onnxruntime": on_onnxruntime,
    "reposync[fast], OpenVINO": on_openvino,
}


@dataclass
class Account:
    """What one runner took: (CPU, wall) seconds to load it and for each batch; what came out."""

    load: tuple[float, float] = (0.0, 0.0)
    batches: list[tuple[float, float]] = field(default_factory=list)
    vectors: list[Any] = field(default_factory=list)
    peak_mb: int = 0

    def milliseconds(self, which: int) -> float:
        return 1000 * median(batch[which] for batch in self.batches) / BATCH


def serve(name: str, weights: Path, connection: Connection) -> None:
    """The runner's process: loads at the first list of texts, answers until there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        embed: Embed | None = None
        while (texts := connection.recv()) is not None:
            began = time.process_time(), time.perf_counter()
            embed = embed or RUNNERS[name](weights, Path(scratch))
            vectors = np.asarray(embed(texts), dtype=np.float64)
            took = time.process_time() - began[0], time.perf_counter() - began[1]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            connection.send((took, vectors, peak))


def measure(texts: list[str], weights: Path) -> dict[str, Account]:
    """Every runner on all texts, in turns."""
    spawn = multiprocessing.get_context("spawn")
    accounts: dict[str, Account] = {}
    pipes = {}
    for name in RUNNERS:
        pipes[name], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(name, weights, theirs), daemon=True).start()
        theirs.close()
    for name, pipe in list(pipes.items()):
        pipe.send([CASES[0]["text"]])
        try:
            took, _, _ = pipe.recv()
        except EOFError:
            del pipes[name]
            continue
        accounts[name] = Account(took)
    for batch in [*batches(texts), [case["text"] for case in CASES]]:
        for name, pipe in pipes.items():
            pipe.send(batch)
            took, vectors, accounts[name].peak_mb = pipe.recv()
            accounts[name].vectors.append(vectors)
            if len(batch) == BATCH:
                accounts[name].batches.append(took)
    for pipe in pipes.values():
        pipe.send(None)
    return accounts


def batches(texts: list[str]) -> Iterator[list[str]]:
    for begin in range(0, len(texts) - BATCH + 1, BATCH):
        yield texts[begin : begin + BATCH]


def chunks() -> list[str]:
    """The distinct texts that a sync of this repository embeds, in an order of chance."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml"], cwd=ROOT, capture_output=True, check=True
    )
    chunker = Chunker()
    found = {
        chunk.embedded_text: None
        for name in listed.stdout.decode().split()
        for chunk in chunker.chunk(name, (ROOT / name).read_text("utf-8"))
    }
    texts = list(found)
    Random(5).shuffle(texts)
    return texts


def show(accounts: dict[str, Account]) -> None:
    """Print the table, and from how many texts on OpenVINO pays."""
    print(
        f"{'':26}{'load':>7}{'CPU ms':>9}{'wall ms':>9}{'times':>7}{'peak':>6}"
        f"{'least cosine to':>18}{'':>8}\n"
        f"{'':26}{'CPU s':>7}{'a text':>9}{'a text':>9}{'faster':>7}{'MB':>6}"
        f"{'Chroma':>12}{'fp32':>9}"
    )
    first = next(iter(accounts.values()))
    expected = np.array([case["vector"] for case in CASES])
    for name, account in accounts.items():
        same = np.concatenate(first.vectors), np.concatenate(account.vectors)
        print(
            f"{name:26}{account.load[0]:7.2f}{account.milliseconds(0):9.1f}"
            f"{account.milliseconds(1):9.1f}"
            f"{first.milliseconds(0) / account.milliseconds(0):7.1f}{account.peak_mb:6}"
            f"{cosine(*same):12.7f}{cosine(account.vectors[-1], expected):9.5f}"
        )
    if len(accounts) == len(RUNNERS):
        _, slow, quick = accounts.values()
        saved = (slow.milliseconds(0) - quick.milliseconds(0)) / 1000
        print(
            f"\nOpenVINO pays from {(quick.load[0] - slow.load[0]) / saved:.0f} texts on"
            f" (it is loaded from {fast.PAYS_FROM} on)."
        )


def cosine(ours: Any, theirs: Any) -> float:
    return float((ours * theirs).sum(axis=1).min())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=4 * BATCH, help="default: 512")
    parser.add_argument("--weights", type=Path, help="an ONNX file; default: what a sync would use")
    options = parser.parse_args()
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    weights = options.weights or find_weights()
    texts = chunks()[: max(options.texts, BATCH)]
    tokens = [min(count + 2, minilm.MAX_TOKENS) for count in TokenCounter().count(texts)]
    packages = ("chromadb", "onnxruntime", "openvino", "tokenizers", "numpy")
    print(f"weights: {weights}\n" + ", ".join(f"{name} {version(name)}" for name in packages))
    print(f"{len(texts)} texts of {np.mean(tokens):.0f} tokens on average\n")
    show(measure(texts, weights))


if __name__ == "__main__":
    main()
