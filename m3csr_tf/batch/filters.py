"""Which items may be in a list: the settings and files of item ids that say so, and what remains of an index."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from m3csr_tf.batch.search import Candidates
from m3csr_tf.config import IndexConfig, ListsConfig
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError
from m3csr_tf.index import build_index
from m3csr_tf.releases.release import Release
from m3csr_tf.util.files import sha256

logger = logging.getLogger(__name__)

COLD = "cold"


@dataclass(frozen=True)
class Filters:
    """What a job leaves out of every list, and how many cold items it asks for.

    Attributes:
      block: ids of items that are in no list; None without such a file.
      allow: ids of the only items that may be; None without such a file.
      only_cold: whether only items without clicks may be.
      cold_quota: share of a list that is to be items without clicks, as far as there are any.
      section: of the settings, for messages.
    """

    block: frozenset[str] | None = None
    allow: frozenset[str] | None = None
    only_cold: bool = False
    cold_quota: float = 0.0
    section: str = "retrieve"

    @classmethod
    def read(cls, config: ListsConfig) -> Filters:
        """Reads the files that the configuration names.

        Raises:
          InputError: a file is missing, cannot be read, or holds no ids.
        """
        section = config.section
        block = None if config.block is None else item_ids(config.block, "block", section)
        allow = None if config.allow is None else item_ids(config.allow, "allow", section)
        return cls(block, allow, config.only == COLD, config.cold_quota, section)


@dataclass(frozen=True)
class Selection:
    """The items of a release that may be in a list.

    Attributes:
      candidates: all of them.
      cold: those without clicks; None where no quota asks for them.
      is_cold: bool [items of the release's index]; None where no quota asks.
      quota: least share of a list that is to be cold.
    """

    candidates: Candidates
    cold: Candidates | None = None
    is_cold: np.ndarray | None = None
    quota: float = 0.0


def filter_files(config: ListsConfig) -> dict[str, str]:
    """Name of each filter that is a file -> SHA-256 of the file, hex.

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
    """The item ids of a file, see `read_ids`.

    Args:
      path: the file.
      name: the setting's, without its section.
      section: of the setting.

    Raises:
      InputError: it is missing, of another kind, cannot be read, or holds no ids.
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
    """What of a release may be in a list, ready to be searched.

    Says how many ids of the filters the release lacks; they change nothing.

    Args:
      release: a release.
      filters: see there.
      index: recall and size from which a search is no longer exact, for the indexes of few items that are built here.
      candidates_of: bool [items of the release's index], those that are kept -> what is searched for them; by default
        their vectors as they are.

    Raises:
      InputError: nothing remains.
    """
    ids = release.index.ids
    kept = np.ones(len(ids), dtype=bool)
    why = []
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
    is_cold = release.items.is_cold(ids) if filters.only_cold or quota else np.zeros(len(ids), dtype=bool)
    if filters.only_cold:
        kept &= is_cold
        why.append(f"{filters.section}.only=cold")
    if not kept.any():
        raise InputError(
            f"{' and '.join(why)}: none of the {len(ids):,} items is left, so there is nothing to retrieve"
        )

    def of_vectors(some: np.ndarray) -> Candidates:
        return _candidates(release, some, index)

    searched = candidates_of or of_vectors
    candidates = searched(kept)
    if not quota or not (kept & is_cold).any():
        return Selection(candidates)
    return Selection(candidates, searched(kept & is_cold), is_cold, quota)


def _candidates(release: Release, kept: np.ndarray, config: IndexConfig) -> Candidates:
    """The kept items, by the index of all of them if they are most, else by one of their own.

    Where at least half are kept, a search of twice the length finds enough of them, and no index needs to be built. Few
    items among many would take ever longer searches; an index of their own is exact where it is small, and quick.
    """
    if kept.all():
        return Candidates(release.index)
    if 2 * kept.sum() >= len(kept):
        return Candidates(release.index, hidden=~kept)
    rows = np.flatnonzero(kept)
    # What a release was told to have may not suit a part of its items.
    settings = config.model_copy(update={"kind": "auto", "max_leaves_to_search": None})
    index = build_index(
        release.index.ids[rows], release.index.vectors_at(rows), settings, queries=release.sample().vectors
    )
    return Candidates(index, rows=rows)
