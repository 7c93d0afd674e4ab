"""The process that trains: its threads, its determinism, and its memory."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from pathlib import Path

import tensorflow as tf

from m3csr_tf.config import RunConfig

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST_HEAP_BLOCK = 32 * 1024 * 1024  # glibc takes no larger threshold.


def configure(run: RunConfig) -> None:
    """Applies a run's threads and determinism, and keeps freed memory in the process.

    Calling it again with the same settings is harmless. TensorFlow cannot change the number of threads once it has
    started; then the earlier number stays.
    """
    keep_freed_memory()
    if run.threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(run.threads)
            tf.config.threading.set_inter_op_parallelism_threads(run.threads)
        except RuntimeError:
            pass  # An earlier verb of the same process has started it.
    if run.deterministic:
        tf.config.experimental.enable_op_determinism()


def keep_freed_memory() -> None:
    """Tells glibc to reuse freed blocks instead of returning them to the kernel; on other systems it does nothing.

    A training step frees tensors of some megabytes by the dozen. By default each is allocated by mmap and returned, and
    the kernel zero-fills its pages again in the next step, which took half of the time of a step on one thread.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def resident_gib() -> float:
    """Returns the resident memory of this process in GiB; NaN where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
