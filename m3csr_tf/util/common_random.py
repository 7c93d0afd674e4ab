"""Common random numbers: a number depends on what it decides, and not on what was drawn before.

A generator with a state would give two systems that show different videos different numbers from the first difference
on. Here a number is a hash of a seed, a purpose and counters (a counter-based generator, as in Salmon et al., "Parallel
Random Numbers: As Easy as 1, 2, 3", SC 2011). So a person who is shown a video by both systems likes it in both or in
neither, and chance does not hide the difference between the systems.
"""

from __future__ import annotations

import hashlib

import numpy as np

from m3csr_tf.util.splitmix import GOLDEN, finalize


def uniforms(seed: int, purpose: str, *counters: np.ndarray) -> np.ndarray:
    """Returns uniform random numbers, float64 in the broadcast shape of the counters, strictly between 0 and 1.

    Args:
      seed: the seed of the simulation.
      purpose: what the numbers decide, e.g. "click"; the numbers of two purposes are independent.
      counters: whole numbers from 0, at least one array; a tuple of them always has the same number.
    """
    key = hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8]
    state = np.full(np.broadcast_shapes(*(np.shape(one) for one in counters)), int.from_bytes(key, "little"), np.uint64)
    for counter in counters:
        state ^= np.asarray(counter).astype(np.uint64)
        state += GOLDEN
        finalize(state)
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
