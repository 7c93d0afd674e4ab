"""refresh: takes new items, popularity updates and removals into the live index."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from m3csr_tf.batch.listed import check_listed
from m3csr_tf.config import Config
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.errors import InputError, ReleaseError
from m3csr_tf.releases import inbox
from m3csr_tf.releases.compaction import compact
from m3csr_tf.releases.recall_gate import Gate, recall_now
from m3csr_tf.releases.refresh import Refreshed
from m3csr_tf.releases.refresh import refresh as refresh_items
from m3csr_tf.releases.release import Release, is_current, open_release
from m3csr_tf.util.locks import locked
from m3csr_tf.util.progress import progress
from m3csr_tf.util.quoting import one_line
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.tracker import Tracker

_LOCK = ".follow.lock"
"""File in an inbox by which the process that follows it keeps others out."""
_POLL = 0.1
"""Seconds that pass before an empty inbox is looked at again."""
_MEASURED_EVERY = 0.02
"""Share of the items that may change before recall is measured again."""


def refresh(
    config: Config,
    items: Path | None,
    remove: Path | None,
    follow: Path | None,
    compaction: bool,
) -> None:
    """Takes in files of items, once or as they arrive, and reports whether the index still reaches its recall.

    Args:
      config: names the release.
      items: file of added, changed and removed items (docs/data.md).
      remove: file of the ids of items to remove.
      follow: folder from which files are taken as they arrive, until the process is interrupted.
      compaction: afterwards build the index anew, as a new version.

    Raises:
      InputError: nothing is asked for, or a file is invalid.
      ReleaseError: the release cannot be opened, or is no longer the current version.
    """
    if not (items or remove or follow or compaction):
        raise InputError("refresh: nothing to do; expected any of --items, --remove, --follow and --compact")
    release = open_release(config.release_folder)
    _warm_up(release)
    measured = release.index.changed
    if items:
        with progress("refreshing") as show:
            done = inbox.take_in(release, items, show)
        _say(release, items, done)
    if remove:
        ids = read_ids(remove)
        # The file may list ids that were removed before, so a file without any current id is accepted.
        check_listed(remove, ids, release, "--remove", needs_one=False)
        _say(release, remove, [refresh_items(release, removed=ids, source=str(remove))])
    if release.index.changed > measured and not compaction:
        _say_gate(recall_now(release))
    if compaction:
        tracker = Tracker(config, of_release=True)
        released = compact(config.release_folder, config.index)
        say(
            f"compacted version {release.version} into version {released.version}: {len(released.index):,} items, "
            f"recall {released.index.report['recall']}, an empty journal"
        )
        tracker.current(released)
    if follow:
        _follow(config, follow)


def _follow(config: Config, folder: Path) -> None:
    """Takes in files as they arrive until it is interrupted; a lock lets only one process do this at a time."""
    inbox.pending_files(folder)
    with locked(folder / _LOCK):
        release = open_release(config.release_folder)
        _warm_up(release)
        measured = release.index.changed
        into = f"version {release.version} of {config.release_folder}"
        say(one_line(f"following {folder} into {into}; ctrl-c stops"))
        stays = _Staying()
        while True:
            stays.say(inbox.ignored_entries(folder))
            files = [path for path in inbox.pending_files(folder) if not stays.holds(path)]
            if not is_current(release):
                release = open_release(config.release_folder)
                _warm_up(release)
                measured = release.index.changed
                say(f"version {release.version} is current now")
            for path in files:
                try:
                    done = inbox.take_in_and_put_away(release, path)
                except ReleaseError:
                    if is_current(release):
                        raise
                    break  # A new version has just been published; the file stays for it.
                if done:
                    _say(release, path, done)
                stays.add(path)
            if not files and release.index.changed - measured > _MEASURED_EVERY * len(release.index):
                measured = release.index.changed
                _say_gate(recall_now(release))
            if not files:
                time.sleep(_POLL)


class _Staying:
    """The entries that stay in an inbox and are passed over.

    They are files that were taken in or rejected but could not be moved, until they change, and links and folders.
    """

    def __init__(self) -> None:
        self._files: set[tuple[Path, int, int]] = set()
        self._said: set[Path] = set()

    def add(self, path: Path) -> None:
        """Remembers a file that has been taken in or rejected, if it is still there."""
        self._files |= self._state(path)

    def holds(self, path: Path) -> bool:
        """Returns whether a file stays because it was taken in or rejected, and has not changed since."""
        return bool(self._state(path) & self._files)

    def say(self, odd: list[Path]) -> None:
        """Reports once for each entry that it is ignored."""
        for path in odd:
            if path not in self._said:
                say(f"{one_line(str(path))}: is passed over; an inbox takes files, no links, pipes or folders")
        self._said = set(odd)

    @staticmethod
    def _state(path: Path) -> set[tuple[Path, int, int]]:
        try:
            state = path.lstat()
        except OSError:
            return set()
        return {(path, state.st_ino, state.st_mtime_ns)}


def _warm_up(release: Release) -> None:
    """Makes the first call of the item tower and the first change of the index, so that no item waits for them."""
    ids = release.index.ids[:1]
    release.item_vectors(release.items.catalogue(np.asarray(ids, dtype=object)))
    release.index.prepare_changes()


def _say(release: Release, path: Path, done: list[Refreshed]) -> None:
    new, changed, removed, absent = (
        sum(getattr(one, field) for one in done) for field in ("new", "changed", "removed", "absent")
    )
    missing = f" ({absent:,} to remove were not there)" if absent else ""
    say(
        f"{one_line(str(path))}: {new:,} new, {changed:,} changed, {removed:,} removed{missing} in "
        f"{sum(one.seconds for one in done):.2f} s; version {release.version} holds {len(release.index):,} items"
    )


def _say_gate(gate: Gate) -> None:
    due = "; a rebuild is due: pipelines/refresh.py --compact" if gate.rebuild_due else ""
    below = "" if gate.holds else ", BELOW the gate"
    say(
        f"recall@{gate.at} {gate.recall:.4f} (at least {gate.required}{below}) with {gate.changed:,} of {gate.items:,} "
        f"items changed since the index was built{due}"
    )
