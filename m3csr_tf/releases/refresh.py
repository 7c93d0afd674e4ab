"""Refresh: new and changed items pass through the released item tower into the live index, and removed ones leave it.

Items are embedded, written to the journal, and only then put into the index. Once `refresh` returns, a crash loses
nothing, and every process that follows the journal (`Release.catch_up`) gets the same index.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from m3csr_tf import columns
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, Catalogue
from m3csr_tf.errors import InputError, ReleaseError
from m3csr_tf.ids import near
from m3csr_tf.releases.items import NEVER_TRAINED
from m3csr_tf.releases.journal import Segment
from m3csr_tf.releases.release import Release, is_current
from m3csr_tf.releases.versions import switching
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)

_LOOKED_AT = 256
"""Largest number of known items whose vectors are computed twice, to see whether their new content changes them."""


@dataclass(frozen=True)
class Refreshed:
    """The result of a refresh.

    Attributes:
      new: number of items that the index lacked.
      changed: number of items that it already had.
      removed: number of items that it had and has no more.
      absent: number of ids to remove that it did not have; they are recorded, so that no later version brings them
        back.
      position: position of the journal afterwards.
      seconds: seconds from the given vectors to the searchable index.
    """

    new: int
    changed: int
    removed: int
    absent: int
    position: int
    seconds: float


def refresh(
    release: Release,
    items: pd.DataFrame | None = None,
    content: dict[str, np.ndarray] | None = None,
    removed: Collection[str] = (),
    source: str = "items",
    values: Mapping[str, np.ndarray] | None = None,
) -> Refreshed:
    """Takes new, changed and removed items into a live release, and writes them to its journal.

    Args:
      release: the current version, which first catches up with its journal.
      items: checked, in the form of `Catalogue.frame`: item_id and perhaps view_count and publish_time. Without a
        column an item keeps what it had. A count of -1 is unknown; an item of the training then keeps the popularity
        bin it had there. An item whose publish time is NaN keeps the one it had.
      content: modality -> raw vectors float32 [items, width], NaN where an item lacks the modality; they replace what
        was known. For a modality that is not given, a known item keeps its content, and a new one lacks it.
      removed: ids of the items to remove.
      source: the name of the input in error messages.
      values: kept column -> object array of str [items], None where an item has no value; they replace what was known.
        For a column that is not given, a known item keeps its value, and a new one has none.

    Raises:
      InputError: a modality is unknown or of another width, a column is not one that the release keeps, an item that
        no training had is left without any content, the tower's vector of an item is not finite, an item is new and the
        model places no new items, an id is both given and removed, or no item would be left.
      ReleaseError: the release is no longer the current version, or the journal cannot be written. In that case nothing
        has changed.
    """
    started = time.perf_counter()
    frame = pd.DataFrame({columns.ITEM_ID: pd.Series(dtype=object)}) if items is None else items
    given = dict(content or {})
    gone = sorted(set(removed))
    with switching(release.folder):
        if not is_current(release):
            raise ReleaseError(
                f"{release.folder}: version {release.version} is not the current one any more; open the release again"
            )
        release.catch_up()
        check(release, frame, given, gone, source)
        kept = _values(release, frame, values or {}, source)
        if given and not release.places_new_items:
            logger.warning("%s: %s reads no content, so what is given moves no item", source, release.model_title)
        store = release.items
        ids = frame[columns.ITEM_ID].to_numpy(dtype=object)
        in_release, gone_in_release = store.holds(ids), store.holds(np.asarray(gone, dtype=object))
        if len(release.index) + int((~in_release).sum()) == int(gone_in_release.sum()):
            raise InputError(f"{source}: no item would be left; an index holds at least one")
        catalogue = _completed(release, frame, given, in_release)
        vectors = release.item_vectors(catalogue)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            raise InputError(
                f"{source}: the item tower gives item {quoted(ids[int(np.argmin(finite))])} a vector that is not "
                f"finite ({int((~finite).sum())} such items); check its content vectors"
            )
        if given and release.places_new_items:
            _warn_of_unread(release, frame, given, in_release, vectors, source)
        new = ids[~in_release]
        alike = near(new, pa.array(release.index.ids, pa.large_string())) if len(new) else None
        has_content = ~in_release | bool(given)
        segment = Segment(catalogue, vectors, gone, has_content, np.ones(len(ids), bool), kept)
        if len(segment):
            for _ in release.take_in(release.journal.append(segment), segment):
                pass
    if alike is not None:
        logger.warning(
            "%s: item %s is new to the release, which has %s; they differ in case or in spaces around them alone",
            source,
            *map(quoted, alike),
        )
    return Refreshed(
        new=len(new),
        changed=int(in_release.sum()),
        removed=int(gone_in_release.sum()),
        absent=int((~gone_in_release).sum()),
        position=release.position,
        seconds=time.perf_counter() - started,
    )


def _warn_of_unread(
    release: Release,
    frame: pd.DataFrame,
    content: dict[str, np.ndarray],
    in_release: np.ndarray,
    vectors: np.ndarray,
    source: str,
) -> None:
    """Warns if new content of known items changes no vector, because some models use only the id of clicked items."""
    known = np.flatnonzero(in_release)[:_LOOKED_AT]
    before = release.items.content(frame[columns.ITEM_ID].to_numpy(dtype=object)[known])
    differs = np.zeros(len(known), bool)
    for name, new in content.items():
        differs |= ~np.isclose(new[known], before[name], equal_nan=True).all(axis=1)
    changed = known[differs]
    if not len(changed):
        return
    as_it_was = _completed(release, frame.iloc[changed], {}, in_release[changed])
    if (release.item_vectors(as_it_was) == vectors[changed]).all():
        logger.warning(
            "%s: the content of known items changed, and moves none of them (%d looked at): %s reads content only for "
            "items without a training click",
            source,
            len(changed),
            release.model_title,
        )


def check(
    release: Release, frame: pd.DataFrame, content: dict[str, np.ndarray], removed: Collection[str], source: str
) -> None:
    """Raises InputError in the cases in which `refresh` would; the arguments are the same."""
    for name, vectors in content.items():
        expected = release.modalities.get(name)
        if expected is None:
            raise InputError(
                f"{source}: the release knows no modality {name}; expected {', '.join(release.modalities)}"
            )
        if vectors.shape != (len(frame), expected):
            raise InputError(
                f"{source}: {name} vectors have shape {list(vectors.shape)}, expected {[len(frame), expected]} as in "
                "the training"
            )
    ids = frame[columns.ITEM_ID].to_numpy(dtype=object)
    both = min(set(removed).intersection(ids), default=None)
    if both is not None:
        raise InputError(f"{source}: item {quoted(both)} is given and removed at once; do one after the other")
    if not release.places_new_items:
        release.check_placed(ids, source)
        return
    bare = _without_content(release, ids, content)
    if bare.any():
        raise InputError(
            f"{source}: item {quoted(ids[int(np.argmax(bare))])} is new and has no content vector, so it cannot be "
            f"placed ({int(bare.sum())} such items); give at least one of {', '.join(release.modalities)}"
        )


def _without_content(release: Release, ids: np.ndarray, content: dict[str, np.ndarray]) -> np.ndarray:
    """Returns whether items would have neither trained ids nor content, so that nothing places them, bool [ids]."""
    store = release.items
    bare = np.ones(len(ids), bool)
    for vectors in content.values():
        bare &= np.isnan(vectors).any(axis=1)
    in_release = store.holds(ids)
    bare[in_release] &= store.training_bins(ids[in_release]) == NEVER_TRAINED
    if content:
        rest = np.flatnonzero(bare & in_release)
        kept = [vectors for name, vectors in store.content(ids[rest]).items() if name not in content]
        bare[rest] = np.all([np.isnan(vectors).any(axis=1) for vectors in kept], axis=0) if kept else True
    else:
        bare &= ~in_release  # Known items keep the content that they have.
    return bare


def _values(
    release: Release, frame: pd.DataFrame, given: Mapping[str, np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """Completes the given values of kept columns by those that are already known."""
    unknown = [name for name in given if name not in release.columns]
    if unknown:
        kept = ", ".join(release.columns) or "none"
        raise InputError(f"{source}: the release keeps no column {quoted(unknown[0])}; it keeps {kept}")
    store, ids = release.items, frame[columns.ITEM_ID].to_numpy(dtype=object)
    in_release = store.holds(ids)
    known = store.values(ids[in_release])
    whole = {}
    for name in release.columns:
        whole[name] = np.full(len(ids), None, dtype=object)
        whole[name][in_release] = known[name]
        if name in given:
            whole[name][:] = given[name]
    return whole


def _completed(
    release: Release, frame: pd.DataFrame, content: dict[str, np.ndarray], in_release: np.ndarray
) -> Catalogue:
    """Completes what is given by what is already known of the items."""
    store, ids = release.items, frame[columns.ITEM_ID].to_numpy(dtype=object)
    views = np.full(len(ids), UNKNOWN_VIEWS, np.int64)
    if columns.VIEW_COUNT in frame:
        views = frame[columns.VIEW_COUNT].to_numpy(np.int64)
    else:
        views[in_release] = store.views(ids[in_release])
    known = store.content(ids[in_release])
    whole = {}
    for name, width in release.modalities.items():
        if name in content:
            whole[name] = np.ascontiguousarray(content[name], np.float32)
        else:
            whole[name] = np.full([len(ids), width], np.nan, np.float32)
            whole[name][in_release] = known[name]
    completed = pd.DataFrame({columns.ITEM_ID: ids, columns.VIEW_COUNT: views})
    if columns.PUBLISH_TIME in frame:
        completed[columns.PUBLISH_TIME] = frame[columns.PUBLISH_TIME].to_numpy(np.float64)
    return Catalogue(completed, whole)
