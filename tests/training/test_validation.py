"""What a validation sets before it ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from m3csr_tf.exposure import catalogue_share, cold_bonus_items
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.ranking.full_ranking import top_n
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import runs
from m3csr_tf.training.validation import Validation, standard_error


@pytest.mark.parametrize("number", [-50.0, 0.0, 50.0])
def test_before_a_validation_new_items_take_their_share_of_the_places_whatever_their_number_was(
    untrained_run: Any, number: float
) -> None:
    prepared, config = untrained_run.prepared, untrained_run.config
    model = runs.build_model(config, prepared)
    for weight, value in zip(model.trainable_variables, untrained_run.model.trainable_variables, strict=True):
        weight.assign(value)
    worth = model.item_tower.popularity_bias
    before = worth.numpy()
    worth.scatter_nd_update([[0]], [number])
    validation = Validation(prepared, config, TrainingData.of(prepared, config), model)
    figures, per_user = validation.validate()
    np.testing.assert_array_equal(worth.numpy()[1:], before[1:])
    encoder, users = validation._encoder, validation.users
    ranked = top_n(
        encoder.users(users, validation._histories),
        encoder.items(),
        20,
        seen=validation._seen,
        candidates=np.arange(len(prepared.items)) >= FIRST_ROW,
    )
    cold = cold_bonus_items(prepared)
    assert cold[ranked].mean() == pytest.approx(catalogue_share(cold), abs=0.01)
    again = validation.validate()
    assert again.figures == figures
    np.testing.assert_array_equal(again.per_user, per_user)
    assert per_user.shape == users.shape
    assert per_user.mean() == pytest.approx(figures["recall@20"])


def test_the_standard_error_is_that_of_the_mean_difference_of_the_same_users() -> None:
    # Differences 0.1, 0.3, 0.2, 0.2: variance (0.01 + 0.01) / 3, over four users.
    found = standard_error(np.array([0.5, 0.3, 1.0, 0.2]), np.array([0.4, 0.0, 0.8, 0.0]))
    assert found == pytest.approx((0.02 / 3 / 4) ** 0.5)
    assert standard_error(np.array([0.7, 0.1]), np.array([0.6, 0.0])) == pytest.approx(0.0, abs=1e-12)
    assert standard_error(np.array([1.0]), np.array([0.0])) == 0.0  # Of one user nothing can be estimated.
