"""Filters of top-N lists: settings and files of item ids restrict the items of the release that may be in a list."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from m3csr_tf.batch.ages import AgeRules
from m3csr_tf.batch.search import Candidates
from m3csr_tf.config import ColdConfig, IndexConfig, ListsConfig
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError
from m3csr_tf.index import build_index
from m3csr_tf.releases.release import Release
from m3csr_tf.util.files import sha256

logger = logging.getLogger(__name__)

COLD = "cold"


@dataclass(frozen=True)
class Filters:
    """The filters of a job, and the share of cold items that it asks for.

    Attributes:
      block: ids of items that may be in no list; None without such a file.
      allow: ids of the only items that may be in a list; None without such a file.
      only_cold: whether only cold items may be in a list.
      cold_quota: the least share of a list that must be cold items, as far as there are enough of them.
      section: the section of the settings, for error messages.
      ages: which items are cold, and which are too old.
    """

    block: frozenset[str] | None = None
    allow: frozenset[str] | None = None
    only_cold: bool = False
    cold_quota: float = 0.0
    section: str = "retrieve"
    ages: AgeRules = field(default_factory=AgeRules)

    @classmethod
    def read(cls, config: ListsConfig, cold: ColdConfig | None = None) -> Filters:
        """Reads the files of item ids that the configuration names.

        Args:
          config: the settings of the job.
          cold: which items are cold; those without a click if None.

        Raises:
          InputError: a file is missing, cannot be read, or holds no ids.
        """
        section = config.section
        block = None if config.block is None else item_ids(config.block, "block", section)
        allow = None if config.allow is None else item_ids(config.allow, "allow", section)
        return cls(
            block, allow, config.only == COLD, config.cold_quota, section, AgeRules.of(config, cold or ColdConfig())
        )


@dataclass(frozen=True)
class Selection:
    """The items of a release that may be in a list.

    Attributes:
      candidates: all items that may be in a list.
      cold: the cold ones of them; None if there is no quota.
      is_cold: which items are cold, bool [items of the release's index]; None if there is no quota.
      quota: the least share of a list that must be cold items.
    """

    candidates: Candidates
    cold: Candidates | None = None
    is_cold: np.ndarray | None = None
    quota: float = 0.0


def filter_files(config: ListsConfig) -> dict[str, str]:
    """Returns the SHA-256, in hex, of each filter file by the name of its filter.

    Raises:
      InputError: a file is missing or cannot be read.
    """
    digests = {}
    for name, path in (("block", config.block), ("allow", config.allow)):
        if path is not None:
            try:
                digests[name] = sha256(path)
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror}); check {config.section}.{name}") from None
    return digests


def item_ids(path: Path, name: str, section: str = "retrieve") -> frozenset[str]:
    """Reads the item ids of a filter file (`read_ids`).

    Args:
      path: the path of the file.
      name: the name of its setting without the section, for error messages.
      section: the section of the setting.

    Raises:
      InputError: the file is missing, of another type, cannot be read, or holds no ids.
    """
    try:
        return frozenset(read_ids(path))
    except InputError as error:
        raise InputError(f"{error}; check {section}.{name}") from None


def select(
    release: Release,
    filters: Filters,
    index: IndexConfig,
    candidates_of: Callable[[np.ndarray], Candidates] | None = None,
) -> Selection:
    """Applies the filters to a release, and returns the items that may be in a list, ready to be searched.

    Ids of the filters that the release lacks have no effect; their number is logged.

    Args:
      release: the release.
      filters: the filters.
      index: the recall, and the number of items from which a search is no longer exact, of an index that is built here
        for the remaining items.
      candidates_of: gets which items of the index are kept, bool [items], and returns what is searched for them; by
        default their vectors as they are.

    Raises:
      InputError: no item remains, or ages are asked for and no item has a publish time.
    """
    ids = release.index.ids
    kept = np.ones(len(ids), dtype=bool)
    why = []
    filters.ages.check(release, ids)
    for name, given, keep_named in (("block", filters.block, False), ("allow", filters.allow, True)):
        if given is None:
            continue
        rows = release.index.rows(list(given))
        if (rows < 0).any():
            lacking = int((rows < 0).sum())
            said = f"{filters.section}.{name}"
            logger.warning("%s: of its %d items, the release lacks %d", said, len(rows), lacking)
        named = np.zeros(len(ids), dtype=bool)
        named[rows[rows >= 0]] = True
        kept &= named == keep_named
        why.append(f"{filters.section}.{name}")
    quota = 0.0 if filters.only_cold else filters.cold_quota
    is_cold = filters.ages.is_cold(release, ids) if filters.only_cold or quota else np.zeros(len(ids), dtype=bool)
    if filters.only_cold:
        kept &= is_cold
        why.append(f"{filters.section}.only=cold")
    if filters.ages.max_age_days is not None:
        kept &= ~filters.ages.too_old(release, ids)
        why.append(f"{filters.section}.max_age_days={filters.ages.max_age_days:g}")
    if not kept.any():
        raise InputError(
            f"{' and '.join(why)}: none of the {len(ids):,} items is left, so there is nothing to retrieve"
        )

    def of_vectors(some: np.ndarray) -> Candidates:
        return _candidates(release, some, index)

    searched = candidates_of or of_vectors
    candidates = searched(kept)
    if quota and not (kept & is_cold).any():
        logger.warning(
            "%s.cold_quota=%g has no effect: none of the %s items that may be listed is cold",
            filters.section,
            quota,
            f"{int(kept.sum()):,}",
        )
        quota = 0.0
    if not quota:
        return Selection(candidates)
    return Selection(candidates, searched(kept & is_cold), is_cold, quota)


def _candidates(release: Release, kept: np.ndarray, config: IndexConfig) -> Candidates:
    """Returns the kept items in the release's own index if at least half are kept, otherwise in a new index.

    If at least half of the items are kept, a search for twice the length finds enough of them, and no index needs to be
    built. A few items among many would need ever longer searches, whereas an index of their own is fast, and exact if
    they are few.
    """
    if kept.all():
        return Candidates(release.index)
    if 2 * kept.sum() >= len(kept):
        return Candidates(release.index, hidden=~kept)
    rows = np.flatnonzero(kept)
    # The kind of index and the limit on leaves that were chosen for all items may not suit a part of them.
    settings = config.model_copy(update={"kind": "auto", "max_leaves_to_search": None})
    index = build_index(
        release.index.ids[rows], release.index.vectors_at(rows), settings, queries=release.sample().vectors
    )
    return Candidates(index, rows=rows)
