"""Requests to a tower: users and items as batches of named arrays, the same in the process and over the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError
from m3csr_tf.features.histories import length_groups
from m3csr_tf.util.quoting import quoted

NO_CONTENT = -1
_SLOTS = 1 << 18
"""Largest number of history slots of a request, unless one user has more; the tower gathers content for each slot."""


class ContentLookup(Protocol):
    """A source of raw content for items that are not in the user tower's table."""

    def holds(self, ids: np.ndarray) -> np.ndarray:
        """Returns whether it has each of `ids`, object array of str [n], as bool [n]."""
        ...

    def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        """Returns modality -> raw vectors float32 [n, width] of items that it has; a row of NaN lacks the modality."""
        ...


@dataclass(frozen=True)
class UserInputs:
    """Users as arrays, for callers to whom the tenths of a millisecond of a frame matter.

    Attributes:
      ids: object array of str [users].
      histories: their lists of item ids, oldest first, object array of lists [users].
    """

    ids: np.ndarray
    histories: np.ndarray

    def __len__(self) -> int:
        """Returns the number of users."""
        return len(self.ids)

    @classmethod
    def of(cls, users: pd.DataFrame | UserInputs) -> UserInputs:
        """Returns users who are given in a frame, with the columns user_id and history, or as they are."""
        if isinstance(users, UserInputs):
            return users
        return cls(*(users[name].to_numpy(dtype=object) for name in (columns.USER_ID, columns.HISTORY)))

    def at(self, places: np.ndarray) -> UserInputs:
        """Returns some of the users, given by positions int64 [some] or a mask bool [users]."""
        return UserInputs(self.ids[places], self.histories[places])


class Request(NamedTuple):
    """One call of a tower.

    Attributes:
      signature: the name of the signature.
      rows: int64 [B], positions of its users or items among all that were asked for.
      inputs: name -> array [B, ...]; strings are object arrays of str.
    """

    signature: str
    rows: np.ndarray
    inputs: dict[str, np.ndarray]


class _Histories(NamedTuple):
    """The latest usable items of some users' histories.

    Attributes:
      ids: object array of str [users, 1 + slots], padded with "".
      lines: int64 [users, 1 + slots], positions in `content`; NO_CONTENT for items of the table and for padding.
      content: modality -> float32 [fresh, width], of the items that the table lacks.
      lengths: int64 [users], number of slots in use.
    """

    ids: np.ndarray
    lines: np.ndarray
    content: dict[str, np.ndarray]
    lengths: np.ndarray


def user_requests(
    users: pd.DataFrame | UserInputs,
    known: pd.Index,
    history_length: int,
    items: ContentLookup | None = None,
    *,
    batch: int,
    content_bytes: int,
) -> Iterator[Request]:
    """Yields requests for the vectors of users; every user is in one of them, and there is at least one request.

    A history becomes its last `history_length` distinct items that the tower can use, which are those of its table and
    those whose content is available. Users with an item of the second kind go to `with_content`, the others to
    `serving_default`. The first slot is always empty: when TF Serving merges requests of different lengths, it pads
    each with its own first entry.

    Args:
      users: the users; a frame has the columns user_id and history.
      known: ids of the user tower's table.
      history_length: number of slots that the tower reads.
      items: content of other items; without it, they are skipped.
      batch: largest number of users of a request.
      content_bytes: largest number of bytes of content of a request, unless one user alone needs more.

    Raises:
      InputError: an id is not a string.
    """
    whole = UserInputs.of(users)
    for start in range(0, max(1, len(whole)), batch):
        names = whole.ids[start : start + batch]
        _check_strings(names, columns.USER_ID)
        latest = _histories(whole.histories[start : start + batch], known, history_length, items)
        fresh = (latest.lines != NO_CONTENT).any(axis=1)
        if len(fresh) == 0:
            yield Request(columns.SERVING_DEFAULT, start + np.arange(0), _inputs(names, latest, np.arange(0)))
        usual = np.flatnonzero(~fresh)
        for group in length_groups(1 + latest.lengths[usual], _SLOTS):
            rows = np.sort(usual[group])
            yield Request(columns.SERVING_DEFAULT, start + rows, _inputs(names, latest, rows))
        others = np.flatnonzero(fresh)
        width = latest.ids.shape[1] * sum(vectors.shape[1] for vectors in latest.content.values())
        step = max(1, content_bytes // max(1, 4 * width))
        for first in range(0, len(others), step):
            rows = others[first : first + step]
            inputs = _inputs(names, latest, rows)
            lines = latest.lines[rows, : inputs[columns.HISTORY].shape[1]]
            for name, vectors in latest.content.items():
                spread = np.zeros([*lines.shape, vectors.shape[1]], np.float32)
                spread[lines != NO_CONTENT] = vectors[lines[lines != NO_CONTENT]]
                inputs[columns.history_feature(name)] = spread
            yield Request(columns.WITH_CONTENT, start + rows, inputs)


def item_requests(catalogue: Catalogue, *, batch: int, content_bytes: int) -> Iterator[Request]:
    """Yields requests for the vectors of items, at least one; the limits are those of `user_requests`."""
    ids = catalogue.frame[columns.ITEM_ID].to_numpy(dtype=object)
    views = catalogue.frame[columns.VIEW_COUNT].to_numpy(np.int64)
    width = sum(vectors.shape[1] for vectors in catalogue.content.values())
    step = max(1, min(batch, content_bytes // max(1, 4 * width)))
    for start in range(0, max(1, len(ids)), step):
        rows = np.arange(start, min(start + step, len(ids)))
        inputs = {columns.ITEM_ID: ids[rows], columns.VIEW_COUNT: views[rows]}
        inputs |= {name: vectors[rows] for name, vectors in catalogue.content.items()}
        yield Request(columns.SERVING_DEFAULT, rows, inputs)


def flatten(lists: pd.Series | np.ndarray, name: str = columns.HISTORY) -> tuple[np.ndarray, np.ndarray]:
    """Returns all entries of a column of lists, object [entries], and the position of each one's list, int64 [entries].

    Args:
      lists: the column; an array of objects takes a tenth of a millisecond less than a series.
      name: what messages call an array.

    Raises:
      InputError: a value is not a list; text is refused too, although it has a length.
    """
    wrong = next((at for at, one in enumerate(lists) if not isinstance(one, list | tuple | np.ndarray)), None)
    if wrong is not None:
        value = lists[wrong]
        if isinstance(lists, pd.Series):
            name, value, wrong = str(lists.name), lists.iloc[wrong], lists.index[wrong]
        raise InputError(f'{name} at index {wrong} is {quoted(value)}; expected a list of item ids, e.g. ["v1", "v2"]')
    lengths = np.fromiter(map(len, lists), np.int64, len(lists))
    entries = np.empty(int(lengths.sum()), dtype=object)
    entries[:] = list(chain.from_iterable(lists))
    return entries, np.repeat(np.arange(len(lists)), lengths)


def _inputs(names: np.ndarray, histories: _Histories, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns ids and histories of some users, as wide as their longest history, with an empty first slot."""
    slots = 1 + int(histories.lengths[rows].max(initial=0))
    return {columns.USER_ID: names[rows], columns.HISTORY: histories.ids[rows, :slots]}


def _histories(histories: np.ndarray, known: pd.Index, history_length: int, items: ContentLookup | None) -> _Histories:
    entries, owners = flatten(histories)
    _check_strings(entries, columns.HISTORY)
    codes = known.get_indexer(entries)
    lines = np.full(len(entries), NO_CONTENT)
    content: dict[str, np.ndarray] = {}
    usable = codes >= 0
    others = np.flatnonzero(~usable)
    if items is not None and len(others):
        numbers, distinct = pd.factorize(entries[others])
        codes[others] = len(known) + numbers
        line_of, content = _at_hand(distinct, items)
        lines[others] = line_of[numbers]
        usable |= lines != NO_CONTENT
    again = pd.Index(owners * (len(known) + len(others)) + codes).duplicated(keep="last")
    kept = np.flatnonzero(usable & ~again)
    sizes = np.bincount(owners[kept], minlength=len(histories))
    ends = np.cumsum(sizes)
    slots = np.arange(len(kept)) - np.maximum(ends - history_length, ends - sizes)[owners[kept]] + 1
    kept, slots = kept[slots > 0], slots[slots > 0]
    shape = (len(histories), int(slots.max(initial=0)) + 1)
    padded = np.full(shape, "", dtype=object)
    padded[owners[kept], slots] = entries[kept]
    padded_lines = np.full(shape, NO_CONTENT)
    padded_lines[owners[kept], slots] = lines[kept]
    return _Histories(padded, padded_lines, content, np.minimum(sizes, history_length))


def _check_strings(ids: np.ndarray, name: str) -> None:
    if pd.api.types.infer_dtype(ids, skipna=False) not in {"string", "empty"}:
        wrong = next(value for value in ids if not isinstance(value, str))
        raise InputError(f"{name} holds {quoted(wrong)}; expected ids as strings")


def _at_hand(ids: np.ndarray, items: ContentLookup) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the content of the `ids` that have any, and the position of each in it, int64 [ids], else NO_CONTENT."""
    lines = np.full(len(ids), NO_CONTENT)
    known = np.flatnonzero(ids != "")
    known = known[items.holds(ids[known])]
    content = items.content(ids[known])
    has_some = np.any([~np.isnan(vectors).any(axis=1) for vectors in content.values()], axis=0)
    lines[known[has_some]] = np.flatnonzero(has_some)
    return lines, content
