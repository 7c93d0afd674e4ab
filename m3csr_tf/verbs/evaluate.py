"""evaluate: measures how well a run ranks the catalogue."""

from __future__ import annotations

from typing import Any

from m3csr_tf import columns
from m3csr_tf.baselines.search import ChosenSettings
from m3csr_tf.config import Config
from m3csr_tf.evaluation import per_user, report, slice_table
from m3csr_tf.evaluation.cold_items import items_then
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.final_fit import FINAL_FIT
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.baseline_choices import choices_table, in_words
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.evaluated_systems import evaluated_on, systems, titled
from m3csr_tf.verbs.final_on_test import final_on_test
from m3csr_tf.verbs.load_run import load_run
from m3csr_tf.verbs.released_vectors import ReleasedVectors, released
from m3csr_tf.verbs.tracker import Tracker
from m3csr_tf.verbs.user_intensities import intensities_of, print_intensities


def evaluate(config: Config) -> dict[str, Evaluation]:
    """Ranks the catalogue for the validation and test users, and compares the model with baselines.

    It writes metrics.json and per_user.npz. Item vectors are those of a release, including the bonuses of items with no
    or few clicks (`exposure`). Intensities are written if the model weighs modalities.

    Returns:
      System -> its evaluation on the test split; the model's key is its title.

    Raises:
      RunError: the run cannot be opened (`load_run`), or its folder cannot be written.
    """
    tracker = Tracker(config)
    evaluated = evaluate_run(load_run(config, judged=True))[columns.TEST]
    tracker.run()
    return evaluated


def evaluate_run(trained: TrainedRun, model_vectors: ReleasedVectors | None = None) -> dict[str, dict[str, Evaluation]]:
    """Evaluates a run that is already open, as `evaluate` does, and returns split -> system -> evaluation.

    Args:
      trained: the run.
      model_vectors: the vectors of its model, if they have been computed already.

    Raises:
      RunError: the run's folder cannot be written.
    """
    runs.check_figures_fit(trained)
    config, prepared = trained.config, trained.prepared
    users, items, added = released(trained) if model_vectors is None else model_vectors
    model = trained.model.title
    evaluated: dict[str, dict[str, Evaluation]] = {columns.TEST: {}, columns.VAL: {}}
    choices: dict[str, ChosenSettings] = {}
    for name, vectors, choice in systems(trained, Vectors(users, items)):
        if choice is not None:
            choices[name] = choice
        for split, by_name in evaluated.items():
            without_intervals = config.evaluation.model_copy(update={"bootstrap": 0})
            settings = config.evaluation if split == columns.TEST else without_intervals
            by_name[name] = evaluated_on(name, vectors, split, trained, settings)
    tree: dict[str, Any] = {split: by_name[model].to_json() for split, by_name in evaluated.items()}
    tree["model"] = {"kind": config.model.kind, "title": model}
    tree["baselines"] = {
        name: {split: by_name[name].to_json() for split, by_name in evaluated.items()}
        | ({"choice": choices[name].to_json()} if name in choices else {})
        for name in evaluated[columns.TEST]
        if name != model
    }
    tree["training"] = trained.finished
    final = final_on_test(trained, evaluated[columns.TEST][model])
    if final is not None:
        tree[FINAL_FIT] = final.to_json()
    edges = prepared.popularity.edges.tolist()
    tree["exposure"] = config.exposure.added | {"bonuses": added.tolist(), "popularity_edges": edges}
    then = {split: items_then(prepared, split, config.cold) for split in evaluated}
    counted = {split: found for split, found in then.items() if found is not None}
    if counted:
        tree["cold"] = config.cold.model_dump() | {split: found.to_json() for split, found in counted.items()}
    if trained.model.weighs_modalities:
        with progress("intensities of users"):
            tree["intensity"] = intensities_of(trained, users)
    with runs.figures_of(trained):
        per_user.write(config.run_folder / per_user.PER_USER_FILE, per_user.by_system(evaluated))
        report.write_metrics(config.run_folder / run_files.METRICS_FILE, tree)
    test = evaluated[columns.TEST]
    for name, evaluation in test.items():
        console.print(slice_table.table(titled(name), evaluation))
    if final is not None:
        console.print(slice_table.table(f"{model}, final fit", final.evaluation))
        say(final.in_words())
    for split, found in counted.items():
        say(f"{split}, {config.cold.in_words()}: {found.in_words()}")
    if choices:
        console.print(choices_table(choices))
        for name, choice in choices.items():
            say(f"{name}: {in_words(choice.settings)}")
    if "intensity" in tree:
        print_intensities(tree["intensity"])
    return evaluated
