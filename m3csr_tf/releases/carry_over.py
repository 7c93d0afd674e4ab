"""Decides which items and removals a new current version carries over from the one before, so that none is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ReleaseError
from m3csr_tf.releases.items import NEVER_TRAINED, ItemStore
from m3csr_tf.releases.journal import Segment
from m3csr_tf.releases.release import Release

logger = logging.getLogger(__name__)

_COMPARED_AT_ONCE = 65_536

CarryOverRule = Callable[[ItemStore, ItemStore], np.ndarray]
"""Maps old items and new items to the ids of the old ones that the new version takes over."""


def carried_over(before: Release, target: Release, select: CarryOverRule) -> Segment | None:
    """Returns the segment for the journal of `target` that carries over the changes made since the version before.

    Args:
      before: the version that was current until now.
      target: the version that is to become current; its item tower computes the vectors of the items carried over.
      select: chooses which items are carried over.

    Returns:
      The items and removals; None if there are none, or if the items of `before` cannot be read, which is logged.
    """
    try:
        old = before.items_alone(salvage=True)
    except ReleaseError as error:
        logger.warning("videos and removals of version %d are not carried over: %s", before.version, error)
        return None
    new = target.items_alone()
    removed = sorted(old.removed - new.removed)
    chosen = select(old, new)
    if old.modalities != target.modalities:
        logger.warning(
            "%d videos of version %d are not carried over: its modalities are %s, now %s",
            len(chosen),
            before.version,
            old.modalities,
            target.modalities,
        )
        chosen = chosen[:0]
    if not target.places_new_items:
        placed = target.has_trained(chosen)
        if not placed.all():
            logger.warning(
                "%d videos of version %d are not carried over: %s has vectors only for the items of its training",
                int((~placed).sum()),
                before.version,
                target.model_title,
            )
        chosen = chosen[placed]
    if not len(chosen):
        nothing = {name: np.empty([0, width], np.float32) for name, width in target.modalities.items()}
        ids = pd.DataFrame({columns.ITEM_ID: chosen, columns.VIEW_COUNT: np.empty(0, np.int64)})
        catalogue, vectors = Catalogue(ids, nothing), np.empty([0, target.width], np.float32)
    else:
        catalogue = old.catalogue(chosen)
        vectors = target.item_vectors(catalogue)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            logger.warning("%d videos are not carried over: they have no finite vector", int((~finite).sum()))
            chosen, vectors = chosen[finite], vectors[finite]
            catalogue = old.catalogue(chosen)
    if not len(chosen) and not removed:
        return None
    known = old.values(chosen)
    values = {name: known.get(name, np.full(len(chosen), None, dtype=object)) for name in target.columns}
    lost = [name for name in target.columns if name not in known and len(chosen)]
    if lost:
        logger.warning("%d videos of version %d are carried over without %s", len(chosen), before.version, lost[0])
    return Segment(catalogue, vectors, removed, np.ones(len(chosen), bool), old.refreshed(chosen), values)


def new_by_refresh(old: ItemStore, new: ItemStore) -> np.ndarray:
    """Chooses the items that a newly trained version carries over: those added by refresh that no training had.

    For items that are in the new catalogue, the catalogue is newer. Items that were in an earlier training but are not
    in the new catalogue were left out on purpose.
    """
    ids = old.ids
    return ids[(old.training_bins(ids) == NEVER_TRAINED) & old.refreshed(ids) & ~new.holds(ids)]


def all_changes(old: ItemStore, new: ItemStore) -> np.ndarray:
    """Chooses what an earlier version carries over: every item it lacks, and every item changed by refresh since."""
    ids = old.ids
    in_release = new.holds(ids)
    changed = ids[in_release & old.refreshed(ids)]
    return np.concatenate([ids[~in_release], changed[~_alike(old, new, changed)]])


def _alike(old: ItemStore, new: ItemStore, ids: np.ndarray) -> np.ndarray:
    """Returns whether items have equal view counts, publish times, kept values and content in both stores, bool [ids].

    A publish time that the old store does not know counts as equal to any.
    """
    alike = (old.views(ids) == new.views(ids)) & new.refreshed(ids)
    published = old.publish_times(ids)
    alike &= np.isnan(published) | (published == new.publish_times(ids))
    theirs_kept = new.values(ids)
    for name, values in old.values(ids).items():
        if name in theirs_kept:
            alike &= values == theirs_kept[name]
    for start in range(0, len(ids), _COMPARED_AT_ONCE):
        block = slice(start, start + _COMPARED_AT_ONCE)
        theirs = new.content(ids[block])
        for name, vectors in old.content(ids[block]).items():
            same = (vectors == theirs[name]) | (np.isnan(vectors) & np.isnan(theirs[name]))
            alike[block] &= same.all(axis=1)
    return alike
