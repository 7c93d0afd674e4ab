"""Adds exposure bonuses to scores: each is added to the popularity bias of its bin, in item vectors or in the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW


class Variable(Protocol):
    """A variable of a model, float32 [n], of any framework."""

    def numpy(self) -> np.ndarray:
        """Returns the values of the variable."""
        ...

    def assign(self, values: np.ndarray) -> Any:
        """Sets the values of the variable."""
        ...


def add_bonuses(popularity_bias: np.ndarray, bins: np.ndarray, bonuses: np.ndarray) -> np.ndarray:
    """Returns popularity biases to each of which the bonus of its bin is added.

    Args:
      popularity_bias: float32 [n].
      bins: the popularity bin of each bias, int [n].
      bonuses: the bonus of each bin, float32 [bins].

    Returns:
      float32 [n].
    """
    return popularity_bias + bonuses[bins]


def with_bonuses(item_vectors: np.ndarray, prepared: Prepared, bonuses: np.ndarray) -> np.ndarray:
    """Returns a copy of item vectors with the bonus of each item's popularity bin added to their last entry.

    Args:
      item_vectors: float32 [items, D], whose last entry is the popularity bias.
      prepared: the prepared data, which hold the items' bins.
      bonuses: the bonus of each bin, float32 [bins].

    Returns:
      float32 [items, D]; reserved rows are unchanged.
    """
    result = item_vectors.copy()
    result[FIRST_ROW:, -1] = add_bonuses(result[FIRST_ROW:, -1], prepared.bins[FIRST_ROW:], bonuses)
    return result


@contextmanager
def model_with_bonuses(popularity_bias: Variable, bonuses: np.ndarray) -> Iterator[None]:
    """Adds bonuses to a model's popularity bias inside the block, so that its item tower gives vectors with bonuses.

    After the block the model is as it was trained.

    Args:
      popularity_bias: the model's variable, float32 [n]; its first entries are those of the bins.
      bonuses: the bonus of each bin, float32 [bins]; there are at most n bins.
    """
    trained = popularity_bias.numpy()
    bins = np.arange(len(bonuses))
    popularity_bias.assign(np.concatenate([add_bonuses(trained[bins], bins, bonuses), trained[len(bins) :]]))
    try:
        yield
    finally:
        popularity_bias.assign(trained)
