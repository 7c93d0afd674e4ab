"""What is set before TensorFlow's first kernel; in a process of its own, because it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from m3csr_tf.config import RunConfig
from m3csr_tf.training.runtime import configure
import tensorflow as tf

configure(RunConfig(threads=1, deterministic=True))
configure(RunConfig(threads=1, deterministic=True))
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
assert tf.config.threading.get_inter_op_parallelism_threads() == 1
assert tf.config.experimental.get_synchronous_execution()
tf.zeros([1]) + 1
configure(RunConfig(threads=2))  # Too late: the earlier number stays.
assert tf.config.threading.get_intra_op_parallelism_threads() == 1
try:
    tf.random.normal([1])
except RuntimeError as error:
    print(error)
"""


def test_threads_and_determinism_are_applied_and_a_late_change_of_threads_is_harmless() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # Op determinism refuses random numbers without a seed.
    assert "seed" in done.stdout
