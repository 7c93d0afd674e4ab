"""The versions of a release: making one current, going back to one, listing them and pruning them.

One process at a time creates versions (`publishing`), and one at a time writes to a journal or replaces the manifest
(`switching`, which is short). Readers take no lock: they follow the manifest, and find either the old version or the
new one, each of them complete.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.export import tf_serving
from m3csr_tf.releases import journal
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases.carry_over import CarryOverRule, all_changes, carried_over
from m3csr_tf.releases.journal import Segment
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, sync, sync_tree, write_json, write_text
from m3csr_tf.util.locks import locked
from m3csr_tf.util.refusals import reason

logger = logging.getLogger(__name__)

STAGING = ".publishing"
HISTORY = "history.json"
_GOING = ".pruning"
_PUBLISH_LOCK = ".publish.lock"
_SWITCH_LOCK = ".switch.lock"


@dataclass(frozen=True)
class Version:
    """The description of a version.

    Attributes:
      version: its number.
      current: whether the manifest names it.
      complete: whether all its parts are there and carry the same manifest.
      manifest: its manifest; empty if it is not complete.
      segments: number of segments of its journal; -1 if one is missing.
      size: size of its parts and its journal in bytes.
    """

    version: int
    current: bool
    complete: bool
    manifest: dict[str, Any]
    segments: int
    size: int


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Takes the lock for creating versions, and yields an empty staging folder, which is removed afterwards.

    Raises:
      ReleaseError: the folder cannot be written.
    """
    staging = folder / STAGING
    with _writing(folder), locked(folder / _PUBLISH_LOCK):
        shutil.rmtree(staging, ignore_errors=True)  # It may be left from an earlier attempt that was killed.
        staging.mkdir(parents=True)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def switching(folder: Path) -> Iterator[None]:
    """Takes the lock for writing to a journal or replacing the manifest.

    Raises:
      ReleaseError: the folder cannot be written.
    """
    with _writing(folder), locked(folder / _SWITCH_LOCK):
        yield


def free_version(folder: Path, version: int | None) -> int:
    """Returns the number of the next version, or `version` if it is free.

    Raises:
      ReleaseError: the version exists, or its number is below 1.
    """
    taken = set(manifests.versions(folder)) | _journals(folder)
    if version is None:
        return max(taken, default=0) + 1
    if version < 1:
        raise ReleaseError(f"{folder}: versions are numbers from 1, got {version}")
    if version in taken:
        raise ReleaseError(f"{folder}: version {version} exists already; leave the version out, or give a new one")
    return version


def commit(folder: Path, staging: Path, manifest: dict[str, Any], select: CarryOverRule) -> None:
    """Moves the parts in `staging` to their places and makes them the current version, with what is carried over.

    The order is item tower, index, user tower, journal, models.config, manifest. Until the last step the old version is
    current and complete.

    Args:
      folder: `saved_models/<name>`.
      staging: the folder that holds a folder for each part.
      manifest: the manifest with its fingerprint.
      select: chooses which items of the old version the new one carries over.
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
    Release(folder, manifest).journal.begin()
    _make_current(folder, Release(folder, manifest), select)


def rollback(folder: Path, version: int | None = None) -> tuple[Release, Segment | None]:
    """Makes an earlier version current again; items added, changed and removed since then stay in effect.

    Args:
      folder: `saved_models/<name>`.
      version: the number of the version; None goes back to the one that was current before.

    Returns:
      The version, and what it carried over from the version that was current until now.

    Raises:
      ReleaseError: there is no such version, or it is incomplete. The current version then stays current.
    """
    with _writing(folder), locked(folder / _PUBLISH_LOCK):
        if version is None:
            latest = current(folder)
            if latest is None and manifests.versions(folder):
                raise ReleaseError(no_current(folder))
            latest = manifests.read(folder / columns.MANIFEST)["version"]
            previous = [one for one in _history(folder)[:-1] if manifests.is_complete(folder, one)]
            if not previous:
                raise ReleaseError(f"{folder}: no complete version was current before {latest}; name one by --version")
            version = previous[-1]
        target = open_release(folder, version)
        taken = _make_current(folder, target, all_changes) if version != current(folder) else None
        return open_release(folder), taken


def prune(folder: Path, keep: int) -> list[int]:
    """Removes all but the `keep` latest complete versions, and the leftovers of attempts that were killed.

    The current version always stays, and counts as one of those that are kept.

    Returns:
      The numbers of the removed versions, including incomplete ones.

    Raises:
      ReleaseError: there is no current version, `keep` is below 1, or the folder cannot be written.
    """
    if keep < 1:
        raise ReleaseError(f"{folder}: at least one version is kept, got {keep}")
    with _writing(folder), locked(folder / _PUBLISH_LOCK):
        latest = manifests.read(folder / columns.MANIFEST)["version"]
        found = set(manifests.versions(folder)) | _journals(folder)
        complete = [one for one in sorted(found) if manifests.is_complete(folder, one)]
        others = [one for one in complete if one != latest]
        kept = {latest, *others[len(others) - (keep - 1) :]}
        gone = sorted(found - kept)
        parts = (*manifests.PARTS, journal.FOLDER)
        for version in gone:
            for part in parts:
                place = folder / part / str(version)
                if place.exists():
                    place.rename(place.with_name(f"{_GOING}-{version}"))
        # Files are removed before any is written, because the disk may be full, which pruning is to remedy.
        for part in parts:
            for stale in (folder / part).glob(f"{_GOING}-*"):
                shutil.rmtree(stale, ignore_errors=True)
        shutil.rmtree(folder / STAGING, ignore_errors=True)
        with switching(folder):
            for stale in folder.rglob(".*.part"):  # With both locks held, no other process can be writing one.
                stale.unlink(missing_ok=True)
            pinned = {latest, *(one for one in tf_serving.pinned(folder) if one in kept)}
            tf_serving.write(folder, sorted(pinned))
            write_json(folder / HISTORY, {"versions": [one for one in _history(folder) if one in kept]})
        return gone


def listing(folder: Path) -> list[Version]:
    """Lists all versions of which any part is there, ascending; none is current if the manifest is missing or broken.

    Raises:
      ReleaseError: the folder holds no release.
    """
    latest, there = current(folder), manifests.versions(folder)
    if latest is None and not there:
        manifests.read(folder / columns.MANIFEST)  # It raises an error that says why there is none.
    found = []
    for version in there:
        complete = manifests.is_complete(folder, version)
        manifest = manifests.of_version(folder, version) if complete else {}
        try:
            segments = Release(folder, manifest).journal.length() if complete else 0
        except ReleaseError:
            segments = -1
        places = [folder / part / str(version) for part in (*manifests.PARTS, journal.FOLDER)]
        files = (path for place in places for path in place.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in files)
        found.append(Version(version, version == latest, complete, manifest, segments, size))
    return found


def no_current(folder: Path) -> str:
    """Returns the message for a manifest that names no existing version, with advice on what to do."""
    complete = [one for one in manifests.versions(folder) if manifests.is_complete(folder, one)]
    way = f"go back to one by rollback --version, the latest complete one is {complete[-1]}" if complete else ""
    return (
        f"{folder / columns.MANIFEST}: missing or broken, or of a version that is not there, so none is current; "
        f"{way or 'no version is complete: release again'}"
    )


def _make_current(folder: Path, target: Release, select: CarryOverRule) -> Segment | None:
    with switching(folder):
        before = _before(folder, target.version)
        segment = None if before is None else carried_over(before, target, select)
        if segment is not None:
            target.journal.append(segment)
        previous, version = current(folder), target.version
        tf_serving.write(folder, _pinned(folder, version, previous))
        past = _history(folder)
        past = past[: past.index(version)] if version in past else past
        write_json(folder / HISTORY, {"versions": [*past, version]})
        write_text(folder / columns.MANIFEST, _text(target.manifest))
    return segment


def _before(folder: Path, version: int) -> Release | None:
    """Returns the version that was current until now, or else the latest complete other one, or None."""
    latest = current(folder)
    if latest is None:
        others = [one for one in manifests.versions(folder) if one != version and manifests.is_complete(folder, one)]
        if not others:
            return None
        latest = others[-1]
        logger.warning(
            "%s does not say which version was current; videos and removals of version %d are carried over",
            folder / columns.MANIFEST,
            latest,
        )
    return Release(folder, manifests.of_version(folder, latest))


def _history(folder: Path) -> list[int]:
    """Returns versions in the order in which they became current, without rolled back ones; the last is current."""
    try:
        past = [int(version) for version in parse_json(regular(folder / HISTORY).read_bytes())["versions"]]
    except (OSError, ValueError, KeyError, TypeError):
        past = []
    latest = current(folder)
    if latest is None:
        return past
    return [*(past[: past.index(latest)] if latest in past else past), latest]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ReleaseError(f"{error.filename or folder}: cannot be written: {reason(error)}") from None


def _pinned(folder: Path, current: int, previous: int | None) -> list[int]:
    """Returns the versions that TF Serving loads, with the previous one for clients that follow the old manifest."""
    if previous is None or previous == current or not manifests.is_complete(folder, previous):
        return [current]
    return sorted([previous, current])


def current(folder: Path) -> int | None:
    """Returns the number of the current version, or None if the manifest is missing or broken."""
    try:
        return int(manifests.read(folder / columns.MANIFEST)["version"])
    except ReleaseError:
        return None


def _journals(folder: Path) -> set[int]:
    return {int(path.name) for path in (folder / journal.FOLDER).glob("*") if path.name.isdecimal()}


def _text(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2) + "\n"
