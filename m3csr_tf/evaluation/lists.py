"""What lists show as a whole, whoever likes it: how novel their items are, and how evenly items are shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.full_ranking import Csr


@dataclass(frozen=True)
class ByItem:
    """What became of each item in the lists of some users, int64 [items] each by item row.

    Attributes:
      held_out: its clicks by the users who were judged.
      found: those of them that the users' lists hold.
      listed: lists that it is in.
    """

    held_out: np.ndarray
    found: np.ndarray
    listed: np.ndarray


def exposures(ranked: np.ndarray, items: int) -> np.ndarray:
    """In how many lists each item is, int64 [items].

    Args:
      ranked: item rows int [users, n], -1 where a list has ended.
      items: rows of the catalogue.
    """
    return np.bincount(ranked[ranked != NO_ITEM], minlength=items)


def self_information(train_clicks: np.ndarray) -> np.ndarray:
    """How surprising a click on each item is by training popularity, in bits, float64 [items].

    -log2 p, where p = (clicks of the item + 1) / (all clicks + items) is the chance of a training click on it, with one
    click more for each item, so that those without any have a finite value (Castells, Vargas and Wang, 2011, with
    Laplace's rule of succession).

    Args:
      train_clicks: int [items], of the items of the catalogue alone.
    """
    smoothed = train_clicks.astype(np.float64) + 1
    return -np.log2(smoothed / smoothed.sum())


def novelty(ranked: np.ndarray, information: np.ndarray) -> float:
    """Mean self-information of the items of a list, in bits, averaged over the users who have a list.

    Args:
      ranked: item rows int [users, n], -1 where a list has ended.
      information: float [items] by item row, as `self_information`.

    Returns:
      NaN if nobody has a list.
    """
    listed = ranked != NO_ITEM
    lengths = listed.sum(axis=1)
    sums = np.where(listed, information[ranked], 0.0).sum(axis=1)
    some = lengths > 0
    return float((sums[some] / lengths[some]).mean()) if some.any() else float("nan")


def gini(shown: np.ndarray) -> float:
    """Gini coefficient of numbers of exposures: 0 if all items are shown equally often, (n - 1) / n if one has all.

    sum over k of (2k - n - 1) x_k / (n sum x), with x ascending and k from 1 to n.

    Args:
      shown: int [n], from 0.

    Returns:
      NaN if nothing is shown.
    """
    count, total = len(shown), float(shown.sum())
    if not total:
        return float("nan")
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return float((ranks * np.sort(shown).astype(np.float64)).sum() / (count * total))


def by_item(ranked: np.ndarray, truth: Csr) -> ByItem:
    """Counts of every item.

    Args:
      ranked: item rows int [users, n], -1 where a list has ended.
      truth: held-out clicks of the same users, [users, items]; every non-zero entry is one.
    """
    items = truth.shape[1]
    user, item = truth.nonzero()
    pairs = np.unique(user.astype(np.int64) * items + item)
    listed = np.where(ranked == NO_ITEM, -1, np.arange(len(ranked), dtype=np.int64)[:, None] * items + ranked)
    found = pairs[np.isin(pairs, listed)]
    held_out, hits = (np.bincount(one % items, minlength=items) for one in (pairs, found))
    return ByItem(held_out, hits, exposures(ranked, items))


def shares(ranked: np.ndarray, known: np.ndarray, cold: np.ndarray, clicks: np.ndarray) -> dict[str, float]:
    """Figures of the lists as a whole.

    Args:
      ranked: item rows int [users, n], -1 where a list has ended.
      known, cold: bool [items], items of the catalogue, and those of them without a training click.
      clicks: training clicks, int [items].

    Returns:
      "coverage" and "cold_coverage", the shares of the catalogue and of its cold items that are in some list;
      "cold_share", that of the places that cold items hold; "novelty" (`novelty`, bits) and "gini" (`gini`, over the
      catalogue). "cold_coverage" is left out where nothing is cold, everything where nothing is listed.
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
