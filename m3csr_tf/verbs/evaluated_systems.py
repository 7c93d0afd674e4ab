"""The model and its baselines, evaluated one after the other on a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from m3csr_tf import columns
from m3csr_tf.baselines import registry
from m3csr_tf.baselines.search import ChosenSettings
from m3csr_tf.config import EvaluationConfig
from m3csr_tf.evaluation import report
from m3csr_tf.evaluation.report import Evaluation
from m3csr_tf.experiments import ablations as ablation
from m3csr_tf.models.m3csr.zeroed import uniform_attention
from m3csr_tf.ranking.full_ranking import Vectors
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import UnknownUserVectors, UserVectors, VectorEncoder
from m3csr_tf.util.progress import progress
from m3csr_tf.verbs.console import say
from m3csr_tf.verbs.load_run import vectors_of
from m3csr_tf.verbs.released_vectors import ReleasedVectors, released

FEW = ("popularity", "random")
"""The baselines beside a single run, where `evaluation.baselines` does not say."""


def titled(system: str) -> str:
    """What tables call a system."""
    return "truth (ceiling)" if system == "truth" else system


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
    of_systems = systems(trained, vectors)
    return {name: evaluated_on(name, of_system, split, trained, settings) for name, of_system, _ in of_systems}


def evaluate_without(trained: TrainedRun, of_model: ReleasedVectors) -> dict[str, dict[str, dict[str, Evaluation]]]:
    """A run with something taken from its user tower that needs no training of its own (`ablations.UNTRAINED`).

    The item vectors stay as they are, bonuses included. The weights are as they were when this returns.

    Returns:
      What is taken away -> split -> the model's title -> evaluation, without intervals.
    """
    settings = trained.config.evaluation.model_copy(update={"bootstrap": 0})
    users, items, _ = of_model
    title = trained.model.title

    def evaluated(vectors: UserVectors | UnknownUserVectors) -> dict[str, dict[str, Evaluation]]:
        both = Vectors(vectors, items)
        return {
            split: {title: evaluated_on(title, both, split, trained, settings)} for split in (columns.TEST, columns.VAL)
        }

    found = {ablation.USER_ID: evaluated(UnknownUserVectors(users))}
    with uniform_attention(trained.model):
        found[ablation.ATTENTION] = evaluated(users)
    return found


def evaluated_on(
    name: str, vectors: Vectors, split: str, trained: TrainedRun, settings: EvaluationConfig
) -> Evaluation:
    """One system on one split, with progress on stderr; `name` is what the progress calls it."""
    with progress(f"evaluating {titled(name)} on {split}, users") as stage:
        return report.evaluate_split(trained.prepared, *vectors, split, settings, trained.config.run.seed, stage)


def systems(trained: TrainedRun, of_model: Vectors) -> Iterator[tuple[str, Vectors, ChosenSettings | None]]:
    """The model and the baselines of `evaluation.baselines`; each baseline is fitted when its turn comes.

    Args:
      trained: the run.
      of_model: the vectors of its model, which is called by its title.

    Yields:
      The system's name, its vectors, and for a tuned baseline the settings that its search has chosen.
    """
    config, prepared = trained.config, trained.prepared
    yield trained.model.title, of_model, None
    wanted: str | Sequence[str] = FEW if config.evaluation.baselines is None else config.evaluation.baselines
    names = registry.named(wanted, prepared)
    validation_users = len(report.drawn_users(prepared, columns.VAL, config.evaluation)[0])
    yield from registry.fitted(names, prepared, config.run.folder, validation_users, say)
