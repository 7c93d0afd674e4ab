"""The parts of a score: for pairs of users and items, and as a line of text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.releases.release import Release


def explain(release: Release, users: pd.DataFrame, items: Sequence[str]) -> pd.DataFrame:
    """Computes the scores, and their parts, of all pairs of some users and items.

    Args:
      release: a release.
      users: user_id (str) and history (lists of str, oldest first).
      items: ids of items of the index.

    Returns:
      A row for each pair, with user_id, item_id, score, part_id and part_<modality>; users are in the outer loop.

    Raises:
      KeyError: the index lacks an item.
    """
    user_vectors, item_vectors = release.user_vectors(users), release.index.vectors(items)
    owner = np.repeat(np.arange(len(users)), len(items))
    item = np.tile(np.arange(len(items)), len(users))
    parts = release.score_parts(user_vectors[owner], item_vectors[item])
    return pd.DataFrame(
        {
            columns.USER_ID: users[columns.USER_ID].to_numpy(dtype=object)[owner],
            columns.ITEM_ID: np.asarray(items, dtype=object)[item],
            columns.SCORE: np.sum(list(parts.values()), axis=0),
            **{columns.part_column(part): values for part, values in parts.items()},
        }
    )


def reasons(row: Mapping[str, float] | pd.Series, parts: Iterable[str]) -> str:
    """Describes which parts speak for an item, the largest first, as shares of their sum, and which speak against it.

    For example, parts of 3 (acoustic), 1 (id) and -0.5 (visual) give "acoustic 75%, id 25%; against: visual".

    Args:
      row: a row of a list or of `explain`, with a column part_<part> for each part.
      parts: names of the parts, e.g. of `Release.layout`.
    """
    values = {part: float(row[columns.part_column(part)]) for part in parts}
    total = sum(value for value in values.values() if value > 0)
    ordered = sorted(values.items(), key=lambda part: -part[1])
    speaking_for = ", ".join(f"{part} {value / total:.0%}" for part, value in ordered if value > 0)
    against = ", ".join(part for part, value in reversed(ordered) if value < 0)
    return "; ".join([speaking_for or "nothing for it", *([f"against: {against}"] if against else [])])
