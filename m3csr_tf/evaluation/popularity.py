"""Counts which held-out clicks the lists find, by the popularity of the clicked item."""

from __future__ import annotations

import numpy as np

from m3csr_tf.ranking.full_ranking import Csr


def found_by_bin(ranked: np.ndarray, truth: Csr, bins: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts the held-out clicks of each popularity bin, and how many of them are on items of the user's list.

    Args:
      ranked: item rows int [users, n], -1 beyond the end of a list.
      truth: held-out clicks, [users, items]; every non-zero entry is a click.
      bins: popularity bin of each item, int [items], from 0.
      count: number of bins.

    Returns:
      Numbers of found clicks and of all clicks, int [bins] each.
    """
    user, item = truth.nonzero()
    pairs = np.unique(user.astype(np.int64) * truth.shape[1] + item)
    listed = (np.arange(len(ranked), dtype=np.int64)[:, None] * truth.shape[1] + ranked)[ranked >= 0]
    bins_of_clicks = bins[pairs % truth.shape[1]]
    found = np.isin(pairs, listed)
    return np.bincount(bins_of_clicks[found], minlength=count), np.bincount(bins_of_clicks, minlength=count)
