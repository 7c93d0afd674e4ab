"""Compares two systems on the same users: what their lists hold, how scores and intensities moved, which is better."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.drift import measures
from m3csr_tf.drift.systems import NOT_HELD, ComparedUsers, Lists, System, lists_of, scores
from m3csr_tf.evaluation import metrics, significance
from m3csr_tf.evaluation.report import ALL, Evaluation, Slice
from m3csr_tf.evaluation.significance import PairedTest
from m3csr_tf.export.requests import flatten
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.ranking.full_ranking import Csr
from m3csr_tf.util.progress import progress

LENGTH = 20
"""Length of the lists that are compared."""
METRICS = (metrics.name(metrics.RECALL, LENGTH), metrics.name(metrics.NDCG, LENGTH))
"""The metrics by which quality is compared; the gate of a publication takes the first one."""


@dataclass(frozen=True)
class Comparison:
    """What changes from the first system to the second.

    Attributes:
      first, second: the names of the two systems.
      users: number of users for whom both systems made lists.
      figures: name of a system -> figures of its own lists (`_figures`).
      overlap: share of a user's longer list that both of her lists hold (`measures.overlap`), mean over users; None if
        all lists are empty.
      same_lists: share of the users for whom both lists hold the same items in the same order.
      rank_correlation: Kendall's tau of the items that both lists of a user hold, mean over users; None if no user has
        two such items.
      scores: figures of the pairs of a user and an item of either of her lists that both systems can score: "pairs"
        (their number), "correlation" (Pearson's), "difference" (mean of second - first) and "absolute_difference";
        None without such a pair.
      intensities: modality -> "first" and "second" (mean intensities over users) and "absolute_difference" (mean over
        users); None if a system has no intensities, or the two have other modalities.
      intensity_drift: half the sum of the absolute differences of a user's intensities, from 0 to 1, mean over users;
        None if `intensities` is None.
      quality: metric -> paired test of the second system against the first, on the users with held-out clicks; None
        with fewer than two such users.
      notes: sentences that say what limits the comparison.
    """

    first: str
    second: str
    users: int
    figures: dict[str, dict[str, float | int | None]]
    overlap: float | None
    same_lists: float
    rank_correlation: float | None
    scores: dict[str, float | int | None] | None
    intensities: dict[str, dict[str, float]] | None
    intensity_drift: float | None
    quality: dict[str, PairedTest] | None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns the comparison as plain numbers and texts, which docs/releases.md describes."""
        tree = {key: value for key, value in vars(self).items() if key != "quality"}
        quality = None
        if self.quality is not None:
            tests = {metric: asdict(test) for metric, test in self.quality.items()}
            # In a paired test, `first` is the system under test; in a comparison it is the system that was there
            # before. The two are therefore swapped, and the difference stays as it is.
            quality = {
                metric: {
                    "users": test["users"],
                    "first": test["second"],
                    "second": test["first"],
                    **{key: test[key] for key in ("difference", "low", "high", "p_value")},
                }
                for metric, test in tests.items()
            }
        return {"length": LENGTH, **tree, "quality": quality}


def compare(first: System, second: System, users: ComparedUsers) -> Comparison:
    """Compares two systems on the same users.

    Raises:
      ValueError: there are no users, or both systems have the same name.
    """
    if not len(users.frame):
        raise ValueError("there is nobody to compare the two on")
    lists: list[Lists] = []
    for system in (first, second):
        with progress(f"lists of {system.name}, users") as stage:
            lists.append(_lists(system, users, stage))
    numbering = pd.Index(pd.unique(np.concatenate([first.ids, second.ids, _clicked_ids(users)])))
    numbers = [
        _numbered(one.positions, numbering.get_indexer(system.ids))
        for system, one in zip((first, second), lists, strict=True)
    ]
    names = _names(first, second)
    pairs = ((first, numbers[0], lists[0], second), (second, numbers[1], lists[1], first))
    intensities = _intensities(first, second, users.frame)
    return Comparison(
        first=names[0],
        second=names[1],
        users=len(users.frame),
        figures={
            name: _figures(system, listed, made, other, users)
            for name, (system, listed, made, other) in zip(names, pairs, strict=True)
        },
        overlap=measures.mean(measures.overlap(*numbers)),
        same_lists=float((numbers[0] == numbers[1]).all(axis=1).mean()),
        rank_correlation=measures.mean(measures.rank_correlation(*numbers)),
        scores=_scores(first, second, lists, numbers, numbering),
        intensities=None if intensities is None else intensities[0],
        intensity_drift=None if intensities is None else intensities[1],
        quality=_quality(numbers[0], numbers[1], users, numbering),
    )


def quality(first: System, second: System, users: ComparedUsers) -> dict[str, PairedTest] | None:
    """Tests which system is better, as `compare` does, without the other figures.

    Returns:
      Metric -> paired test of the second system against the first; None if fewer than two users have held-out clicks.
    """
    if users.clicked is None:
        return None
    numbering = pd.Index(pd.unique(np.concatenate([first.ids, second.ids, _clicked_ids(users)])))
    numbers = []
    for system in (first, second):
        with progress(f"lists of {system.name}, users") as stage:
            made = _lists(system, users, stage)
        numbers.append(_numbered(made.positions, numbering.get_indexer(system.ids)))
    return _quality(numbers[0], numbers[1], users, numbering)


def _lists(system: System, users: ComparedUsers, stage: Any) -> Lists:
    return lists_of(
        system,
        users.frame[[columns.USER_ID, columns.HISTORY]],
        users.frame[columns.EXCLUSIONS],
        LENGTH,
        on_progress=stage,
    )


def _names(first: System, second: System) -> tuple[str, str]:
    if first.name == second.name:
        raise ValueError(f"both systems are called {first.name}; give them names of their own")
    return first.name, second.name


def _clicked_ids(users: ComparedUsers) -> np.ndarray:
    return np.zeros(0, object) if users.clicked is None else flatten(users.clicked)[0]


def _numbered(positions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Converts positions in a system's ids to numbers of items that both systems share; NO_ITEM stays.

    Args:
      positions: int [users, n].
      numbers: int [items of the system], the shared number of each of its items.
    """
    return np.where(positions == NO_ITEM, NO_ITEM, numbers[positions])


def _figures(
    system: System, numbers: np.ndarray, made: Lists, other: System, users: ComparedUsers
) -> dict[str, float | int | None]:
    """Computes the figures of one system's lists.

    They are "items" (number of the system's items), "listed_places" (number of places of all lists) and "coverage"
    (share of the items that are in some list). If there is a place, there are also "cold_share" (share of the places
    whose item is in popularity bin 0), "new_share" (share of those whose item the other system lacks), and the means
    over places "popularity_bin" and "score", with the standard deviation "score_spread". "training_clicks" is the mean
    number of clicks by the same log for both systems, if they are known.
    """
    listed = made.positions[made.positions != NO_ITEM]
    distinct, counts = np.unique(listed, return_counts=True)
    ids = system.ids[distinct]
    places = int(counts.sum())
    figures: dict[str, float | int | None] = {
        "items": len(system.ids),
        "listed_places": places,
        "coverage": len(distinct) / len(system.ids),
    }
    if not places:
        return figures
    bins = system.bins(ids)
    new = pd.Index(other.ids).get_indexer(ids) == NOT_HELD
    figures |= {
        "cold_share": float(counts[bins == 0].sum() / places),
        "new_share": float(counts[new].sum() / places),
        "popularity_bin": float((bins * counts).sum() / places),
    }
    if users.click_counts is not None:
        clicks = users.click_counts.reindex(ids, fill_value=0).to_numpy(np.float64)
        figures["training_clicks"] = float((clicks * counts).sum() / places)
    found = scores(system, made.vectors, made.positions)
    found = found[~np.isnan(found)].astype(np.float64)
    return figures | {"score": float(found.mean()), "score_spread": float(found.std())}


def _scores(
    first: System, second: System, lists: list[Lists], numbers: list[np.ndarray], numbering: pd.Index
) -> dict[str, float | int | None] | None:
    """Compares the scores that both systems give to the items that either lists, each pair of user and item once."""
    either = np.sort(np.concatenate(numbers, axis=1), axis=1)
    again = np.zeros(either.shape, bool)
    again[:, 1:] = either[:, 1:] == either[:, :-1]
    found = []
    for system, made in zip((first, second), lists, strict=True):
        position_of = np.full(len(numbering), NO_ITEM)
        position_of[numbering.get_indexer(system.ids)] = np.arange(len(system.ids))
        positions = np.where((either == NO_ITEM) | again, NO_ITEM, position_of[either])
        found.append(scores(system, made.vectors, positions))
    both = ~np.isnan(found[0]) & ~np.isnan(found[1])
    if not both.any():
        return None
    one, other = (values[both].astype(np.float64) for values in found)
    return {
        "pairs": int(both.sum()),
        "correlation": measures.correlation(one, other),
        "difference": float((other - one).mean()),
        "absolute_difference": float(np.abs(other - one).mean()),
    }


def _intensities(
    first: System, second: System, users: pd.DataFrame
) -> tuple[dict[str, dict[str, float]], float] | None:
    """Returns intensities by modality and the mean drift; None if a system has none, or they have other modalities."""
    if first.intensities is None or second.intensities is None or {*first.modalities} != {*second.modalities}:
        return None
    frame = users[[columns.USER_ID, columns.HISTORY]]
    with progress("intensities of users"):
        one, other = first.intensities(frame), second.intensities(frame)
    other = other[:, [list(second.modalities).index(name) for name in first.modalities]]
    changes = np.abs(other - one)
    by_modality = {
        name: {
            "first": float(one[:, place].mean()),
            "second": float(other[:, place].mean()),
            "absolute_difference": float(changes[:, place].mean()),
        }
        for place, name in enumerate(first.modalities)
    }
    return by_modality, float(changes.sum(axis=1).mean() / 2)


def _quality(
    first: np.ndarray, second: np.ndarray, users: ComparedUsers, numbering: pd.Index
) -> dict[str, PairedTest] | None:
    """Tests lists of numbers of items (int [users, n]) against each other, as `quality` does."""
    if users.clicked is None:
        return None
    truth = _truth(users.clicked, numbering)
    some = np.flatnonzero(np.diff(truth.indptr) > 0)
    if len(some) < 2:
        return None
    old, new = (
        Evaluation({ALL: Slice(some, metrics.per_user(numbers[some], truth[some], (LENGTH,)))})
        for numbers in (first, second)
    )
    return {metric: significance.compare(new, old, metric) for metric in METRICS}


def _truth(clicked: pd.Series, numbering: pd.Index) -> Csr:
    """Returns held-out clicks as a sparse matrix of 1s, [users, items], by the shared numbers of the items."""
    entries, owners = flatten(clicked)
    shape = (len(clicked), len(numbering))
    return sparse.csr_array((np.ones(len(entries), np.float32), (owners, numbering.get_indexer(entries))), shape=shape)
