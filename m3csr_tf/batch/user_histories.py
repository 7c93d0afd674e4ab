"""Looks up the histories and clicks of users in the log of a run, and returns them as lists of item ids."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.data.audience import Audience
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.util.files import sha256


class PastOf(NamedTuple):
    """The histories and clicks of some users, as rows of the prepared data.

    Attributes:
      histories: item rows int32 [users, slots], oldest first, padded on the right.
      clicks: sparse matrix [users, items].
    """

    histories: np.ndarray
    clicks: sparse.csr_matrix

    @property
    def entries(self) -> np.ndarray:
        """Number of entries of each user's two lists together, int64 [users]."""
        return (self.histories != PADDING_ROW).sum(axis=1) + np.diff(self.clicks.indptr)

    def of(self, some: slice) -> PastOf:
        """Returns the histories and clicks of some of these users."""
        return PastOf(self.histories[some], self.clicks[some])


class UserHistories:
    """Reads the histories and clicks of the users of prepared data.

    Args:
      prepared: the prepared data.
      audience: gives the clicks of the splits that may be known.
    """

    def __init__(self, prepared: Prepared, audience: Audience) -> None:
        self._prepared = prepared
        self._audience = audience

    def digest(self) -> str:
        """Returns a SHA-256, in hex, of the manifest, the length of histories and the names of the known splits."""
        manifest = sha256(self._prepared.folder / columns.MANIFEST)
        identity = " ".join([manifest, str(self._audience.length), *self._audience.splits])
        return hashlib.sha256(identity.encode()).hexdigest()

    def of_ids(self, users: np.ndarray) -> PastOf:
        """Returns the past of users by their ids, object array of str [n]; users that the data lack have none."""
        rows, positions = np.unique(self._prepared.users.rows(users), return_inverse=True)
        return PastOf(self._audience.histories(rows)[positions], self._audience.clicks(rows)[positions])

    def of_rows(self, rows: np.ndarray) -> PastOf:
        """Returns the past of users by their rows, int [n], which must ascend."""
        return PastOf(self._audience.histories(rows), self._audience.clicks(rows))

    def lists(self, past: PastOf) -> tuple[pd.Series, pd.Series]:
        """Returns histories and exclusions (all clicks) as columns of lists of item ids."""
        used = past.histories != PADDING_ROW
        return (
            self._lists(past.histories[used], used.sum(axis=1)),
            self._lists(past.clicks.indices, np.diff(past.clicks.indptr)),
        )

    def _lists(self, rows: np.ndarray, lengths: np.ndarray) -> pd.Series:
        """Makes a column of lists of item ids from the concatenated item rows of all lists."""
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return pa.ListArray.from_arrays(offsets.astype(np.int32), pa.array(self._prepared.items.ids(rows))).to_pandas()
