"""Texts are cut into runs and spread over the cores; each gets its own vector back."""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import Any

import numpy as np
import pytest

from reposync.embed import runs


class Fake:
    """A model whose hidden state tells the token, so that a text's vector tells its tokens."""

    def __init__(self, multiple: int = 1, workers: int = 1) -> None:
        self.multiple = multiple
        self.workers = workers
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[threading.Thread] = set()

    def hidden(self, ids: Any, mask: Any) -> Any:
        self.shapes.append(ids.shape)
        self.threads.add(threading.current_thread())
        assert not ids[mask == 0].any()
        noise = 7.0 * (mask == 0)  # what a model says of padding is nobody's business
        return np.eye(384, dtype=np.float32)[ids] + noise[:, :, None]


def texts(number: int) -> list[list[int]]:
    """Texts of which each is made of its own token, in many lengths."""
    lengths = np.random.default_rng(5).integers(2, 257, size=number)
    return [[token] * int(length) for token, length in enumerate(lengths, start=1)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("multiple", [1, 16])
def test_every_text_gets_its_own_vector(workers: int, multiple: int) -> None:
    """Sorted, padded and computed by several threads: the vectors come back in order."""
    fake = Fake(multiple, workers)
    vectors = runs.compute(fake, texts(300))
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors.argmax(axis=1), np.arange(1, 301))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    assert all(width % multiple == 0 for _, width in fake.shapes)
    assert (threading.main_thread() in fake.threads) == (workers == 1)
    assert not any(thread.is_alive() for thread in fake.threads - {threading.main_thread()})


def test_no_texts_are_no_run() -> None:
    """Nothing to compute starts nothing."""
    fake = Fake(workers=2)
    assert runs.compute(fake, []).shape == (0, 384)
    assert fake.shapes == []


@pytest.mark.parametrize("multiple", [1, 16])
def test_runs_are_sorted_bounded_and_complete(multiple: int) -> None:
    """Every text is in exactly one run, and no run is larger than the model's caches like it."""
    lengths = [len(text) for text in texts(300)] + [2] * 80
    cut = list(runs._runs(lengths, multiple))
    assert sorted(index for run in cut for index in run) == list(range(len(lengths)))
    for run in cut:
        width = -(-max(lengths[i] for i in run) // multiple) * multiple
        assert len(run) <= 32
        assert len(run) * width <= 512
    assert list(runs._runs([])) == []


def test_a_failing_run_ends_all_of_them() -> None:
    """The first error comes out, runs that were not begun stay so, and no thread is left."""

    class Failing(Fake):
        def hidden(self, ids: Any, mask: Any) -> Any:
            answer = super().hidden(ids, mask)
            if next(calls) == 0:
                raise MemoryError
            time.sleep(0.05)
            return answer

    calls = count()
    failing = Failing(workers=2)
    with pytest.raises(MemoryError):
        runs.compute(failing, texts(300))
    assert len(failing.shapes) < 40, "of 90"
    assert not any(thread.is_alive() for thread in failing.threads)
