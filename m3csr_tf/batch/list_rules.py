"""Rules of a list: caps on values of catalogue columns, and near-duplicates; the list is chosen greedily by them.

The greedy list goes down a ranking, best item first, and takes an item unless

* a value of it has reached its cap: of `retrieve.cap={author: 2}`, the list holds two items of its author already; or
* the list holds an item of nearly the same content: one whose content has a cosine of at least
  `retrieve.near_duplicates` with its own, to within `ROUNDING`. Content is what `similar.by=content` compares.

An item without a value in a column has no cap there, and an item without content is nobody's near-duplicate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from m3csr_tf.batch.cosine import CONTENT, CosineSpace
from m3csr_tf.config import RetrieveConfig
from m3csr_tf.errors import InputError
from m3csr_tf.ids import NO_ITEM
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)

ROUNDING = 1e-5
"""A cosine reaches a threshold that it misses by less: in float32, equal contents may have a cosine of 1 - 1e-7."""
COMPARED_AT_ONCE = 32
"""Number of positions of a ranking whose contents are compared at once."""
ENTRIES_AT_ONCE = 1 << 21
"""Largest number of content entries that are gathered at once; more users are chosen for in several blocks."""
_NO_VALUE = -1


class _Capped(NamedTuple):
    """The values of a column of some users' candidates, and how many of each their lists hold.

    Attributes:
      cap: the largest number of items with the same value.
      numbers: the number of each candidate's value, int64 [users, candidates], a user's own; the last number, which is
        that of no value, has no cap.
      counts: how many items with each number are taken, int64 [users, numbers].
    """

    cap: int
    numbers: np.ndarray
    counts: np.ndarray

    def full(self, here: slice) -> np.ndarray:
        """Returns which of these candidates have a value that has reached its cap, bool [users, candidates]."""
        numbers = self.numbers[:, here]
        return (np.take_along_axis(self.counts, numbers, axis=1) >= self.cap) & (numbers < self.counts.shape[1] - 1)

    def take(self, users: np.ndarray, places: np.ndarray, here: slice) -> np.ndarray:
        """Counts the candidates that some users take; returns which others their caps now exclude, bool [users, part].

        Args:
          users: positions of the users, int64 [some].
          places: positions of the candidates that they take, one each, int64 [some].
          here: the part of the candidates.
        """
        number = self.numbers[users, places]
        self.counts[users, number] += 1
        is_full = (self.counts[users, number] >= self.cap) & (number < self.counts.shape[1] - 1)
        return is_full[:, np.newaxis] & (self.numbers[users, here] == number[:, np.newaxis])


@dataclass(frozen=True)
class ListRules:
    """The rules of lists over the rows of one index; they hold as long as that index does not change.

    Attributes:
      caps: column -> the largest number of items of a list that have the same value of it.
      values: column -> number of the value of each row of the index, int64 [items], -1 where an item has none; for
        every column of `caps`.
      near_duplicates: the cosine from which two contents are nearly the same; None if contents are not compared.
      contents: the content of each row at length 1, float32 [items, width], zeros where an item has none; None if
        contents are not compared.
    """

    caps: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, np.ndarray] = field(default_factory=dict)
    near_duplicates: float | None = None
    contents: np.ndarray | None = None

    @classmethod
    def of(cls, release: Release, caps: Mapping[str, int], near_duplicates: float | None) -> ListRules | None:
        """Returns the rules for the current items of a release, or None if there is no rule.

        Contents take 4 bytes for each entry of an item's content parts.

        Raises:
          InputError: for the same reasons as in `check_rules`.
        """
        check_rules(release, caps, near_duplicates)
        if not caps and near_duplicates is None:
            return None
        values = release.items.values(release.index.ids) if caps else {}
        contents = None
        if near_duplicates is not None:
            contents = CosineSpace.of(release, CONTENT).unit_items(release)
            without = int((~contents.any(axis=1)).sum())
            if without:
                logger.warning(
                    "retrieve.near_duplicates: %s of %s items have no content and are compared with none",
                    f"{without:,}",
                    f"{len(contents):,}",
                )
        numbers = {name: pd.factorize(values[name])[0].astype(np.int64) for name in caps}
        return cls(dict(caps), numbers, near_duplicates, contents)

    def choose(
        self, rows: np.ndarray, scores: np.ndarray, n: int, reserved: tuple[np.ndarray, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Chooses the greedy lists of at most n items from rankings.

        Args:
          rows: rows of the index, int64 [users, candidates], best first; NO_ITEM where a ranking ends.
          scores: float32 [users, candidates].
          n: length of the lists.
          reserved: rows and scores [users, m], m at most n, of items that keep to the rules among themselves and are
            taken before any other; NO_ITEM where there are fewer. They may be in `rows` again.

        Returns:
          Rows and scores [users, n], best first, in the given order where scores are equal; NO_ITEM and -inf where no
          item is left that the rules allow.
        """
        chosen_rows = np.full([len(rows), n], NO_ITEM, np.int64)
        chosen_scores = np.full([len(rows), n], -np.inf, np.float32)
        held = 0 if reserved is None else reserved[0].shape[1]
        if self.contents is None:
            block = max(1, len(rows))
        else:
            block = max(1, ENTRIES_AT_ONCE // (self.contents.shape[1] * (n + COMPARED_AT_ONCE)))
        for start in range(0, len(rows), block):
            some = slice(start, start + block)
            first = None if reserved is None else reserved[0][some]
            places = self._places(rows[some], n, first)
            line, position = np.nonzero(places)
            order = np.cumsum(places, axis=1)[line, position] - 1
            if reserved is not None:
                chosen_rows[some, :held], chosen_scores[some, :held] = reserved[0][some], reserved[1][some]
                order += (reserved[0][some] != NO_ITEM).sum(axis=1)[line]
            chosen_rows[start + line, order] = rows[some][line, position]
            chosen_scores[start + line, order] = scores[some][line, position]
        if reserved is not None:
            by_score = np.argsort(-chosen_scores, axis=1, kind="stable")
            chosen_rows = np.take_along_axis(chosen_rows, by_score, axis=1)
            chosen_scores = np.take_along_axis(chosen_scores, by_score, axis=1)
        return chosen_rows, chosen_scores

    def _places(self, rows: np.ndarray, n: int, reserved: np.ndarray | None) -> np.ndarray:
        """Returns which places of the rankings are taken, bool [users, candidates]."""
        held = np.empty([len(rows), 0], np.int64) if reserved is None else reserved
        taken = np.zeros(rows.shape, bool)
        room = n - (held != NO_ITEM).sum(axis=1)
        capped = [self._capped(name, cap, rows, held) for name, cap in self.caps.items()]
        start, size = 0, COMPARED_AT_ONCE
        while start < rows.shape[1] and room.any():
            here = slice(start, start + size)
            part = rows[:, here]
            allowed = (part != NO_ITEM) & ~_among(part, held) & (room > 0)[:, np.newaxis]
            for one in capped:
                allowed &= ~one.full(here)
            alike = None
            if self.contents is not None and allowed.any():
                allowed &= ~self._like_earlier(part, rows[:, :start], taken[:, :start], held)
                alike = self._alike(part, part)
            # In each step every user takes the best candidate that is left to her, until none of the part is left.
            while len(users := np.flatnonzero(allowed.any(axis=1))):
                place = allowed[users].argmax(axis=1)
                taken[users, start + place] = True
                room[users] -= 1
                left = allowed[users] & (room[users] > 0)[:, np.newaxis]
                left[np.arange(len(users)), place] = False
                for one in capped:
                    left &= ~one.take(users, start + place, here)
                if alike is not None:
                    left &= ~alike[users, place]
                allowed[users] = left
            start += size
            size = size if self.contents is not None else 2 * size
        return taken

    def _capped(self, name: str, cap: int, rows: np.ndarray, held: np.ndarray) -> _Capped:
        """Numbers the values of each user's candidates from 0, and counts those of the items that she has already."""
        both = np.concatenate([rows, held], axis=1)
        values = np.where(both == NO_ITEM, _NO_VALUE, self.values[name][both])
        order = np.argsort(values, axis=1, kind="stable")
        ordered = np.take_along_axis(values, order, axis=1)
        ordered_numbers = np.zeros(both.shape, np.int64)
        np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=ordered_numbers[:, 1:])
        ordered_numbers[ordered == _NO_VALUE] = both.shape[1]
        numbers = np.empty_like(ordered_numbers)
        np.put_along_axis(numbers, order, ordered_numbers, axis=1)
        counts = np.zeros([len(both), both.shape[1] + 1], np.int64)
        line, position = np.nonzero(held != NO_ITEM)
        np.add.at(counts, (line, numbers[line, rows.shape[1] + position]), 1)
        return _Capped(cap, numbers[:, : rows.shape[1]], counts)

    def _like_earlier(self, part: np.ndarray, earlier: np.ndarray, taken: np.ndarray, held: np.ndarray) -> np.ndarray:
        """Returns which candidates of a part are near-duplicates of items already in a list, bool [users, part]."""
        before = np.full([len(part), int(taken.sum(axis=1).max(initial=0)) + held.shape[1]], NO_ITEM, np.int64)
        before[:, : held.shape[1]] = held
        line, position = np.nonzero(taken)
        before[line, held.shape[1] + np.cumsum(taken, axis=1)[line, position] - 1] = earlier[line, position]
        found = np.zeros(part.shape, bool)
        for start in range(0, before.shape[1], COMPARED_AT_ONCE):
            found |= self._alike(part, before[:, start : start + COMPARED_AT_ONCE]).any(axis=2)
        return found

    def _alike(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Returns which pairs of rows [users, a] and [users, b] have nearly the same content, bool [users, a, b]."""
        assert self.contents is not None and self.near_duplicates is not None
        cosines = np.matmul(self.contents[one], self.contents[other].transpose(0, 2, 1))
        there = (one != NO_ITEM)[:, :, np.newaxis] & (other != NO_ITEM)[:, np.newaxis]
        return (cosines >= self.near_duplicates - ROUNDING) & there


def check_rules(release: Release, caps: Mapping[str, int], near_duplicates: float | None, online: bool = False) -> None:
    """Checks that a release has what rules look at; neither index nor items are loaded.

    Args:
      release: the release.
      caps, near_duplicates: the rules, as in `ListRules`.
      online: whether messages are for a client of the online service, who gives fields instead of settings and is told
        no path.

    Raises:
      InputError: the release lacks a column, or its vectors have no part for content.
    """
    section, called = ("", "the release") if online else (f"{RetrieveConfig.section}.", str(release.folder))
    for name in caps:
        if name not in release.columns:
            kept = ", ".join(release.columns) or "none"
            raise InputError(
                f"{section}cap names {quoted(name)}; {called}, version {release.version}, keeps these columns "
                f"of the catalogue: {kept}; name one of them, or release again with release.columns=[{name}]"
            )
    if near_duplicates is not None:
        try:
            CosineSpace.of(release, CONTENT)
        except InputError:
            raise InputError(
                f"{section}near_duplicates compares content, and {release.model_title} keeps content in no part of the "
                f"vectors of {called}; leave it out"
            ) from None


def without_value(release: Release, columns: Sequence[str]) -> list[str]:
    """Says of each column, in a sentence, how many items of a release have no value and are not capped, if any."""
    if not columns:
        return []
    items = release.items_alone()
    values = items.values(items.ids)
    said = []
    for name in columns:
        lacking = int(pd.isna(values[name]).sum())
        if lacking:
            said.append(f"retrieve.cap: {lacking:,} of {len(values[name]):,} items have no {name} and are not capped")
    return said


def _among(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns which of rows [users, a] are among the others [users, b] of the same user, bool [users, a]."""
    found = np.zeros(rows.shape, bool)
    for position in range(others.shape[1]):
        found |= rows == others[:, position, np.newaxis]
    return found
