"""evaluate, frontier: how well a run ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from m3csr_tf import columns, exposure
from m3csr_tf.baselines import registry
from m3csr_tf.baselines.search import Choice
from m3csr_tf.config import Config, EvaluationConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation import report
from m3csr_tf.evaluation.intensities import intensity_correlations
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments import ablations as ablation
from m3csr_tf.experiments import frontier as frontiers
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.m3csr.zeroed import uniform_attention
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training import runs
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import UnknownUserVectors, UserVectors, VectorEncoder
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.console import console, say
from m3csr_tf.verbs.load_run import bonuses, opened, vectors_of

MODEL = "M3CSR"

FEW = ("popularity", "random")
"""The baselines beside a single run, where `evaluation.baselines` does not say."""


class Released(NamedTuple):
    """The vectors of a run as a release holds them.

    Attributes:
      users: those of all users, by row, computed when they are asked for.
      items: float32 [items, D], the bonuses of items without a click or with few (`exposure`) included.
      bonuses: float32 [bins], what was added to each popularity bin.
    """

    users: UserVectors
    items: np.ndarray
    bonuses: np.ndarray


def released(trained: TrainedRun) -> Released:
    """A run's vectors, and the bonuses calibrated for them."""
    plain = vectors_of(trained, VectorEncoder(trained.model, item_features(trained.prepared)))
    added = bonuses(trained, plain)
    return Released(plain.user_vectors, exposure.with_bonuses(plain.item_vectors, trained.prepared, added), added)


def evaluate(config: Config) -> dict[str, Evaluation]:
    """Ranks the catalogue for the validation and test users, beside baselines; writes metrics.json.

    The item vectors are those of a release, the bonuses of items without a click or with few (`exposure`) included.

    Returns:
      System -> its evaluation on the test split.
    """
    return evaluate_run(opened(config))[columns.TEST]


def evaluate_run(trained: TrainedRun, of_model: Released | None = None) -> dict[str, dict[str, Evaluation]]:
    """`evaluate` of a run that is open already; what comes back is split -> system -> evaluation.

    Args:
      trained: the run.
      of_model: its vectors, if they are at hand.

    Raises:
      RunError: the run's folder may not be written.
    """
    runs.check_figures_fit(trained)
    config, prepared = trained.config, trained.prepared
    users, items, added = released(trained) if of_model is None else of_model
    evaluated: dict[str, dict[str, Evaluation]] = {columns.TEST: {}, columns.VAL: {}}
    choices: dict[str, Choice] = {}
    for name, vectors, choice in _systems(config, prepared, Vectors(users, items)):
        if choice is not None:
            choices[name] = choice
        for split, of_split in evaluated.items():
            without_intervals = config.evaluation.model_copy(update={"bootstrap": 0})
            settings = config.evaluation if split == columns.TEST else without_intervals
            of_split[name] = _evaluated(name, vectors, split, trained, settings)
    tree: dict[str, Any] = {split: of_split[MODEL].to_json() for split, of_split in evaluated.items()}
    tree["baselines"] = {
        name: {split: of_split[name].to_json() for split, of_split in evaluated.items()}
        | ({"choice": choices[name].to_json()} if name in choices else {})
        for name in evaluated[columns.TEST]
        if name != MODEL
    }
    tree["training"] = trained.finished
    edges = prepared.popularity.edges.tolist()
    tree["exposure"] = config.exposure.added | {"bonuses": added.tolist(), "popularity_edges": edges}
    with progress("intensities of users"):
        tree["intensity"] = _intensities(trained, users)
    with runs.figures_of(trained):
        report.write_metrics(config.run_folder / runs.METRICS_FILE, tree)
    test = evaluated[columns.TEST]
    for name, evaluation in test.items():
        console.print(report.table(titled(name), evaluation))
    if choices:
        console.print(choices_table(choices))
        for name, choice in choices.items():
            say(f"{name}: {in_words(choice.settings)}")
    print_intensities(tree["intensity"])
    return evaluated


def evaluate_systems(trained: TrainedRun, split: str) -> dict[str, Evaluation]:
    """The model and the baselines of `evaluation.baselines` on one split; the other one is not looked at.

    On validation the model's own vectors rank, as in the validations of its training and in a sweep: places that a
    release holds for new items (`exposure`) are lost where nothing new can be clicked. On test those of a release do.

    Returns:
      System -> its evaluation, without intervals.
    """
    if split == columns.TEST:
        users, items, _ = released(trained)
        vectors = Vectors(users, items)
    else:
        vectors = vectors_of(trained, VectorEncoder(trained.model, item_features(trained.prepared)))
    settings = trained.config.evaluation.model_copy(update={"bootstrap": 0})
    systems = _systems(trained.config, trained.prepared, vectors)
    return {name: _evaluated(name, of_system, split, trained, settings) for name, of_system, _ in systems}


def evaluate_without(trained: TrainedRun, of_model: Released) -> dict[str, dict[str, dict[str, Evaluation]]]:
    """A run with something taken from its user tower that needs no training of its own (`ablations.UNTRAINED`).

    The item vectors stay as they are, bonuses included. The weights are as they were when this returns.

    Returns:
      What is taken away -> split -> "M3CSR" -> evaluation, without intervals.
    """
    settings = trained.config.evaluation.model_copy(update={"bootstrap": 0})
    users, items, _ = of_model

    def evaluated(vectors: UserVectors | UnknownUserVectors) -> dict[str, dict[str, Evaluation]]:
        both = Vectors(vectors, items)
        return {
            split: {MODEL: _evaluated(MODEL, both, split, trained, settings)} for split in (columns.TEST, columns.VAL)
        }

    found = {ablation.USER_ID: evaluated(UnknownUserVectors(users))}
    with uniform_attention(trained.model):
        found[ablation.ATTENTION] = evaluated(users)
    return found


def _evaluated(name: str, vectors: Vectors, split: str, trained: TrainedRun, settings: EvaluationConfig) -> Evaluation:
    with progress(f"evaluating {titled(name)} on {split}, users") as told:
        return report.evaluate_split(trained.prepared, *vectors, split, settings, trained.config.run.seed, told)


def _systems(config: Config, prepared: Prepared, of_model: Vectors) -> Iterator[tuple[str, Vectors, Choice | None]]:
    """The model and the baselines, one after the other, each with what has been chosen for it."""
    yield MODEL, of_model, None
    wanted: str | Sequence[str] = FEW if config.evaluation.baselines is None else config.evaluation.baselines
    names = registry.named(wanted, prepared)
    judges = len(report.drawn_users(prepared, columns.VAL, config.evaluation)[0])
    yield from registry.fitted(names, prepared, config.run.folder, judges, say)


def choices_table(choices: Mapping[str, Choice]) -> Table:
    """On what a search has chosen the settings of each baseline (`in_words`), and how long it took."""
    title = "settings of the baselines, as chosen by Recall@20"
    table = Table("baseline", "chosen on", title=title, title_justify="left")
    for heading in ("Recall@20", "NDCG@20", "tried", "seconds"):
        table.add_column(heading, justify="right")
    for name, choice in choices.items():
        figures = ("-" if value is None else f"{value:.4f}" for value in (choice.recall, choice.ndcg))
        table.add_row(name, choice.judged, *figures, str(choice.grid), f"{choice.seconds:,.0f}")
    return table


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings on a line, those within settings left out: they have a line of their own."""
    parts = []
    for name, value in settings.items():
        if name in registry.BASELINES:
            continue
        if isinstance(value, Mapping):
            value = " ".join(f"{key}:{weight:g}" for key, weight in value.items())
        elif isinstance(value, Sequence) and not isinstance(value, str):
            value = "+".join(map(str, value))
        elif isinstance(value, float):
            value = f"{value:.3g}"
        parts.append(f"{name} {value}")
    return ", ".join(parts)


def frontier(config: Config, split: str = columns.VAL) -> list[frontiers.Point]:
    """What shares of cold items in the lists cost and give; writes frontier.csv and frontier.png beside the metrics."""
    trained = opened(config)
    runs.check_figures_fit(trained)
    encoder = VectorEncoder(trained.model, item_features(trained.prepared))
    vectors = vectors_of(trained, encoder)
    with progress("judging shares of new items, shares") as told:
        points = frontiers.frontier(trained.prepared, *vectors, split, config, told=told)
    with runs.figures_of(trained):
        written = frontiers.write(config.run_folder, points)
    for table in frontiers.tables(points, split):
        console.print(table)
    say(f"the same as a table and a plot: {', '.join(map(str, written))}")
    return points


def titled(system: str) -> str:
    """What tables call a system."""
    return "truth (ceiling)" if system == "truth" else system


def _intensities(trained: TrainedRun, users: UserVectors) -> dict[str, dict[str, float]]:
    """Mean and spread of the learned intensities over the users, and in a world their correlation with the truth.

    Of more than `training.validation_users` users, a draw of as many.
    """
    prepared = trained.prepared
    rows = np.arange(FIRST_ROW, len(prepared.users), dtype=np.int32)
    if prepared.truth() is None:
        rows = report.some_of(rows, trained.config.training.validation_users, trained.config.run.seed)
    learned = users.encoder.intensities(rows, users.audience.histories(rows))
    tree = {
        name: {"mean": float(learned[:, position].mean()), "spread": float(learned[:, position].std())}
        for position, name in enumerate(prepared.modalities)
    }
    truth = prepared.truth()
    if truth is not None:
        found = intensity_correlations(learned, truth["intensities"], prepared.modalities, trained.config.run.seed)
        tree = {name: figures | found[name] for name, figures in tree.items()}
    return tree


def print_intensities(intensity: Mapping[str, Mapping[str, float]]) -> None:
    """Prints modality by modality what `metrics.json` has under "intensity"."""
    title = "learned intensities over users"
    table = Table("modality", *next(iter(intensity.values())), title=title, title_justify="left")
    for name, figures in intensity.items():
        table.add_row(name, *(f"{value:.3f}" for value in figures.values()))
    console.print(table)
