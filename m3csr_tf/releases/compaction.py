"""Compaction: a new version with the same towers, a new index built from all current items, and an empty journal."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import IndexConfig
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index import build_index
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases import sample
from m3csr_tf.releases.items import ItemStore
from m3csr_tf.releases.release import ITEMS_FOLDER, Release, open_release
from m3csr_tf.releases.versions import commit, free_version, publishing

_LINKED = (columns.ITEM_TOWER, columns.USER_TOWER)


def compact(folder: Path, config: IndexConfig) -> Release:
    """Builds the index of the current version anew from its current items, and makes the result the current version.

    The towers stay the same. Items that are added or removed while the index is being built are carried over.

    Args:
      folder: `saved_models/<name>`.
      config: the kind of index, and the recall that it must reach.

    Raises:
      ReleaseError: there is no release, it is incomplete, the vectors cannot be indexed to that recall, or the folder
        cannot be written. The current version then remains current.
    """
    with publishing(folder) as staging:
        release = open_release(folder)
        version = free_version(folder, None)
        ids, seen = release.index.ids, release.position
        place, users = staging / columns.INDEX, release.sample()
        try:
            index = build_index(ids, release.index.vectors(ids), config, users.vectors)
        except ValueError as error:
            raise ReleaseError(f"{folder}: the live vectors cannot be indexed: {error}") from None
        index.save(place)
        release.items.save(place / ITEMS_FOLDER)
        sample.save(users, place)
        for part in _LINKED:
            _link(release.path(part), staging / part, manifests.copy_path(release.path(part), part))
        manifest = _manifest(release.manifest, version, index.report, config, staging)

        def come_since(old: ItemStore, _: ItemStore) -> np.ndarray:
            segments = [segment for _, segment in release.journal.read(seen)]
            came = [np.asarray(segment.items.frame[columns.ITEM_ID], dtype=object) for segment in segments]
            touched = np.unique(np.concatenate([np.empty(0, dtype=object), *came]))
            return touched[old.holds(touched)]

        commit(folder, staging, manifest, come_since)
        return open_release(folder)


def _manifest(
    old: dict[str, Any], version: int, index: dict[str, Any], config: IndexConfig, staging: Path
) -> dict[str, Any]:
    parts = {part: old["parts"][part] for part in _LINKED}
    parts[columns.INDEX] = manifests.checksums(staging / columns.INDEX)
    changed = {
        "version": version,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "compacted": old["version"],
        "index": index,
        "config": {**old["config"], "index": config.model_dump(mode="json")},
        "parts": {part: parts[part] for part in manifests.PARTS},
    }
    return manifests.with_fingerprint({**old, **changed})


def _link(source: Path, target: Path, left_out: Path) -> None:
    """Links the files of a tower, which never change, into another folder, or copies them if links are not possible."""

    def ignore(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) / name == left_out]

    try:
        shutil.copytree(source, target, copy_function=os.link, ignore=ignore)
    except (OSError, shutil.Error):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=ignore)
