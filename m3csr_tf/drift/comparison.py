"""Two systems on the same users: what their lists hold, how far scores and intensities moved, and which is better."""

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
"""Of the lists that are compared."""
METRICS = (metrics.name(metrics.RECALL, LENGTH), metrics.name(metrics.NDCG, LENGTH))


@dataclass(frozen=True)
class Comparison:
    """From the first system to the second.

    Attributes:
      first, second: their names.
      users: how many were asked about.
      figures: system -> figures of its own lists (`_figures`).
      overlap: mean share of a list that both hold.
      same_lists: share of the users whose lists hold the same items in the same order.
      rank_correlation: mean of Kendall's tau of the items that both lists of a user hold; None where none hold two.
      scores: of the pairs of a user and an item of either list that both systems can score: "pairs", "correlation",
        "difference" (mean of second - first) and "absolute_difference"; None without such a pair.
      intensities: modality -> "first", "second" (means over users) and "absolute_difference"; None where a system has
        none.
      intensity_drift: mean over users of half the sum of absolute differences, from 0 to 1; None likewise.
      quality: metric -> paired test, second against first, on the users who went on to click something; None without
        held-out clicks.
      notes: what limits the comparison, a sentence each.
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
        """Plain numbers; docs/releases.md describes them."""
        tree = {key: value for key, value in vars(self).items() if key != "quality"}
        quality = None
        if self.quality is not None:
            tests = {metric: asdict(test) for metric, test in self.quality.items()}
            # In a paired test the first is what is tested; here, it is what was there first.
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
      ValueError: there are no users.
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
    """The part of `compare` that asks which is better: second against first; None where nobody clicked anything."""
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
    """Positions in a system's ids as numbers that both systems share; NO_ITEM stays."""
    return np.where(positions == NO_ITEM, NO_ITEM, numbers[positions])


def _figures(
    system: System, numbers: np.ndarray, made: Lists, other: System, users: ComparedUsers
) -> dict[str, float | int | None]:
    """Figures of one system's lists.

    "items" (of the system), "coverage" (share of them that is in some list), of the places of all lists: "cold_share"
    (popularity bin 0), "new_share" (items that the other system lacks), "popularity_bin" (mean) and "training_clicks"
    (mean, by the same log for both), and "score" and "score_spread" (mean and standard deviation of the scores).
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
    """Both systems' scores of what either lists, each pair of a user and an item once."""
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
    """Per modality, and the mean drift; None where a system has no intensities, or the two have other modalities."""
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
    entries, owners = flatten(clicked)
    shape = (len(clicked), len(numbering))
    return sparse.csr_array((np.ones(len(entries), np.float32), (owners, numbering.get_indexer(entries))), shape=shape)
