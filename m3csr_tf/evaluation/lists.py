"""Metrics of the lists as a whole, regardless of relevance: novelty, coverage, and how evenly items are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.full_ranking import Csr


@dataclass(frozen=True)
class ByItem:
    """Counts over the lists of some users for each item, int64 [items] each by item row.

    Attributes:
      held_out: number of held-out clicks of the evaluated users on the item.
      found: number of these clicks whose user has the item in her list.
      listed: number of lists that hold the item.
    """

    held_out: np.ndarray
    found: np.ndarray
    listed: np.ndarray


def exposures(ranked: np.ndarray, items: int) -> np.ndarray:
    """Counts in how many lists each item is, int64 [items].

    Args:
      ranked: item rows int [users, n], -1 beyond the end of a list.
      items: number of item rows.
    """
    return np.bincount(ranked[ranked != NO_ITEM], minlength=items)


def self_information(train_clicks: np.ndarray) -> np.ndarray:
    """Returns the self-information of a click on each item by its training popularity, in bits, float64 [items].

    It is -log2 p, where p = (clicks of the item + 1) / (all clicks + items) is the smoothed probability of a training
    click on the item. The smoothing gives items without clicks a finite value (Castells, Vargas and Wang, 2011, with
    Laplace's rule of succession).

    Args:
      train_clicks: int [items], of the items of the catalogue alone, without reserved rows.
    """
    smoothed = train_clicks.astype(np.float64) + 1
    return -np.log2(smoothed / smoothed.sum())


def novelty(ranked: np.ndarray, information: np.ndarray) -> float:
    """Returns the mean self-information of the items of a list, in bits, averaged over the users who have a list.

    Args:
      ranked: item rows int [users, n], -1 beyond the end of a list.
      information: float [items] by item row, as `self_information` returns it.

    Returns:
      The mean; NaN if no user has a list.
    """
    listed = ranked != NO_ITEM
    lengths = listed.sum(axis=1)
    sums = np.where(listed, information[ranked], 0.0).sum(axis=1)
    some = lengths > 0
    return float((sums[some] / lengths[some]).mean()) if some.any() else float("nan")


def gini(shown: np.ndarray) -> float:
    """Returns the Gini coefficient of exposures: 0 if all n items are shown equally often, (n - 1) / n if only one is.

    It is sum over k of (2k - n - 1) x_k / (n sum x), with x in ascending order and k from 1 to n.

    Args:
      shown: number of exposures of each item, int [n].

    Returns:
      The coefficient; NaN if nothing is shown.
    """
    count, total = len(shown), float(shown.sum())
    if not total:
        return float("nan")
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return float((ranks * np.sort(shown).astype(np.float64)).sum() / (count * total))


def by_item(ranked: np.ndarray, truth: Csr) -> ByItem:
    """Counts held-out clicks, found clicks and lists for every item.

    Args:
      ranked: item rows int [users, n], -1 beyond the end of a list.
      truth: held-out clicks of the same users, [users, items]; every non-zero entry is a click.
    """
    items = truth.shape[1]
    user, item = truth.nonzero()
    pairs = np.unique(user.astype(np.int64) * items + item)
    listed = np.where(ranked == NO_ITEM, -1, np.arange(len(ranked), dtype=np.int64)[:, None] * items + ranked)
    found = pairs[np.isin(pairs, listed)]
    held_out, hits = (np.bincount(one % items, minlength=items) for one in (pairs, found))
    return ByItem(held_out, hits, exposures(ranked, items))


def shares(ranked: np.ndarray, known: np.ndarray, cold: np.ndarray, clicks: np.ndarray) -> dict[str, float]:
    """Computes the metrics of the lists as a whole.

    Args:
      ranked: item rows int [users, n], -1 beyond the end of a list.
      known, cold: bool [items], the items of the catalogue, and those of them without a training click.
      clicks: number of training clicks, int [items].

    Returns:
      "coverage" and "cold_coverage", the shares of the catalogue and of its cold items that are in some list;
      "cold_share", the share of list positions that cold items hold; "novelty" (`novelty`, in bits) and "gini" (`gini`,
      over the catalogue). "cold_coverage" is left out if no item is cold, and everything if no item is listed.
    """
    listed = exposures(ranked, len(known))
    places = int(listed.sum())
    if not places:
        return {}
    information = np.zeros(len(known))
    information[known] = self_information(clicks[known])
    found = {"coverage": (listed[known] > 0).mean(), "cold_share": listed[cold].sum() / places}
    if cold.any():
        found["cold_coverage"] = (listed[cold] > 0).mean()
    found["novelty"] = novelty(ranked, information)
    found["gini"] = gini(listed[known])
    return {name: float(share) for name, share in found.items()}
