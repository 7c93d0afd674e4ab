"""Finds out which ids of users and items a release knows, to count the unknown ones and to refuse joined ids."""

from __future__ import annotations

import re
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.batch.job_folder import PartFacts
from m3csr_tf.batch.lists import Ids
from m3csr_tf.errors import InputError
from m3csr_tf.export.vocabularies import ITEM_VOCABULARY, USER_VOCABULARY, vocabulary
from m3csr_tf.ids import UNKNOWN_ROW, IdTable, near
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

_SEPARATOR = re.compile(r"""[,|;\[\]{}"']""")


class KnownIds:
    """The ids that a release knows: the items of its index, and the ids with which its user tower was trained.

    Args:
      release: the release.
    """

    def __init__(self, release: Release) -> None:
        self._release = release

    def facts(self, users: np.ndarray, history: Ids, exclusions: Ids) -> PartFacts:
        """Counts the users of a batch, those without a history, and their unknown ids.

        Args:
          users: ids of the users, object array of str [users].
          history, exclusions: the items of the same users' lists.
        """
        unknown = 0 if self.users is None else int((self.users.rows(users) == UNKNOWN_ROW).sum())
        return PartFacts(
            inputs=len(users),
            empty=len(users) - len(np.unique(history.owners)),
            unknown_users=unknown,
            ids=len(history.items) + len(exclusions.items),
            unknown_ids=len(self.unknown(history)) + len(self.unknown(exclusions)),
        )

    def unknown(self, ids: Ids) -> np.ndarray:
        """Returns the positions in `ids` of items that neither the index nor the user tower knows, int64 [some]."""
        lacking = np.flatnonzero(ids.rows < 0)
        if self._items is None or not len(lacking):
            return lacking
        return lacking[self._items.rows(ids.items[lacking]) == UNKNOWN_ROW]

    def refuse_separators(self, ids: Ids, rows: pd.Index, name: str, source: str) -> None:
        """Refuses an unknown id from a text file that looks like several ids written as one.

        Args:
          ids: the items of the lists of one column.
          rows: data rows of the users, counted from 1.
          name: the name of the column.
          source: the name of the file in error messages.

        Raises:
          InputError: there is such an id; the message gives its row and says how to write a list.
        """
        for position in self.unknown(ids):
            item = ids.items[position]
            if _SEPARATOR.search(item):
                raise InputError(
                    f"{source}: {name} in data row {rows[ids.owners[position]]} holds {quoted(item)}, which is no item "
                    'of the release; write ids with spaces between, e.g. v1 v2, or as a JSON list, e.g. ["v1", "v2"], '
                    "with the quotes of CSV around it; one unknown id that holds commas, pipes, semicolons, brackets "
                    "or quotes can stand in .jsonl or .parquet"
                )

    @cached_property
    def users(self) -> IdTable | None:
        """The users with which the user tower was trained; None if it hashes ids, so that no user is unknown to it."""
        return vocabulary(self._release.path(columns.USER_TOWER), USER_VOCABULARY)

    @cached_property
    def _items(self) -> IdTable | None:
        return vocabulary(self._release.path(columns.USER_TOWER), ITEM_VOCABULARY)

    def near_items(self, ids: np.ndarray) -> tuple[str, str] | None:
        """Finds an item of the index that differs from one of `ids` in spelling only (`near`)."""
        return near(ids, pa.array(self._release.index.ids, pa.large_string()))

    def near_users(self, ids: np.ndarray) -> tuple[str, str] | None:
        """Finds a user of the user tower that differs from one of `ids` in spelling only (`near`)."""
        return None if self.users is None else near(ids, self.users.strings)
