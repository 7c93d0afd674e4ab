"""The versions of a release: making one current, going back to one, listing and pruning them.

One process at a time makes versions (`publishing`), and one at a time writes a journal or moves the manifest
(`switching`, short). Readers take no lock: they follow the manifest, and find the old version or the new one, whole.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.files import locked, sync, sync_tree, write_text
from m3csr_tf.serving import journal, tf_serving
from m3csr_tf.serving import manifest as manifests
from m3csr_tf.serving.items import NEVER_TRAINED, ItemStore
from m3csr_tf.serving.journal import Segment
from m3csr_tf.serving.release import Release, open_release

logger = logging.getLogger(__name__)

STAGING = ".publishing"
_GOING = ".pruning"
_PUBLISH_LOCK = ".publish.lock"
_SWITCH_LOCK = ".switch.lock"

Choice = Callable[[ItemStore, ItemStore], np.ndarray]
"""Old items, new items -> ids of the old ones to take into the new version."""


@dataclass(frozen=True)
class Version:
    """What is known of a version.

    Attributes:
      version: its number.
      current: whether the manifest names it.
      complete: whether all its parts are there and carry one manifest.
      manifest: its manifest; empty where it is not complete.
      segments: of its journal; -1 where one is missing.
      size: bytes of its parts and journal.
    """

    version: int
    current: bool
    complete: bool
    manifest: dict[str, Any]
    segments: int
    size: int


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Holds the lock of those who make versions, and gives an empty folder to make one in; it is removed afterwards."""
    staging = folder / STAGING
    try:
        with locked(folder / _PUBLISH_LOCK):
            shutil.rmtree(staging, ignore_errors=True)  # An earlier attempt that was killed.
            staging.mkdir(parents=True)
            try:
                yield staging
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise ReleaseError(f"{folder}: cannot be written ({error.strerror or error}); check disk and rights") from None


def switching(folder: Path) -> AbstractContextManager[None]:
    """Holds the lock of those who write a journal or move the manifest."""
    return locked(folder / _SWITCH_LOCK)


def free_version(folder: Path, version: int | None) -> int:
    """The number of the next version, or `version` if it is free.

    Raises:
      ReleaseError: it exists, or is no number above 0.
    """
    taken = set(manifests.versions(folder)) | _journals(folder)
    if version is None:
        return max(taken, default=0) + 1
    if version < 1:
        raise ReleaseError(f"{folder}: versions are numbers from 1, got {version}")
    if version in taken:
        raise ReleaseError(f"{folder}: version {version} exists already; leave the version out, or give a new one")
    return version


def commit(folder: Path, staging: Path, manifest: dict[str, Any], choose: Choice) -> None:
    """Gives the parts in `staging` their places and makes them the current version, with what must not be lost.

    In the order item tower, index, user tower, journal, models.config, manifest: until the last, the old version is
    current, whole.

    Args:
      folder: `saved_models/<name>`.
      staging: holds a folder for each part.
      manifest: sealed.
      choose: which of the old version's items the new one takes over.
    """
    version = manifest["version"]
    text = _text(manifest)
    for part in manifests.PARTS:
        copy = manifests.copy_path(staging / part, part)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text, encoding="utf-8")
    sync_tree(staging)
    for part in manifests.PARTS:
        place = manifests.part_folder(folder, part, version)
        place.parent.mkdir(exist_ok=True)
        (staging / part).rename(place)
        sync(place.parent)
    _make_current(folder, Release(folder, manifest), choose)


def rollback(folder: Path, version: int | None = None) -> Release:
    """Makes an earlier version current again; videos and removals since then stay in effect.

    Args:
      folder: `saved_models/<name>`.
      version: which one; the latest complete one below the current one when None.

    Raises:
      ReleaseError: there is none, or it is not whole; the current version stays so.
    """
    with locked(folder / _PUBLISH_LOCK):
        current = manifests.read(folder / columns.MANIFEST)["version"]
        if version is None:
            earlier = [
                one for one in manifests.versions(folder) if one < current and manifests.is_complete(folder, one)
            ]
            if not earlier:
                raise ReleaseError(f"{folder}: there is no complete version before {current} to go back to")
            version = earlier[-1]
        target = open_release(folder, version)
        if version != current:
            _make_current(folder, target, _all_changes)
        return open_release(folder)


def prune(folder: Path, keep: int) -> list[int]:
    """Removes all but the `keep` latest complete versions, and what attempts that were killed have left behind.

    The current version stays in any case, and counts.

    Returns:
      The versions removed, incomplete ones included.

    Raises:
      ReleaseError: there is no current version, or `keep` is below 1.
    """
    if keep < 1:
        raise ReleaseError(f"{folder}: at least one version is kept, got {keep}")
    with locked(folder / _PUBLISH_LOCK):
        current = manifests.read(folder / columns.MANIFEST)["version"]
        found = set(manifests.versions(folder)) | _journals(folder)
        complete = [one for one in sorted(found) if manifests.is_complete(folder, one)]
        others = [one for one in complete if one != current]
        kept = {current, *others[len(others) - (keep - 1) :]}
        gone = sorted(found - kept)
        for version in gone:
            for part in (*manifests.PARTS, journal.FOLDER):
                place = folder / part / str(version)
                if place.exists():
                    place.rename(place.with_name(f"{_GOING}-{version}"))
        with switching(folder):
            tf_serving.write(folder, _pinned(folder, current, None))
        for part in (*manifests.PARTS, journal.FOLDER):
            for stale in (folder / part).glob(f"{_GOING}-*"):
                shutil.rmtree(stale, ignore_errors=True)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        for stale in folder.rglob(".*.part"):
            stale.unlink(missing_ok=True)
        return gone


def listing(folder: Path) -> list[Version]:
    """All versions of which any part is there, ascending.

    Raises:
      ReleaseError: the folder holds no release.
    """
    current = manifests.read(folder / columns.MANIFEST)["version"]
    found = []
    for version in manifests.versions(folder):
        complete = manifests.is_complete(folder, version)
        manifest = manifests.of_version(folder, version) if complete else {}
        try:
            segments = Release(folder, manifest).journal.length() if complete else 0
        except ReleaseError:
            segments = -1
        places = [folder / part / str(version) for part in (*manifests.PARTS, journal.FOLDER)]
        files = (path for place in places for path in place.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        found.append(Version(version, version == current, complete, manifest, segments, size))
    return found


def fresh_only(old: ItemStore, new: ItemStore) -> np.ndarray:
    """What a newly trained version takes over: the old one's items that its own catalogue lacks and no training had.

    For the items that the new catalogue holds, it knows better; what left the catalogue of a training is gone on
    purpose.
    """
    ids = old.ids
    return ids[(old.training_bins(ids) == NEVER_TRAINED) & ~new.holds(ids)]


def _all_changes(old: ItemStore, new: ItemStore) -> np.ndarray:
    """What an earlier version takes over: every item that it lacks, and every change since the old one was made."""
    ids = old.ids
    changed = np.isin(ids.astype(str), old.changed.astype(str)) if len(old.changed) else np.zeros(len(ids), bool)
    return ids[changed | ~new.holds(ids)]


def _make_current(folder: Path, target: Release, choose: Choice) -> None:
    with switching(folder):
        segment = _taken_over(folder, target, choose)
        if segment is not None:
            target.journal.append(segment)
        previous = _current(folder)
        tf_serving.write(folder, _pinned(folder, target.version, previous))
        write_text(folder / columns.MANIFEST, _text(target.manifest))


def _taken_over(folder: Path, target: Release, choose: Choice) -> Segment | None:
    """What the journal of `target` needs, so that nothing that came or went with the current version is lost."""
    if _current(folder) is None:
        return None
    try:
        old = Release(folder, manifests.read(folder / columns.MANIFEST)).items_alone()
    except ReleaseError as error:
        logger.warning("the videos that came since the last version are not taken over: %s", error)
        return None
    if old.modalities != target.modalities:
        logger.warning(
            "the videos that came since the last version are not taken over: its modalities are %s, now %s",
            old.modalities,
            target.modalities,
        )
        return None
    new = target.items_alone()
    chosen, removed = choose(old, new), sorted(old.removed - new.removed)
    if not len(chosen) and not removed:
        return None
    catalogue = old.catalogue(chosen)
    return Segment(catalogue, target.item_vectors(catalogue), removed)


def _pinned(folder: Path, current: int, previous: int | None) -> list[int]:
    """Versions that TF Serving loads: the one before as well, for clients that have not seen the manifest move."""
    if previous is None or previous == current or not manifests.is_complete(folder, previous):
        return [current]
    return sorted([previous, current])


def _current(folder: Path) -> int | None:
    try:
        return int(manifests.read(folder / columns.MANIFEST)["version"])
    except ReleaseError:
        return None


def _journals(folder: Path) -> set[int]:
    return {int(path.name) for path in (folder / journal.FOLDER).glob("*") if path.name.isdecimal()}


def _text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"
