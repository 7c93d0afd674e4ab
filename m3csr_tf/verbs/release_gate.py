"""release.max_loss: judges on the test clicks of a run whether the run may become the current version."""

from __future__ import annotations

from m3csr_tf.drift.comparison import METRICS, quality
from m3csr_tf.drift.gate import Verdict
from m3csr_tf.errors import ReleaseError, RunError
from m3csr_tf.releases import manifest as manifests
from m3csr_tf.releases import versions
from m3csr_tf.releases.release import open_release
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.compared_runs import (
    judged_instead,
    judged_release,
    known_clicks,
    of_run,
    other_data,
    users_of_run,
)
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.load_run import judge_of
from m3csr_tf.verbs.released_vectors import ReleasedVectors, released


def passed_gate(trained: TrainedRun, vectors: ReleasedVectors, max_loss: float, anyway: bool) -> Verdict | None:
    """Compares a run with the current version, and reports the result.

    A final fit on all clicks has been trained on the clicks that would judge it, and on some that would judge the run
    of the next night. On both sides, the run that chose its settings is therefore compared in its place.

    Args:
      trained: the run that is to be published.
      vectors: its vectors as a release would hold them.
      max_loss: `release.max_loss`, the share of the current version's Recall@20 that may be lost.
      anyway: whether to publish the run even if the gate does not hold.

    Returns:
      The verdict, which the manifest records; None if the release has no version yet to compare with.

    Raises:
      ReleaseError: the gate does not hold, and `anyway` is not set.
    """
    folder = trained.config.release_folder
    if versions.current(folder) is None and not manifests.versions(folder):
        say(f"{folder}: no version to compare with, so release.max_loss={max_loss} holds")
        return None
    verdict = _judged(trained, vectors, max_loss)
    if verdict.holds:
        say(f"run {trained.config.run.name} {verdict.in_words()}; release.max_loss={max_loss} holds")
    elif anyway:
        say(f"run {trained.config.run.name}: {verdict.in_words()}; it is published anyway (--anyway)")
    else:
        raise ReleaseError(
            f"{folder}: run {trained.config.run.name} is not published: {verdict.in_words()}, and "
            f"release.max_loss={max_loss}; look at it with pipelines/release.py compare run, train again, or publish "
            "it with --anyway"
        )
    return verdict


def _judged(trained: TrainedRun, vectors: ReleasedVectors, max_loss: float) -> Verdict:
    """Returns the verdict on a run, which says why if the run and the current version cannot be compared."""
    folder = trained.config.release_folder
    against = versions.current(folder)
    try:
        with progress("opening the current version"):
            current = open_release(folder)
    except ReleaseError as error:
        return Verdict(max_loss, against, None, str(error))
    try:
        judged = judge_of(trained)
        before = judged_release(current, trained.config)
    except RunError as error:
        return Verdict(max_loss, against, None, str(error))
    users = users_of_run(judged, None, [])
    notes = [
        other_data(current, judged),
        judged_instead(current.manifest),
        judged_instead(trained.finished),
        known_clicks(current.manifest, trained.config),
        known_clicks(trained.finished | {"run": trained.config.run.name}, trained.config),
    ]
    for note in dict.fromkeys(filter(None, notes)):
        say(f"note: {note}")
    found = vectors if judged is trained else released(judged)
    tests = quality(before, of_run(judged, found), users)
    if tests is None:
        return Verdict(
            max_loss, against, None, f"fewer than two users of run {judged.config.run.name} have test clicks"
        )
    return Verdict(max_loss, against, tests[METRICS[0]])
