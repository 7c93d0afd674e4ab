"""What an evaluation counts as found: held-out clicks, perhaps of some kinds of feedback alone, with their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from m3csr_tf.data.audience import read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.ranking.full_ranking import Csr


class Truth(NamedTuple):
    """The held-out clicks of some users.

    Attributes:
      clicks: [users, items]; every non-zero entry is a click.
      by_kind: kind -> the clicks of this kind, of the same shape; empty where the data tell less than two kinds apart.
      weighted: whether entries are the weights of the clicks, float64, since they differ; otherwise they are 1.
    """

    clicks: Csr
    by_kind: Mapping[str, Csr]
    weighted: bool

    @classmethod
    def read(cls, prepared: Prepared, split: str, users: np.ndarray, kinds: Sequence[str]) -> Truth:
        """Reads the truth of users, whose rows int [users] ascend; with `kinds`, only clicks of these kinds are truth.

        Raises:
          InputError: the data do not tell clicks of one of the kinds apart.
        """
        weighted = prepared.weighted
        told_apart = kinds or prepared.kinds
        return cls(
            read_clicks(prepared, split, users, kinds, weighted),
            {
                kind: read_clicks(prepared, split, users, [kind], weighted)
                for kind in (told_apart if len(told_apart) > 1 else ())
            },
            weighted,
        )


def users_of_kinds(prepared: Prepared, split: str, kinds: Sequence[str]) -> np.ndarray:
    """Returns the rows of the users of a split with a click of one of the kinds, or any without kinds, int [n].

    Raises:
      InputError: the data do not tell clicks of one of the kinds apart, or the split has none of them.
    """
    users = users_with(prepared, split, kinds)
    if kinds and not len(users):
        raise InputError(
            f"{prepared.folder}: split {split} has no interaction of evaluation.kinds={list(kinds)}, so nothing can be "
            "judged by them; take other kinds, or leave evaluation.kinds empty"
        )
    return users
