"""A model without some of its weights, for a while."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def zeroed(weights: Sequence[tf.Variable]) -> Iterator[None]:
    """Sets weights to zeros for the length of a block; whatever they become there, they are as before afterwards."""
    kept = [tf.identity(weight) for weight in weights]
    for weight in weights:
        weight.assign(tf.zeros_like(weight))
    try:
        yield
    finally:
        for weight, values in zip(weights, kept, strict=True):
            weight.assign(values)
