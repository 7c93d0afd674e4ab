"""Reports what a sweep found: tables of the best trials and of importances, a CSV of all trials, and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import optuna
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from m3csr_tf.experiments.sweep.space import SearchedValues
from m3csr_tf.experiments.sweep.study import FINISHED, TrialOutcome
from m3csr_tf.util.files import replacing

TRIALS_FILE = "trials.csv"
IMPORTANCE_PLOT = "importance.png"
_SHOWN = 10


def best_first(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Returns the finished trials by descending score; of equal ones the earlier comes first."""
    return sorted((one for one in outcomes if one.state == FINISHED), key=lambda one: (-(one.score or 0), one.trial))


def importances(study: optuna.Study, seed: int) -> dict[str, float]:
    """Returns the share of the score's variance that each setting explains, in descending order.

    It is empty where the score does not vary. Source: fANOVA (Hutter et al. 2014), as implemented by optuna.
    """
    finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len({trial.value for trial in finished}) < 2:
        return {}
    try:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        return optuna.importance.get_param_importances(study, evaluator=evaluator)
    except RuntimeError:  # No tree could split, because the settings were the same in all trials.
        return {}


def best_table(outcomes: Sequence[TrialOutcome]) -> Table:
    """Returns a table of the trials of `shown`, with scores and metrics; settings are too many and too wide for it."""
    lost = len(outcomes) - len(best_first(outcomes))
    title = f"best trials of {len(outcomes)}, {lost} failed or refused"
    metrics, _ = _names(outcomes)
    table = Table("trial", "score", *metrics, title=title, title_justify="left")
    for one in shown(outcomes):
        table.add_row(str(one.trial), f"{one.score:.4f}", *(f"{one.metrics[name]:.4f}" for name in metrics))
    return table


def shown(outcomes: Sequence[TrialOutcome]) -> list[TrialOutcome]:
    """Returns the best trials, as many as are shown, the best first."""
    return best_first(outcomes)[:_SHOWN]


def importance_table(found: Mapping[str, float]) -> Table:
    """Returns a table of the settings by importance."""
    table = Table("setting", "importance", title="what the score hangs on", title_justify="left")
    table.columns[1].justify = "right"
    for name, share in found.items():
        table.add_row(name, f"{share:.3f}")
    return table


def write_trials(path: Path, outcomes: Sequence[TrialOutcome]) -> None:
    """Writes all trials as a CSV file: trial, state, score, a column for each task and each setting, and problem."""
    metrics, settings = _names(outcomes)
    rows = [
        {"trial": one.trial, "state": one.state, "score": one.score}
        | {name: one.metrics.get(name) for name in metrics}
        | {name: one.settings.get(name) for name in settings}
        | {"problem": one.problem}
        for one in outcomes
    ]
    with replacing(path) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_plots(
    folder: Path, outcomes: Sequence[TrialOutcome], found: Mapping[str, float], settings: Mapping[str, SearchedValues]
) -> list[Path]:
    """Writes importance.png, if importances are known, and setting-NAME.png for each setting; returns their paths.

    setting-NAME.png shows the scores against the values of the setting.
    """
    written = []
    if found:
        figure = Figure(figsize=(7, 0.6 + 0.4 * len(found)), layout="constrained")
        axes = figure.subplots()
        axes.barh(list(found)[::-1], list(found.values())[::-1])
        axes.set_xlabel("importance (share of the score's variance)")
        written.append(_save(figure, folder / IMPORTANCE_PLOT))
    best = best_first(outcomes)
    for name, setting in settings.items():
        if not best:
            break
        figure = Figure(figsize=(5, 3.5), layout="constrained")
        axes = figure.subplots()
        values = [one.settings[name] for one in best]
        if setting.values is not None:
            positions = {repr(value): position for position, value in enumerate(setting.values)}
            axes.set_xticks(range(len(positions)), [_shown(value) for value in setting.values])
            axes.set_xlim(-0.5, len(positions) - 0.5)
            values = [positions[repr(value)] for value in values]
        scores = [one.score for one in best if one.score is not None]
        points = axes.scatter(values, scores, c=[one.trial for one in best], alpha=0.8)
        figure.colorbar(points, ax=axes, label="trial", ticks=MaxNLocator(integer=True))
        if setting.log:
            axes.set_xscale("log")
        if setting.values is None:
            axes.set_xlim(*setting.ends)
            points.set_clip_on(False)  # A value at an end of the range is shown whole.
        axes.set_xlabel(name)
        axes.set_ylabel("score")
        written.append(_save(figure, folder / f"setting-{name}.png"))
    return written


def _save(figure: Figure, path: Path) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def _names(outcomes: Sequence[TrialOutcome]) -> tuple[list[str], list[str]]:
    """Returns the names of the tasks and of the settings of the trials, in the order of the space."""
    return (
        list(dict.fromkeys(name for one in outcomes for name in one.metrics)),
        list(dict.fromkeys(name for one in outcomes for name in one.settings)),
    )


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
