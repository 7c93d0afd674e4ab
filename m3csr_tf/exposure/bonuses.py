"""How exposure bonuses enter a score: each is added to the popularity bias of its bin, in vectors or in the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import FIRST_ROW


class Variable(Protocol):
    """A variable of a model, float32 [n], of whatever framework."""

    def numpy(self) -> np.ndarray:
        """Its values."""
        ...

    def assign(self, values: np.ndarray) -> Any:
        """Sets its values."""
        ...


def add_bonuses(popularity_bias: np.ndarray, bins: np.ndarray, bonuses: np.ndarray) -> np.ndarray:
    """Returns popularity biases with the bonus of each one's bin added to it.

    Args:
      popularity_bias: float32 [n].
      bins: the popularity bin of each, int [n].
      bonuses: float32 [bins].

    Returns:
      float32 [n].
    """
    return popularity_bias + bonuses[bins]


def with_bonuses(item_vectors: np.ndarray, prepared: Prepared, bonuses: np.ndarray) -> np.ndarray:
    """Returns a copy of item vectors with the bonus of each item's popularity bin added to their last entry.

    Args:
      item_vectors: float32 [items, D], whose last entry is the popularity bias.
      prepared: the data, which has the items' bins.
      bonuses: float32 [bins].

    Returns:
      float32 [items, D]; reserved rows are unchanged.
    """
    result = item_vectors.copy()
    result[FIRST_ROW:, -1] = add_bonuses(result[FIRST_ROW:, -1], prepared.bins[FIRST_ROW:], bonuses)
    return result


@contextmanager
def model_with_bonuses(popularity_bias: Variable, bonuses: np.ndarray) -> Iterator[None]:
    """Adds bonuses to a model's popularity bias inside the block, so that its item tower gives vectors with them.

    Afterwards the model is as it was trained.

    Args:
      popularity_bias: the model's variable, float32 [n]; its first entries are those of the bins.
      bonuses: float32 [bins], at most n of them.
    """
    trained = popularity_bias.numpy()
    bins = np.arange(len(bonuses))
    popularity_bias.assign(np.concatenate([add_bonuses(trained[bins], bins, bonuses), trained[len(bins) :]]))
    try:
        yield
    finally:
        popularity_bias.assign(trained)
