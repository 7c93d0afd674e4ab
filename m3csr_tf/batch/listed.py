"""Checks files of item ids against the ids that a release knows: a file without any known id must be a mistake."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np

from m3csr_tf.batch.known import KnownIds
from m3csr_tf.batch.lists import Ids
from m3csr_tf.data.id_files import refuse_joined
from m3csr_tf.errors import InputError
from m3csr_tf.releases.release import Release
from m3csr_tf.util.quoting import quoted

logger = logging.getLogger(__name__)


def check_listed(path: Path, ids: Collection[str], release: Release, name: str, needs_one: bool = True) -> None:
    """Refuses a file of item ids that seems to be a mistake, and warns of one in which most ids are unknown.

    An item that was removed since the training still counts as known.

    Args:
      path: the path of the file.
      ids: the ids that `id_files.read_ids` has read from it.
      release: the release whose items are meant.
      name: the name of the list in messages, e.g. "retrieve.block".
      needs_one: whether a list without any known id is always refused. If not, it is refused only if one of its ids
        differs from a known one in spelling alone.

    Raises:
      InputError: an unknown id seems to be several ids in one, or no id is known.
    """
    items, known = np.asarray(sorted(ids), dtype=object), KnownIds(release)
    unknown = items[known.unknown(Ids(items, np.zeros(len(items), np.int64), release.index.rows(items)))]
    refuse_joined(path, unknown.tolist())
    if 2 * len(unknown) <= len(items):
        return
    near = known.near_items(unknown)
    if near is None:
        example = f", e.g. {quoted(unknown[0])}"
    else:
        example = f"; {quoted(near[0])} differs from {quoted(near[1])}, which it knows, in case or spaces alone"
    if len(unknown) < len(items):
        logger.warning(
            "%s: %s: most ids are unknown to the release (%s of %s) and count for nothing%s",
            name,
            path,
            f"{len(unknown):,}",
            f"{len(items):,}",
            example,
        )
    elif needs_one or near is not None:
        raise InputError(
            f"{path}: none of the {len(items):,} ids of {name} is known to the release{example}; write ids as its "
            "catalogue has them, or name another file"
        )
