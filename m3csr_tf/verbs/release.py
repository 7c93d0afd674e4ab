"""release: publishes a version, lists versions, verifies one, rolls back to one, and prunes old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3csr_tf.config import Config
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index import recall_table
from m3csr_tf.releases import publish as publishing
from m3csr_tf.releases import verification, versions
from m3csr_tf.releases.journal import Segment
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.final_fit import FINAL_FIT
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs import released_vectors
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import bonuses, load_released, vectors_of
from m3csr_tf.verbs.release_gate import passed_gate
from m3csr_tf.verbs.tracker import Tracker


def publish(config: Config, again: bool = False, anyway: bool = False) -> Release:
    """Exports the towers, builds the index over all items, and publishes both as one version.

    If the current version already comes from this run with the same settings of index and exposure, it is not published
    again, unless `again` is set. With `release.max_loss`, a run that finds significantly less than the current version
    is not published, unless `anyway` is set.

    With `training.final_fit`, the final fit of the run is published. If that was trained on all clicks, the run that
    chose its settings is compared in its place.

    Raises:
      InputError: a column of `release.columns` cannot be read from the catalogue.
      ReleaseError: `release.max_loss` refuses the run, its index does not reach the recall that is required, or a part
        cannot be published.
      RunError: the run cannot be opened (`load_released`).
    """
    trained = load_released(config)
    tracker = Tracker(trained.config, of_release=True)
    if FINAL_FIT in trained.finished:
        chose = trained.finished[FINAL_FIT]["run"]
        say(f"run {trained.config.run.name} is the final fit of {chose}, whose metrics hold")
    current = None if again else _published(trained)
    if current is not None:
        say(f"{config.release_folder}: version {current.version} is this run already; --again publishes it once more")
        tracker.released(current)
        return current
    max_loss = config.release.max_loss
    if max_loss is None:
        if anyway:
            say("--anyway: release.max_loss is not set, so nothing is compared or refused")
        encoder = VectorEncoder(trained.model, item_features(trained.prepared))
        added = bonuses(trained, vectors_of(trained, encoder))
        released = publishing.publish(trained, bonuses=added, final_fit=trained.finished.get(FINAL_FIT))
    else:
        vectors = released_vectors.released(trained)
        verdict = passed_gate(trained, vectors, max_loss, anyway)
        gate = None if verdict is None else verdict.to_json()
        final = trained.finished.get(FINAL_FIT)
        released = publishing.publish(trained, bonuses=vectors.bonuses, gate=gate, final_fit=final)
    report = released.index.report
    say(
        f"released version {released.version} to {config.release_folder}: user_tower, item_tower and an index "
        f"({report['kind']}) of {report['items']:,} items, recall {report['recall']}"
    )
    for sentence in _kept(released):
        say(sentence)
    if report["kind"] != "exact":
        console.print(recall_table(report))
    if released.position:
        _print_carried_over(next(segment for _, segment in released.journal.read(until=1)))
    tracker.released(released)
    return released


def list_versions(config: Config) -> None:
    """Prints a block for each version of the release, and says which one is current."""
    found = versions.listing(config.release_folder)
    for one in found:
        manifest = one.manifest
        notes = ["current"] * one.current + ["incomplete"] * (not one.complete)
        notes += ["published anyway"] * (manifest.get("gate", {}).get("overridden") is True)
        created = f"created {str(manifest['created']).removesuffix('+00:00')} UTC" if "created" in manifest else ""
        origin = _origin(manifest)
        console.rule(", ".join([f"version {one.version}", *notes]), align="left")
        say(", ".join(filter(None, [created, f"run {origin}" if origin else ""])) or "no manifest")
        index = manifest.get("index", {})
        say(
            (f"{index['items']:,} items, recall {index['recall']}, " if index else "")
            + ("journal broken" if one.segments < 0 else f"{one.segments} refreshes")
            + f", {one.size / 2**20:,.1f} MiB"
            + (f", fingerprint {manifest['fingerprint'][:12]}" if "fingerprint" in manifest else "")
        )
    if not any(one.current for one in found):
        say(versions.no_current(config.release_folder))


def verify(config: Config, version: int | None, sample: int) -> None:
    """Recomputes checksums, the vectors of a sample, and the recall of the live index, and reports the result.

    Args:
      config: names the release.
      version: number of the version; None takes the current one.
      sample: largest number of items, and of users, whose vectors are recomputed.

    Raises:
      ReleaseError: the version does not exist, a part is missing or changed, or a vector or the recall differs from
        what it should be.
    """
    released = open_release(config.release_folder, version)
    with progress("recomputing checksums, vectors and recall"):
        done = verification.verify(released, sample)
    say(
        f"version {released.version} ({released.manifest['fingerprint'][:12]}) is whole: checksums of {done.files} "
        f"files and {done.segments} segments of the journal, vectors of {done.items} items and {done.users} users, "
        f"recall {done.recall:.4f} (at least {done.required})"
    )


def rollback(config: Config, version: int | None) -> Release:
    """Makes an earlier version current again.

    Args:
      config: names the release.
      version: number of the version; None goes back to the one that was current before.

    Raises:
      ReleaseError: there is no such version, or it is incomplete. The current version then stays current.
    """
    tracker = Tracker(config, of_release=True)
    before = versions.current(config.release_folder)
    released, taken = versions.rollback(config.release_folder, version)
    if released.version == before:
        say(f"{config.release_folder}: version {before} is the current one already")
        tracker.current(released)
        return released
    instead = "" if before is None else f", instead of {before}"
    version_text = f"version {released.version} of run {released.manifest['run']}"
    say(f"{config.release_folder}: {version_text} is current again{instead}")
    if taken is not None:
        _print_carried_over(taken)
    tracker.current(released)
    return released


def prune(config: Config, keep: int) -> list[int]:
    """Removes all but the `keep` latest versions, among them the current one, and leftovers of killed attempts.

    Returns:
      The numbers of the removed versions.

    Raises:
      ReleaseError: there is no current version, `keep` is below 1, or the folder cannot be written.
    """
    gone = versions.prune(config.release_folder, keep)
    removed = ", ".join(map(str, gone)) or "none"
    say(f"{config.release_folder}: versions removed: {removed}; the latest {keep} and the current one stay")
    return gone


def _print_carried_over(taken: Segment) -> None:
    say(
        f"carried over from the version before: {len(taken.vectors):,} videos that came or changed, "
        f"{len(taken.removed):,} removals"
    )


def _kept(released: Release) -> list[str]:
    """Returns a sentence for each column that the release keeps, on how many items have a value of it."""
    ids = released.items.ids
    return [
        f"column {name}: {len(set(values) - {None}):,} values, which {sum(value is not None for value in values):,} of "
        f"{len(ids):,} items have"
        for name, values in released.items.values(ids).items()
    ]


def _origin(manifest: Mapping[str, Any]) -> str:
    """Returns the name of a version's run, and whether it is a final fit or was made by compaction."""
    compacted = f", compacted from {manifest['compacted']}" if "compacted" in manifest else ""
    final = f", final fit of {manifest[FINAL_FIT]['run']}" if FINAL_FIT in manifest else ""
    return f"{manifest.get('run', '')}{final}{compacted}"


def _published(trained: TrainedRun) -> Release | None:
    """Returns the current version if it was published from this run and is complete, or None."""
    try:
        current = open_release(trained.config.release_folder)
    except ReleaseError:
        return None
    return current if publishing.says_the_same(current.manifest, trained) else None
