"""The study of a sweep: chooses the settings to try next, stores the outcomes, and continues after a kill.

A trial is identified by its position k, from 0. A trial that was killed does not count, and its position is tried
again. What is drawn for a position depends on the seed, the position and the finished trials alone. So the position
gets the same settings, its runs are continued, and a sweep that was killed ends where it would have ended.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from sqlalchemy.exc import DatabaseError

from m3csr_tf.config import Config, with_settings
from m3csr_tf.data import formats
from m3csr_tf.errors import ConfigError, RunError
from m3csr_tf.experiments.sweep.space import SearchedValues, SearchSpace, number_of, value_of
from m3csr_tf.experiments.sweep.trial import evaluate_trial
from m3csr_tf.training import run_files
from m3csr_tf.util.files import sha256
from m3csr_tf.util.locks import if_free
from m3csr_tf.util.names import check_room

STUDY_FILE = "study.db"
FINISHED, DIVERGED, REFUSED = "finished", "failed", "refused"
_STATES = {TrialState.COMPLETE: FINISHED, TrialState.FAIL: DIVERGED, TrialState.PRUNED: REFUSED}
_BEGIN_ANEW = "move it away to begin the sweep anew"
_ADVICE = {
    "database or disk is full": "make room; the same command goes on",
    "readonly database": "give this user the right to write it; the same command goes on",
    "unable to open database file": "give this user the right to read and write it; the same command goes on",
    "disk I/O error": "make room or check the disk; the same command goes on",
    "database is locked": "another process holds it; wait for it",
    "file is not a database": _BEGIN_ANEW,
    "disk image is malformed": _BEGIN_ANEW,
    "no such table": _BEGIN_ANEW,
}
"""What SQLite says -> what to do about it."""
_ORIGIN, _METRICS, _PROBLEM = "origin", "metrics", "problem"


@dataclass(frozen=True)
class TrialOutcome:
    """The outcome of a trial.

    Attributes:
      trial: the position of the trial, from 0.
      state: FINISHED, DIVERGED (the training failed) or REFUSED (the settings contradict each other).
      score: the weighted sum over the tasks; None unless finished.
      metrics: task -> value, for the tasks that it finished.
      settings: dotted name -> value.
      problem: why it did not finish; "" if it did.
    """

    trial: int
    state: str
    score: float | None
    metrics: dict[str, float]
    settings: dict[str, Any]
    problem: str


def sweep_folder(base: Config, space: SearchSpace) -> Path:
    """Returns the folder of the sweep."""
    return base.run.folder / space.name


def search(base: Config, space: SearchSpace, trials: int, console: Console) -> optuna.Study:
    """Tries settings until there are `trials` trials in all, including those of earlier sittings; returns the study.

    The first trial has the settings of `base`, if the space holds them. A trial that diverges, or whose settings
    contradict each other, counts, and the sweep goes on.

    Raises:
      ConfigError: a task's name is too long for the names of its runs; nothing has been done then.
      RunError: the sweep's folder holds something else, or a sweep of another space, base or data, or another process
        works in it.
      InputError: the data cannot be read, or a task has no validation users.
    """
    folder = sweep_folder(base, space)
    for task in space.tasks:
        check_room(f"tasks.{task}", len(task), _run_name(trials - 1, task))
    if (folder / run_files.CONFIG_FILE).exists():
        raise RunError(f"{folder}: a run lies here; give the space another name")
    with _alone(folder), _stored(folder / STUDY_FILE):
        study = _open(folder, base, space)
        for killed in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(killed.number, state=TrialState.FAIL)
        while (trial_number := len(_counted(study))) < trials:
            _try(study, trial_number, base, space, folder, trials, console)
    return study


def outcomes(study: optuna.Study) -> list[TrialOutcome]:
    """Returns the outcomes of all trials except those that were killed, in their order."""
    return [
        TrialOutcome(
            trial_number,
            _STATES[trial.state],
            trial.value if trial.state == TrialState.COMPLETE else None,
            trial.user_attrs.get(_METRICS, {}),
            trial.params,
            trial.user_attrs.get(_PROBLEM, ""),
        )
        for trial_number, trial in enumerate(_counted(study))
    ]


def _try(
    study: optuna.Study,
    trial_number: int,
    base: Config,
    space: SearchSpace,
    folder: Path,
    trials: int,
    console: Console,
) -> None:
    own = {name: value_of(base, name) for name in space.settings}
    if trial_number == 0 and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        outside = [name for name, value in own.items() if not space.settings[name].holds(value)]
        if outside:
            console.print(f"the base's own settings are no trial: {', '.join(outside)} lies outside the space")
        else:
            study.enqueue_trial(own)
    # A sampler that was used for several trials would draw other settings after a kill.
    seed = int(np.random.SeedSequence([base.run.seed, trial_number]).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    trial = study.ask({name: _distribution(space.settings[name], number_of(base, name)) for name in space.settings})
    console.rule(f"trial {trial_number}, the {trial_number + 1}. of {trials}", align="left")
    console.print(overrides_of(trial.params), highlight=False)
    metrics: dict[str, float] = {}
    try:
        for name, task in space.tasks.items():
            config = with_settings(base, trial.params, task.overrides)
            owned = {"name": _run_name(trial_number, name), "folder": folder, "overwrite": True}
            config = config.model_copy(update={"run": config.run.model_copy(update=owned)})
            metrics[name] = evaluate_trial(config, task, folder / f"prepared-{name}")
            trial.set_user_attr(_METRICS, metrics)
    except (ConfigError, RunError) as error:
        trial.set_user_attr(_PROBLEM, str(error))
        state = TrialState.PRUNED if isinstance(error, ConfigError) else TrialState.FAIL
        study.tell(trial, state=state)
        console.print(f"{_STATES[state]}: {error}", highlight=False)
        return
    score = sum(task.weight * metrics[name] / task.reference for name, task in space.tasks.items())
    study.tell(trial, score)
    figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    console.print(f"score {score:.4f} ({figures}); best so far {study.best_value:.4f}", highlight=False)


def _run_name(trial_number: int, task: str) -> str:
    return f"trial-{trial_number}-{task}"


def overrides_of(settings: dict[str, Any]) -> str:
    """Returns settings as they are passed on the command line."""
    return " ".join(f"{name}={value}" for name, value in settings.items())


def _counted(study: optuna.Study) -> list[FrozenTrial]:
    """Returns the trials that ended by themselves; a failure without a problem is a kill."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False, states=tuple(_STATES))
        if trial.state == TrialState.COMPLETE or _PROBLEM in trial.user_attrs
    ]


def _distribution(setting: SearchedValues, number: type[int] | type[float] | None) -> BaseDistribution:
    if setting.values is not None:
        return CategoricalDistribution(setting.values)
    low, high = setting.ends
    if number is int:
        return IntDistribution(int(low), int(high), log=setting.log, step=int(setting.step or 1))
    return FloatDistribution(low, high, log=setting.log, step=setting.step)


def _open(folder: Path, base: Config, space: SearchSpace) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / STUDY_FILE
    if path.exists() and not path.is_file():
        raise RunError(f"{path}: it is no regular file; {_BEGIN_ANEW}")
    study = optuna.create_study(
        storage=f"sqlite:///{path.resolve()}", study_name=space.name, direction="maximize", load_if_exists=True
    )
    origin = _origin(base, space)
    stored = study.user_attrs.get(_ORIGIN)
    if stored is None:
        study.set_user_attr(_ORIGIN, origin)
    elif stored != origin:
        changed = " and ".join(part for part in origin if stored.get(part) != origin[part])
        raise RunError(
            f"{folder}: this sweep was begun with another {changed}, and its trials would not compare; give the space "
            "another name, or move the folder away"
        )
    return study


@contextmanager
def _stored(path: Path) -> Iterator[None]:
    """Translates an error of SQLite about the study's file into what is wrong and what to do.

    Only a file that is not a study is to be moved away.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, DatabaseError) as error:
        causes = f"{error} {error.__cause__ or ''} {error.__context__ or ''}"
        reason = next((one for one in _ADVICE if one in causes), None)
        advice = _ADVICE.get(reason or "", "check the disk and rights, and use the same command again; it goes on")
        raise RunError(f"{path}: {reason or 'the study cannot be read or written'}; {advice}") from error


def _origin(base: Config, space: SearchSpace) -> dict[str, str]:
    """Returns digests of what all trials of a sweep share."""
    files = set()
    for task in space.tasks.values():
        config = with_settings(base, {}, task.overrides)
        files |= {*formats.input_files(config.data), *filter(None, [config.split.cold_file])}
    parts = {
        "space": space.model_dump(mode="json"),
        "base configuration": [base.fingerprint(), base.evaluation.top_n],
        "data": sorted(sha256(path) for path in files if path.is_file()),
    }
    return {name: hashlib.sha256(json.dumps(part).encode()).hexdigest() for name, part in parts.items()}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps a second process out, which would take a running trial of the first one for a killed trial."""
    folder.mkdir(parents=True, exist_ok=True)
    with if_free(folder / ".lock") as free:
        if not free:
            raise RunError(f"{folder}: another process is at work on this sweep; wait for it or stop it")
        yield
