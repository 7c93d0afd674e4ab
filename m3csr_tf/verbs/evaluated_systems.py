"""Evaluates the model of a run and its baselines, one after the other, on a split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from m3csr_tf import columns
from m3csr_tf.baselines import registry
from m3csr_tf.baselines.search import ChosenSettings
from m3csr_tf.config import EvaluationConfig
from m3csr_tf.evaluation import report, user_draw
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
"""The baselines that a single run is compared with if `evaluation.baselines` does not say."""


def titled(system: str) -> str:
    """Returns the name of a system in tables."""
    return "truth (ceiling)" if system == "truth" else system


def evaluate_systems(trained: TrainedRun, split: str) -> dict[str, Evaluation]:
    """Evaluates the model and the baselines of `evaluation.baselines` on one split, without reading the other one.

    On validation the model ranks by its own vectors, as it does in the validations of training and in a sweep: list
    positions that a release reserves for new items (`exposure`) are wasted where no new item can be clicked. On test it
    ranks by the vectors of a release.

    Returns:
      System -> its evaluation, without confidence intervals.
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
    """Evaluates a run without a component of its user tower, for components that need no training (`UNTRAINED`).

    The item vectors stay as they are, including bonuses. The weights of the model are restored before this returns.

    Returns:
      Component that is left out -> split -> title of the model -> evaluation, without confidence intervals.
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
    """Evaluates one system on one split, and shows progress on stderr under the system's name."""
    with progress(f"evaluating {titled(name)} on {split}, users") as stage:
        return report.evaluate_split(
            trained.prepared, *vectors, split, settings, trained.config.run.seed, stage, trained.config.cold
        )


def systems(trained: TrainedRun, of_model: Vectors) -> Iterator[tuple[str, Vectors, ChosenSettings | None]]:
    """Yields the model and the baselines of `evaluation.baselines`; each baseline is fitted when its turn comes.

    Args:
      trained: the run.
      of_model: the vectors of its model, whose name is its title.

    Yields:
      The name of the system, its vectors, and the settings that the search has chosen, for a tuned baseline.
    """
    config, prepared = trained.config, trained.prepared
    yield trained.model.title, of_model, None
    wanted: str | Sequence[str] = FEW if config.evaluation.baselines is None else config.evaluation.baselines
    names = registry.named(wanted, prepared)
    validation_users = user_draw.validation_users(prepared, config.evaluation)
    yield from registry.fitted(
        names, prepared, config.run.folder, validation_users, say, config.evaluation.weighted_baselines
    )
