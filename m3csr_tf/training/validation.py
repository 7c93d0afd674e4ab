"""Validates a model's present weights by a full ranking for the validation users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience, read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError, NotFiniteError, RunError
from m3csr_tf.evaluation.metrics import per_user
from m3csr_tf.exposure import catalogue_share, cold_bonus
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.contract import Recommender, ValidationRecall
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training.budget import validation_users
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.util.progress import progress
from m3csr_tf.util.samples import sample

_AT = 20
RECALL, WEIGHTED_RECALL = f"recall@{_AT}", f"weighted_recall@{_AT}"
_BALANCED_ON = 1000
"""Largest number of users on whose lists new items are balanced against others."""


def selected_by(figures: Mapping[str, float]) -> str:
    """The figure of a validation by which weights are chosen: Recall@20, by weight where positives are drawn so."""
    return WEIGHTED_RECALL if WEIGHTED_RECALL in figures else RECALL


def check_validation(prepared: Prepared) -> None:
    """Refuses data without validation clicks, on which training could not be judged.

    Raises:
      InputError: the validation split is empty.
    """
    if not len(users_with(prepared, columns.VAL)):
        raise InputError(f"{prepared.folder}: the validation split is empty; early stopping needs one")


class Validated(NamedTuple):
    """What a validation found.

    Attributes:
      figures: means over the validation users by their names (`Validation.validate`); none in a final fit.
      per_user: float64 [users], each user's value of the figure by which weights are chosen (`selected_by`).
    """

    figures: dict[str, float]
    per_user: np.ndarray


def standard_error(per_user: np.ndarray, before: np.ndarray) -> float:
    """Returns the standard error of the mean difference between two validations of the same users.

    It is 0 for fewer than two users, of whom it cannot be estimated.

    Args:
      per_user, before: float64 [users], the users' values in either validation.
    """
    if len(per_user) < 2:
        return 0.0
    return float(np.std(per_user - before, ddof=1) / np.sqrt(len(per_user)))


class Balancing:
    """Balances new items with others in a model. In a final fit, where no click is held back, this is all.

    The number of bin 0 becomes that with which new items take their share of the catalogue among the users' first
    places. Training hardly moves it, and moves all that it is compared with; left to training, steps would be told
    apart by how many new items they happen to list.
    """

    def __init__(self, prepared: Prepared, config: Config, data: TrainingData, model: Recommender) -> None:
        self._users = self._drawn(prepared, config)
        self._seen = read_clicks(prepared, columns.TRAIN, self._users)
        self._histories = Audience(prepared, config, (columns.TRAIN,)).histories(self._users)
        self._candidates = np.arange(len(prepared.items)) >= FIRST_ROW
        self._cold = self._candidates & (np.asarray(data.features[columns.POPULARITY_BIN]) == 0)
        self._config, self._model = config, model
        self._encoder = VectorEncoder(model, data.features)

    def _drawn(self, prepared: Prepared, config: Config) -> np.ndarray:
        """Rows of users with training clicks, a draw of them, on whose lists new items are balanced."""
        return sample(users_with(prepared, columns.TRAIN), _BALANCED_ON, config.run.seed, nested=True)

    @property
    def users(self) -> np.ndarray:
        """Rows of the users that judge, int [users], ascending; nobody."""
        return self._users[:0]

    def validate(self) -> Validated:
        """Balances new items with others in the model; there are no figures.

        Raises:
          NotFiniteError: a vector is not finite.
        """
        self._encoder.refresh()
        users = self._encoder.users(self._users, self._histories)
        items = self._encoder.items()
        for name, vectors in (("user", users), ("item", items)):
            if not np.isfinite(vectors).all():
                raise NotFiniteError(f"{name} vectors are not finite")
        self._balanced(users, items)
        return Validated({}, np.zeros(0))

    def _balanced(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Calibrates the popularity bias of new items, and returns the item vectors with it, float32 [items, D].

        A model without a popularity bias is not changed.
        """
        worth = self._model.popularity_bias
        if worth is None or not self._cold.any():
            return items
        seed = self._config.run.seed
        some = sample(np.arange(len(users)), _BALANCED_ON, seed)
        share = catalogue_share(self._cold)
        bonus = cold_bonus(users[some], items, self._cold, share, seen=self._seen[some], seed=seed)
        worth.assign_add(bonus * tf.one_hot(0, worth.shape[0]))
        items[self._cold, -1] += bonus
        return items

    def summarise(self, step: int) -> None:
        """Logs the figures that reveal failures which could go unseen (`Recommender.diagnostics`)."""
        weighs = self._model.weighs_modalities
        intensities = self._encoder.intensities(self._users, self._histories) if weighs else None
        for name, value in self._model.diagnostics(intensities).items():
            tf.summary.scalar(name, value, step=step)


class Validation(Balancing):
    """Full ranking of the validation users, or a draw of them, with the model's present weights.

    The draw is seeded, and of as many users as `budget.validation_users` finds affordable; all validations of a run
    rank the same ones. Before it ranks, new items are balanced with others (`Balancing`).
    """

    def __init__(self, prepared: Prepared, config: Config, data: TrainingData, model: Recommender) -> None:
        super().__init__(prepared, config, data, model)
        self._weighted = prepared.weighted and config.training.by_weight
        self._truth = read_clicks(prepared, columns.VAL, self._users, weighted=self._weighted)

    def _drawn(self, prepared: Prepared, config: Config) -> np.ndarray:
        most = validation_users(config, int(prepared.train_clicks.sum()), len(prepared.items) - FIRST_ROW)
        return sample(users_with(prepared, columns.VAL), most, config.run.seed, nested=True)

    @property
    def users(self) -> np.ndarray:
        """Rows of the users that are ranked, int [users], ascending."""
        return self._users

    def validate(self) -> Validated:
        """Ranks the validation users, once new items are balanced.

        Returns:
          Means of recall@20, ndcg@20 and, where positives are drawn by weight, weighted_recall@20; and each user's
          value of the one by which weights are chosen.
        """
        self._encoder.refresh()
        with progress("validation, users", len(self._users)) as stage:
            users = self._encoder.users(self._users, self._histories)
            with progress("item vectors, items") as stage:
                items = self._encoder.items(stage)
            with progress("balancing new items with others"):
                items = self._balanced(users, items)
            ranked = top_n(
                users,
                items,
                _AT,
                seen=self._seen,
                candidates=self._candidates,
                seed=self._config.run.seed,
                block=self._config.evaluation.block,
                on_progress=stage,
            )
        values = per_user(ranked, self._truth, [_AT], self._weighted)
        wanted = [RECALL, f"ndcg@{_AT}", *([WEIGHTED_RECALL] if self._weighted else [])]
        figures = {name: float(values[name].mean()) for name in wanted}
        return Validated(figures, values[selected_by(figures)])


def validation_recall_of(
    model: Recommender, data: TrainingData, prepared: Prepared, config: Config
) -> ValidationRecall:
    """What tells the Recall@20 of a model's present weights; the validation users are read when it is first asked.

    In a final fit, which has none, asking raises a RunError.
    """
    validation: list[Validation] = []

    def recall() -> float:
        if config.training.final_of is not None:
            raise RunError(
                f"{config.run.name}: {model.title} asks validation how to initialise weights, but a final fit has no "
                f"validation, and run {config.training.final_of} has left no settings that say how; train that run anew"
                ", and where the model is your own, return them as Initialised.settings (docs/your_own_model.md)"
            )
        if not validation:
            validation.append(Validation(prepared, config, data, model))
        return validation[0].validate().figures[RECALL]

    return recall
