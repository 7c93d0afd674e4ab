"""How much people like what they see, in worlds whose utilities are known: likes, follows and seconds watched.

Of a video that a person clicks, with the offsets of `offset_for`:

    P(like)    = sigmoid(utility + offset_like)
    P(follow)  = sigmoid(utility + offset_follow)
    watch time = length of the video * sigmoid(utility + offset_click + logistic noise)

The world's own log and the closed-loop simulation draw them by the same functions, on common random numbers.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit, ndtri

from m3csr_tf.util.common_random import uniforms

_SPREAD = 0.6
"""Of log(length of a video)."""


def lengths_of_videos(seed: int, videos: int, median: float) -> np.ndarray:
    """Returns the seconds that videos last, float64 [videos]: log-normal around the median."""
    drawn = uniforms(seed, "length", np.arange(videos))
    return median * np.exp(_SPREAD * ndtri(drawn))


def offset_for(utilities: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """Finds the offset at which the weighted mean of sigmoid(utility + offset) is the rate, by bisection."""
    low, high = -1e4, 1e4
    for _ in range(80):
        middle = (low + high) / 2
        if np.average(expit(utilities + middle), weights=weights) < rate:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def happens(seed: int, what: str, users: np.ndarray, items: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Draws whether `what` ("click", "like" or "follow") happens between users and items, bool of their shape."""
    return uniforms(seed, what, users, items) < expit(logits)


def share_watched(seed: int, users: np.ndarray, items: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Draws the share of a clicked video that is watched, float64 of the shape of users and items, in (0, 1)."""
    return expit(logits + logit(uniforms(seed, "watch", users, items)))
