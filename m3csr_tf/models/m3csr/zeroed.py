"""Sets some weights of a model to zero for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from m3csr_tf.models.m3csr.model import M3CSR


@contextmanager
def zeroed(weights: Sequence[tf.Variable]) -> Iterator[None]:
    """Sets weights to zeros for the length of a block, and restores them afterwards, whatever the block did to them."""
    kept = [tf.identity(weight) for weight in weights]
    for weight in weights:
        weight.assign(tf.zeros_like(weight))
    try:
        yield
    finally:
        for weight, values in zip(weights, kept, strict=True):
            weight.assign(values)


@contextmanager
def uniform_attention(model: M3CSR) -> Iterator[None]:
    """Makes every interest of equations 3 and 4 the plain mean of the history for the length of a block.

    With query kernels of zeros, all items of a history have the same attention score. Nothing else in a user vector
    depends on the user's id.
    """
    tower = model.user_tower
    kernels = [layer.query_kernel for layer in (tower.behaviour_attention, *tower.modal_attention.values())]
    with zeroed(kernels):
        yield
