"""Work shared by threads that each use one BLAS thread: products and what follows them, on all cores alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

_BLAS_LIMIT = threading.Lock()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keeps BLAS to one thread inside the block; only one block at a time, since the limit is the whole process's."""
    with _BLAS_LIMIT, threadpool_limits(1, "blas"):
        yield


def each_worker(work: Callable[[int], None], workers: int) -> None:
    """Runs work(0), .. work(workers - 1) at once, with one BLAS thread each; what one raises is raised."""
    with one_blas_thread(), ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
