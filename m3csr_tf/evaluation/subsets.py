"""Evaluates lists by their length, scored with some parts of the vectors only: what each modality contributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from m3csr_tf.evaluation import metrics
from m3csr_tf.ranking.full_ranking import Csr, top_n
from m3csr_tf.util.progress import ProgressCallback, share

_ALL_SUBSETS_OF = 3
"""Largest number of modalities of which every subset is evaluated. Of more, the subsets are none, each alone, all but
one, and all."""


def subsets_of(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Returns the subsets of the modalities that get a curve, the smallest first."""
    count = len(modalities)
    sizes = range(count + 1) if count <= _ALL_SUBSETS_OF else sorted({0, 1, count - 1, count})
    return [subset for size in sizes for subset in combinations(modalities, size)]


def subset_name(subset: Sequence[str], modalities: Sequence[str]) -> str:
    """Returns the name of a subset in figures: its modalities, or, if there are many, the one that it lacks."""
    lacking = [name for name in modalities if name not in subset]
    if len(modalities) > _ALL_SUBSETS_OF and len(lacking) <= 1:
        return f"all but {lacking[0]}" if lacking else "all modalities"
    return " + ".join(subset) or "no modality"


def curves_by_subset(
    user_vectors: np.ndarray,
    item_vectors: np.ndarray,
    *,
    parts: Mapping[str, slice],
    modalities: Sequence[str],
    truth: Csr,
    seen: Csr,
    candidates: np.ndarray,
    longest: int = 20,
    seed: int = 0,
    block: int = 1024,
    on_progress: ProgressCallback | None = None,
) -> pd.DataFrame:
    """Computes mean recall and NDCG of lists of 1 to `longest` items, if only some modalities count for the score.

    The model is always the same: a score is the sum of the parts of the subset and of those that belong to no modality.

    Args:
      user_vectors: float32 [users, D].
      item_vectors: float32 [items, D], by item row.
      parts: name -> slice of a vector; parts that are not modalities belong to every subset.
      modalities: names of the parts that are modalities.
      truth: held-out clicks of the users, [users, items]; each user has at least one.
      seen: items that are not listed, [users, items].
      candidates: bool [items], the items that may be listed.
      longest: length of the longest lists.
      seed: seed of tie-breaking.
      block: number of users that are ranked at once.
      on_progress: progress callback, which gets the percentage of the rankings that is done, and 100.

    Returns:
      Columns `subset` (str), `n` (int), `recall` and `ndcg` (float), one row for each subset and length.
    """
    others = [name for name in parts if name not in modalities]
    lengths = [n for n in range(1, longest + 1) if n <= max(1, int(candidates.sum()))]
    tables = []
    subsets = subsets_of(modalities)
    for place, subset in enumerate(subsets):
        positions = _positions(parts, (*others, *subset))
        if not len(positions):
            continue  # A model whose parts are all modalities has no score without any of them.
        ranked = top_n(
            np.ascontiguousarray(user_vectors[:, positions]),
            np.ascontiguousarray(item_vectors[:, positions]),
            lengths[-1],
            seen=seen,
            candidates=candidates,
            seed=seed,
            block=block,
            on_progress=share(on_progress, place, len(subsets)),
        )
        values = metrics.per_user(ranked, truth, lengths)
        columns = {
            metric: [values[metrics.name(metric, n)].mean() for n in lengths]
            for metric in (metrics.RECALL, metrics.NDCG)
        }
        tables.append(pd.DataFrame({"subset": subset_name(subset, modalities), "n": lengths, **columns}))
    return pd.concat(tables, ignore_index=True)


def _positions(parts: Mapping[str, slice], names: Iterable[str]) -> np.ndarray:
    ranges = [np.arange(parts[name].start, parts[name].stop) for name in names]
    return np.concatenate(ranges) if ranges else np.zeros(0, int)
