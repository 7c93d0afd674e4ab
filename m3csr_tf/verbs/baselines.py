"""baselines: tunes and evaluates closed-form recommenders on the data of a run, without a trained model."""

from __future__ import annotations

from typing import Any

from m3csr_tf import columns
from m3csr_tf.baselines import registry
from m3csr_tf.config import Config
from m3csr_tf.evaluation import per_user, report, slice_table, user_draw
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.baseline_choices import choices_table, in_words
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluated_systems import titled
from m3csr_tf.verbs.prepare import prepare

BASELINES_FILE = "baselines.json"
"""File in the run's folder: the metrics and the chosen settings of the baselines."""


def baselines(config: Config) -> dict[str, dict[str, Evaluation]]:
    """Prepares the data if necessary, tunes the baselines of `evaluation.baselines`, and evaluates them.

    It evaluates on validation and test, and writes per_user.npz and baselines.json, in the form that metrics.json has
    under "baselines". A baseline that cannot handle a log of this size is left out, which is reported.

    Returns:
      Baseline -> split -> its evaluation.

    Raises:
      RunError: the run's folder holds a run with another configuration.
    """
    prepared = prepare(config)
    wanted = "tuned" if config.evaluation.baselines is None else config.evaluation.baselines
    validation_users = user_draw.validation_users(prepared, config.evaluation)
    evaluated: dict[str, dict[str, Evaluation]] = {}
    tree: dict[str, Any] = {}
    choices = {}
    names, weighted = registry.named(wanted, prepared), config.evaluation.weighted_baselines
    for name, vectors, choice in registry.fitted(names, prepared, config.run.folder, validation_users, say, weighted):
        evaluated[name] = {}
        for split in (columns.TEST, columns.VAL):
            resamples = config.evaluation.bootstrap if split == columns.TEST else 0
            settings = config.evaluation.model_copy(update={"bootstrap": resamples})
            with progress(f"evaluating {titled(name)} on {split}, users") as stage:
                evaluated[name][split] = report.evaluate_split(
                    prepared, *vectors, split, settings, config.run.seed, stage, config.cold
                )
        tree[name] = {split: evaluation.to_json() for split, evaluation in evaluated[name].items()}
        if choice is not None:
            choices[name] = choice
            tree[name]["choice"] = choice.to_json()
    with folder_lock(config.run_folder):
        per_user.write(config.run_folder / per_user.PER_USER_FILE, evaluated)
        report.write_metrics(config.run_folder / BASELINES_FILE, tree)
    for name, evaluations in evaluated.items():
        console.print(slice_table.table(titled(name), evaluations[columns.TEST]))
    if choices:
        console.print(choices_table(choices))
        for name, choice in choices.items():
            say(f"{name}: {in_words(choice.settings)}")
    return evaluated
