"""The process that trains: threads, determinism, how freed memory is kept, and how much of it there is."""

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

    Calling it again with the same settings is harmless; TensorFlow refuses to change threads once it has started, and
    then the earlier number stays.
    """
    keep_freed_memory()
    if run.threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(run.threads)
            tf.config.threading.set_inter_op_parallelism_threads(run.threads)
        except RuntimeError:
            pass  # Already started, by an earlier verb of the same process.
    if run.deterministic:
        tf.config.experimental.enable_op_determinism()


def keep_freed_memory() -> None:
    """Tells glibc to reuse freed blocks instead of handing them back to the kernel; elsewhere it does nothing.

    A training step frees tensors of some megabytes by the dozen. By default each comes from mmap and goes back, and the
    kernel zero-fills its pages anew the next step: that was half of the time of a step on one thread.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def resident_gib() -> float:
    """Resident memory of this process in GiB; NaN where the system does not tell."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
