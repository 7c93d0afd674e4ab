"""Which items the lists of queries may hold, and by what rules: made when first asked for, and kept for later queries.

What is made holds for the items as they are, so a refresh discards it. Where ages matter it also holds for a time only:
after half of `service.age_lag_s` it is made again while the older one is still used, and after all of it queries wait.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

from m3csr_tf.batch.filters import Filters, Selection, select
from m3csr_tf.batch.list_rules import ListRules, check_rules, without_value
from m3csr_tf.batch.listed import check_listed
from m3csr_tf.batch.search import Candidates
from m3csr_tf.config import ColdConfig, IndexConfig, ListsConfig, RetrieveConfig
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release
from m3csr_tf.service.schemas import RecommendQuery

logger = logging.getLogger(__name__)

_EXACT = IndexConfig(kind="exact")
"""Filters may leave few of many items, which change with every refresh: a tree would take too long to build."""
MOST_SELECTIONS = 16
"""Selections that are kept; beyond that, the one that was used least recently is discarded."""


class NothingLeft(InputError):
    """The filters leave no item that could be listed."""


class Superseded(Exception):
    """The items changed between the check that all is ready for a query and the search."""


class SelectionKey(NamedTuple):
    """What of a query decides which items may be in its lists."""

    only_cold: bool
    has_quota: bool
    max_age_days: float | None

    @classmethod
    def of(cls, query: RecommendQuery) -> SelectionKey:
        """Returns the key of a query."""
        only_cold = query.only == "cold"
        return cls(only_cold, not only_cold and query.cold_quota > 0, query.max_age_days)


class RuleData(Enum):
    """What rules look at, whatever the caps and the threshold of a query are."""

    VALUES = "the values of all columns that the release keeps"
    CONTENTS = "the contents of all items"


Wanted = SelectionKey | RuleData
"""Something that must be made before a query can be answered."""


class State(Enum):
    """Whether what a query needs is at hand."""

    READY = "it is"
    AGEING = "it is, but it should be made again"
    MISSING = "it is not, or its ages lag behind the clock too far"


@dataclass
class _Made:
    """A selection, or why there is none; the clock at which its ages were taken, None if it needs none."""

    selection: Selection | None
    error: str
    taken: float | None
    used: float = field(default_factory=time.monotonic)


class Selections:
    """Makes and keeps the selections and the rules of one release.

    `make` and `clear` may not run at the same time, and the index may not change during `make`.

    Args:
      release: the release.
      retrieve: the filters that hold for all queries, and the rules that queries have by default.
      cold: which items are cold.
      age_lag: seconds by which ages may lag behind the clock.

    Raises:
      InputError: a filter's file cannot be read, or seems to be a mistake; the release lacks what a rule looks at; or
        ages are asked for and no item has a publish time.
    """

    def __init__(self, release: Release, retrieve: RetrieveConfig, cold: ColdConfig, age_lag: float) -> None:
        self._release = release
        self._age_lag = age_lag
        check_rules(release, retrieve.cap, retrieve.near_duplicates)
        self._filters = opened_filters(release, retrieve, cold)
        for sentence in without_value(release, list(retrieve.cap)):
            logger.warning(sentence)
        self._made: dict[SelectionKey, _Made] = {}
        self._rules: dict[RuleData, ListRules | None] = {}

    def check(self, query: RecommendQuery) -> None:
        """Refuses a query whose rules look at what the release lacks.

        Raises:
          InputError: it lacks a column, or its vectors have no part for content.
        """
        check_rules(self._release, query.cap, query.near_duplicates, online=True)

    def wanted(self, query: RecommendQuery) -> list[Wanted]:
        """Returns what must be made, or be at hand, before a query can be answered."""
        key = SelectionKey.of(query)
        found: list[Wanted] = [] if self._is_plain(key) else [key]
        if query.cap:
            found.append(RuleData.VALUES)
        if query.near_duplicates is not None:
            found.append(RuleData.CONTENTS)
        return found

    def state(self, wanted: Wanted) -> State:
        """Returns whether something is at hand."""
        if isinstance(wanted, RuleData):
            return State.READY if wanted in self._rules else State.MISSING
        made = self._made.get(wanted)
        return State.MISSING if made is None else state_of_ages(made.taken, self._age_lag)

    def make(self, wanted: Wanted) -> None:
        """Makes something for the items as they are and, where ages matter, at the clock."""
        release = self._release
        if wanted is RuleData.VALUES:
            self._rules[wanted] = ListRules.of(release, dict.fromkeys(release.columns, 1), None)
        elif wanted is RuleData.CONTENTS:
            self._rules[wanted] = ListRules.of(release, {}, 1.0)
        else:
            quota = 1.0 if wanted.has_quota else 0.0
            asks_for_cold = wanted.only_cold or wanted.has_quota
            ages = replace(self._filters.ages, max_age_days=wanted.max_age_days, asks_for_cold=asks_for_cold)
            taken = ages.clock()
            filters = replace(self._filters, only_cold=wanted.only_cold, cold_quota=quota, ages=ages.at(taken))
            try:
                self._made[wanted] = _Made(select(release, filters, _EXACT), "", taken)
            except InputError as error:
                self._made[wanted] = _Made(None, str(error), taken)
            while len(self._made) > MOST_SELECTIONS:
                del self._made[min(self._made, key=lambda key: self._made[key].used)]

    def clear(self) -> None:
        """Discards everything that has been made, since the items have changed."""
        self._made.clear()
        self._rules.clear()

    def selection(self, query: RecommendQuery) -> Selection:
        """Returns the items that may be in the lists of a query, with its quota.

        Raises:
          NothingLeft: there are none.
          Superseded: they are not at hand any more.
        """
        key = SelectionKey.of(query)
        if self._is_plain(key):
            return Selection(Candidates(self._release.index))
        made = self._made.get(key)
        if made is None:
            raise Superseded
        made.used = time.monotonic()
        if made.selection is None:
            raise NothingLeft(made.error)
        found = made.selection
        return replace(found, quota=query.cold_quota) if found.cold is not None else found

    def rules(self, query: RecommendQuery) -> ListRules | None:
        """Returns the rules of the lists of a query; None if there are none.

        Raises:
          Superseded: what they look at is not at hand any more.
        """
        if not query.cap and query.near_duplicates is None:
            return None
        values = self._data(RuleData.VALUES).values if query.cap else {}
        contents = None if query.near_duplicates is None else self._data(RuleData.CONTENTS).contents
        return ListRules(query.cap, values, query.near_duplicates, contents)

    def _data(self, wanted: RuleData) -> ListRules:
        found = self._rules.get(wanted)
        if found is None:
            raise Superseded
        return found

    def _is_plain(self, key: SelectionKey) -> bool:
        return key == (False, False, None) and self._filters.block is None and self._filters.allow is None


def opened_filters(release: Release, config: ListsConfig, cold: ColdConfig) -> Filters:
    """Reads the filters of a section, and checks them against a release, as a batch job does when it begins.

    Raises:
      InputError: a filter's file cannot be read, or seems to be a mistake (`listed.check_listed`), or ages are asked
        for and no item has a publish time.
    """
    filters = Filters.read(config, cold)
    for name, path, ids in (("block", config.block, filters.block), ("allow", config.allow, filters.allow)):
        if path is not None and ids is not None:
            check_listed(path, ids, release, f"{config.section}.{name}")
    if config.now is not None:
        then = datetime.fromtimestamp(config.now, UTC).isoformat()
        logger.warning("%s.now is set: ages are taken at %s and not at the clock", config.section, then)
    ages = filters.ages.at(filters.ages.clock())
    if ages.needs_ages:
        ages.check(release, release.index.ids)
        for sentence in ages.doubts(release):
            logger.warning(sentence)
    return filters


def state_of_ages(taken: float | None, age_lag: float) -> State:
    """Returns whether ages that were taken at some time can be used.

    Args:
      taken: the clock then, in Unix seconds; None where ages do not depend on it.
      age_lag: seconds by which they may lag behind the clock; a clock that has been put back counts as well.
    """
    lag = 0.0 if taken is None else abs(time.time() - taken)
    if lag > age_lag:
        return State.MISSING
    return State.AGEING if lag > age_lag / 2 else State.READY
