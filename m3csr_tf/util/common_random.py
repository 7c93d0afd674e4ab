"""Common random numbers: what chance decides hangs on who and what it is about, not on what was drawn before.

A generator with a state gives two systems that show different videos different numbers from the first difference on.
Here a number is a hash of a seed, a purpose and counters (a counter-based generator, as in Salmon et al., "Parallel
Random Numbers: As Easy as 1, 2, 3", SC 2011), so a person who is shown a video by both systems likes it in both or in
neither, and the difference of the systems is not drowned by luck.
"""

from __future__ import annotations

import hashlib

import numpy as np

from m3csr_tf.util.splitmix import GOLDEN, finalize


def uniforms(seed: int, purpose: str, *counters: np.ndarray) -> np.ndarray:
    """Uniform numbers between 0 and 1, both excluded, float64 of the counters' common shape.

    Args:
      seed: of the experiment.
      purpose: what the numbers decide, e.g. "click"; numbers of two purposes are independent.
      counters: whole numbers from 0, at least one array; each tuple of them has a number of its own, always the same.
    """
    key = hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8]
    state = np.full(np.broadcast_shapes(*(np.shape(one) for one in counters)), int.from_bytes(key, "little"), np.uint64)
    for counter in counters:
        state ^= np.asarray(counter).astype(np.uint64)
        state += GOLDEN
        finalize(state)
    return ((state >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
