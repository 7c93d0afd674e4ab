"""Logs a run's folder to MLflow: whatever lies there that the store lacks, so that logging twice changes nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from m3csr_tf import __version__
from m3csr_tf.errors import RunError, TrackingError
from m3csr_tf.tracking.figures import LOGGED_BY_STEP, by_step, of_tree, parameters
from m3csr_tf.tracking.store import Store, error_code
from m3csr_tf.training import finished as endings
from m3csr_tf.training.run_files import (
    CONFIG_FILE,
    FIGURES,
    METRICS_FILE,
    REPORT_FILES,
    TRACKING_FILE,
    VERSIONS_FILE,
)
from m3csr_tf.util.files import sha256, write_json
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.quoting import listed
from m3csr_tf.util.stored import stored_json

if TYPE_CHECKING:
    from mlflow.entities import Run

TAG = "m3csr_tf."
"""What tags of this package begin with."""
_TRAINING = f"{TAG}training"
_FILES = (CONFIG_FILE, VERSIONS_FILE, endings.FINISHED_FILE, METRICS_FILE, *LOGGED_BY_STEP.values(), *REPORT_FILES)
_AT_ONCE = 100
"""Parameters or metrics of one request, the fewest that a store takes."""
Of = TypeVar("Of")
_LOG_AFRESH = "delete it, and the run is logged to a new run of MLflow"


@dataclass
class Tracked:
    """Which run of MLflow a run is logged to: its file tracking.json.

    Attributes:
      run: name of the run, so that a copy of its folder under another name is logged apart.
      training: what the run's tag m3csr_tf.training says, by which it is found again in any store.
      store: the store of `run_id`, without secrets.
      run_id: of the run there; "" before the first logging.
      uploaded: file -> SHA-256 of what the store has of it.
    """

    run: str
    training: str
    store: str = ""
    run_id: str = ""
    uploaded: dict[str, str] = field(default_factory=dict)


def check_run(store: Store, folder: Path) -> None:
    """Refuses to begin with a run that could not be logged; writes nothing.

    Raises:
      TrackingError: its run in MLflow was deleted.
      RunError: its tracking.json is broken.
    """
    if (folder / TRACKING_FILE).exists():
        tracked = _tracked(folder)
        _check_kept(store, _known(store, tracked) or _found(store, tracked), folder)


def log_run(store: Store, folder: Path) -> tuple[str, list[str]]:
    """Logs all that a run's folder holds and the store lacks: parameters, metrics, files.

    Args:
      store: the store.
      folder: of the run, in training or finished.

    Returns:
      The id of the run in MLflow, and sentences on what could not be logged as it is.

    Raises:
      RunError: there is no run, or its tracking.json is broken.
      TrackingError: its run in MLflow was deleted.
      Exception: whatever MLflow raises (`store.answers`).
    """
    with folder_lock(folder):
        tracked = _tracked(folder)
        run = _run_of(store, tracked, folder)
        notes = _log_parameters(store, run, folder)
        _log_steps(store, run, folder)
        _log_tree(store, run, folder)
        _upload(store, tracked, folder)
        finished = (folder / endings.FINISHED_FILE).exists()
        status = "FINISHED" if finished else "RUNNING"
        if run.info.status != status:
            store.client.update_run(tracked.run_id, status=status)
    return tracked.run_id, notes


def log_steps(store: Store, folder: Path) -> None:
    """Logs the steps of the training logs that the store lacks.

    Raises:
      As `log_run`.
    """
    with folder_lock(folder):
        tracked = _tracked(folder)
        _log_steps(store, _run_of(store, tracked, folder), folder)


def _tracked(folder: Path) -> Tracked:
    if not (folder / CONFIG_FILE).exists():
        raise RunError(
            f"{folder}: no run here ({CONFIG_FILE} is missing); run pipelines/train.py first, or check run.name"
        )
    path = folder / TRACKING_FILE
    if path.exists():
        tree = stored_json(path, _LOG_AFRESH, RunError)
        try:
            tracked = Tracked(**tree)
        except TypeError:
            raise RunError(f"{path}: it is broken (its fields are {listed(tree)}); {_LOG_AFRESH}") from None
        if tracked.run == folder.name:
            return tracked
    return Tracked(folder.name, secrets.token_hex(16))


def _write(tracked: Tracked, folder: Path) -> None:
    write_json(folder / TRACKING_FILE, tracked.__dict__)


def _run_of(store: Store, tracked: Tracked, folder: Path) -> Run:
    """The run in the store, made if need be; a kill at any moment leaves one run there and no second one."""
    run = _known(store, tracked) or _found(store, tracked)
    if run is None:
        tracked.store, tracked.run_id, tracked.uploaded = "", "", {}
        _write(tracked, folder)
        run = store.client.create_run(store.experiment, run_name=folder.name, tags=_tags(tracked, folder))
    _check_kept(store, run, folder)
    if (tracked.store, tracked.run_id) != (store.shown, run.info.run_id):
        tracked.store, tracked.run_id, tracked.uploaded = store.shown, run.info.run_id, {}
        _write(tracked, folder)
    return run


def _check_kept(store: Store, run: Run | None, folder: Path) -> None:
    if run is not None and run.info.lifecycle_stage == "deleted":
        raise TrackingError(
            f"{folder}: its run {run.info.run_id} in {store.shown} was deleted; restore it (mlflow runs restore "
            f"--run-id {run.info.run_id}), or delete {folder / TRACKING_FILE} to log it to a new one"
        )


def _tags(tracked: Tracked, folder: Path) -> dict[str, Any]:
    return {_TRAINING: tracked.training, f"{TAG}version": __version__, f"{TAG}folder": str(folder.absolute())}


def _known(store: Store, tracked: Tracked) -> Run | None:
    if tracked.store != store.shown or not tracked.run_id:
        return None
    try:
        run = store.client.get_run(tracked.run_id)
    except Exception as error:
        if error_code(error) == "RESOURCE_DOES_NOT_EXIST":  # The store was made anew.
            return None
        raise
    return run if run.info.experiment_id == store.experiment else None


def _found(store: Store, tracked: Tracked) -> Run | None:
    from mlflow.entities import ViewType

    by_tag = f"tags.`{_TRAINING}` = '{tracked.training}'"
    found = store.client.search_runs([store.experiment], by_tag, ViewType.ALL, max_results=1)
    return found[0] if found else None


def _log_parameters(store: Store, run: Run, folder: Path) -> list[str]:
    """MLflow never changes a parameter, and cuts none."""
    from mlflow.entities import Param
    from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

    whole = parameters(folder)
    values = {name: _cut(value, MAX_PARAM_VAL_LENGTH) for name, value in whole.items()}
    there = run.data.params
    for some in _portions([name for name in values if name not in there]):
        store.client.log_batch(run.info.run_id, params=[Param(name, values[name]) for name in some])
    long = [name for name, value in whole.items() if values[name] != value]
    changed = [name for name, value in values.items() if there.get(name, value) != value]
    notes = [f"{listed(long)}: cut at {MAX_PARAM_VAL_LENGTH:,} characters, the longest parameter there"] if long else []
    if changed:
        notes.append(f"{listed(changed)}: changed since the run was first logged, and MLflow keeps the first value")
    return [f"{note}; {CONFIG_FILE} among its files says all" for note in notes]


def _cut(value: str, longest: int) -> str:
    return value if len(value) <= longest else f"{value[: longest - 3]}..."


def _log_steps(store: Store, run: Run, folder: Path) -> None:
    lacking: list[tuple[str, float, int]] = []
    for name, values in by_step(folder).items():
        history = store.client.get_metric_history(run.info.run_id, name) if name in run.data.metrics else []
        there = {one.step for one in history}
        lacking += [(name, value, step) for step, value in values.items() if step not in there]
    _log_metrics(store, run, lacking)


def _log_tree(store: Store, run: Run, folder: Path) -> None:
    if not (folder / METRICS_FILE).exists():
        return
    tree = stored_json(folder / METRICS_FILE, "run pipelines/evaluate.py", RunError)
    there = run.data.metrics
    best_step = int(tree.get("training", {}).get("best_step", 0))
    _log_metrics(
        store, run, [(name, value, best_step) for name, value in of_tree(tree).items() if there.get(name) != value]
    )


def _log_metrics(store: Store, run: Run, values: list[tuple[str, float, int]]) -> None:
    from mlflow.entities import Metric

    now = round(1000 * time.time())
    for some in _portions(values):
        metrics = [Metric(name, value, now, step) for name, value, step in some]
        store.client.log_batch(run.info.run_id, metrics=metrics)


def _portions(values: Sequence[Of]) -> Iterator[Sequence[Of]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))


def _upload(store: Store, tracked: Tracked, folder: Path) -> None:
    for path in _files(folder):
        name, digest = path.relative_to(folder).as_posix(), sha256(path)
        if tracked.uploaded.get(name) != digest:
            parent = path.relative_to(folder).parent.as_posix()
            store.client.log_artifact(tracked.run_id, str(path), None if parent == "." else parent)
            tracked.uploaded[name] = digest
    _write(tracked, folder)


def _files(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in _FILES if (folder / name).is_file())
    yield from sorted(path for path in (folder / FIGURES).glob("*") if path.is_file())
