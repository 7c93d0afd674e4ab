"""Sample users that are stored with an index: their vectors measure its recall, and identify its user tower."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.util.stored import reading, stored_array

FOLDER = "sample"
_USERS = "users.parquet"
_VECTORS = "vectors.npy"


class SampledUsers(NamedTuple):
    """Some users of the run with their vectors.

    Attributes:
      users: user_id (str) and history (lists of str, oldest first), up to the end of the run's log.
      vectors: float32 [users, D].
    """

    users: pd.DataFrame
    vectors: np.ndarray


def save(sample: SampledUsers, index_folder: Path) -> None:
    """Writes a sample into the folder of an index."""
    folder = index_folder / FOLDER
    folder.mkdir()
    sample.users.to_parquet(folder / _USERS, index=False)
    np.save(folder / _VECTORS, sample.vectors, allow_pickle=False)


def load(index_folder: Path) -> SampledUsers:
    """Reads a sample that `save` has written.

    Raises:
      ReleaseError: a file is missing or broken.
    """
    folder = index_folder / FOLDER
    with reading(folder, "put it back, roll back, or release again", ReleaseError):
        users = pd.read_parquet(folder / _USERS)[[columns.USER_ID, columns.HISTORY]]
        return SampledUsers(users, stored_array(folder / _VECTORS, (len(users), None), "f"))
