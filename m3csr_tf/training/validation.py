"""Validates a model's present weights by a full ranking for the validation users."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.audience import Audience, read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
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
SELECTED_BY = f"recall@{_AT}"
"""The metric by which weights, and their initialisation, are chosen."""
_BALANCED_ON = 1000
"""Largest number of users on whose lists new items are balanced against others."""


def check_validation(prepared: Prepared) -> None:
    """Refuses data without validation clicks, on which training could not be judged.

    Raises:
      InputError: the validation split is empty.
    """
    if not len(users_with(prepared, columns.VAL)):
        raise InputError(f"{prepared.folder}: the validation split is empty; early stopping needs one")


class Validation:
    """Ranks the catalogue for the validation users, or a sample of them, with the model's present weights.

    The sample is seeded, and of as many users as `budget.validation_users` finds affordable; all validations of a run
    rank for the same users. Before ranking, the popularity bias of bin 0 is calibrated so that cold items fill the same
    fraction of the top places of these users as of the catalogue. Training hardly changes this bias, but changes
    everything that it is compared with. Without calibration, steps would differ by how many cold items they happen to
    list.
    """

    def __init__(self, prepared: Prepared, config: Config, data: TrainingData, model: Recommender) -> None:
        most = validation_users(config, int(prepared.train_clicks.sum()), len(prepared.items) - FIRST_ROW)
        self._users = sample(users_with(prepared, columns.VAL), most, config.run.seed, nested=True)
        self._truth = read_clicks(prepared, columns.VAL, self._users)
        self._seen = read_clicks(prepared, columns.TRAIN, self._users)
        self._histories = Audience(prepared, config, (columns.TRAIN,)).histories(self._users)
        self._candidates = np.arange(len(prepared.items)) >= FIRST_ROW
        self._cold = self._candidates & (np.asarray(data.features[columns.POPULARITY_BIN]) == 0)
        self._config, self._model = config, model
        self._encoder = VectorEncoder(model, data.features)

    @property
    def users(self) -> np.ndarray:
        """Rows of the users whom validations rank for, int [users], ascending."""
        return self._users

    def figures(self) -> dict[str, float]:
        """Returns the mean recall@20 and ndcg@20 over the validation users, after balancing new items."""
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
        values = per_user(ranked, self._truth, [_AT])
        return {
            f"recall@{_AT}": float(values[f"recall@{_AT}"].mean()),
            f"ndcg@{_AT}": float(values[f"ndcg@{_AT}"].mean()),
        }

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


def validation_recall_of(
    model: Recommender, data: TrainingData, prepared: Prepared, config: Config
) -> ValidationRecall:
    """Returns a function that computes the Recall@20 of the model's present weights.

    The validation users are read when it is first called.
    """
    validation: list[Validation] = []

    def recall() -> float:
        if not validation:
            validation.append(Validation(prepared, config, data, model))
        return validation[0].figures()[SELECTED_BY]

    return recall
