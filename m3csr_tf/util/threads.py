"""Shares work among threads that use one BLAS thread each, so that products and what follows them use all cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  Loads scipy's BLAS, which is another than numpy's, before libraries are looked for.
from threadpoolctl import ThreadpoolController

_BLAS_LIMIT = threading.Lock()


@cache
def threaded_libraries() -> ThreadpoolController:
    """Returns the threaded libraries of this process. Looking for them takes 5 ms, and ALS limits them very often."""
    return ThreadpoolController()


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits BLAS to one thread inside the block; only one block runs at a time, because the limit is process-wide."""
    with _BLAS_LIMIT, threaded_libraries().limit(limits=1, user_api="blas"):
        yield


def each_worker(work: Callable[[int], None], workers: int) -> None:
    """Runs work(0) to work(workers - 1) in parallel, with one BLAS thread each; an error of one of them is raised."""
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
