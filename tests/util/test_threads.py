"""One BLAS thread in a block, and as many as before after it."""

from __future__ import annotations

import pytest
import scipy.linalg  # noqa: F401  Its BLAS is another than numpy's.
from threadpoolctl import threadpool_info

from m3csr_tf.util import threads


def blas_threads() -> list[int]:
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_blas_has_one_thread_in_a_block_and_as_many_as_before_after_it() -> None:
    before = blas_threads()
    assert len(before) >= 2  # Numpy's and scipy's.
    for _ in range(2):
        with threads.one_blas_thread():
            assert blas_threads() == [1] * len(before)
        assert blas_threads() == before
    with pytest.raises(RuntimeError, match="anything"), threads.one_blas_thread():
        raise RuntimeError("anything")
    assert blas_threads() == before


def test_libraries_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with threads.one_blas_thread():
        pass
    monkeypatch.setattr(threads, "ThreadpoolController", lambda: pytest.fail("looked for again"))
    with threads.one_blas_thread():
        assert set(blas_threads()) == {1}


def test_workers_have_one_thread_each_and_their_errors_are_raised() -> None:
    found: list[list[int]] = []
    threads.each_worker(lambda _: found.append(blas_threads()), 2)
    assert len(found) == 2 and {number for one in found for number in one} == {1}

    def fails(worker: int) -> None:
        raise ValueError(f"worker {worker}")

    with pytest.raises(ValueError, match="worker 0"):
        threads.each_worker(fails, 2)
