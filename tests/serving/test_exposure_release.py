"""A release holds the bonus of items without a view, in the vectors themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.evaluation.exposure import cold_items, with_bonus
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.serving.publish import publish
from m3csr_tf.training.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder

BONUS = 1.5


def test_a_released_bonus_is_that_of_evaluation_and_goes_with_the_first_views(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run(tmp_path, model={"popularity_bias": True}, exposure={"cold_share": 0.05})
    prepared, worth = run.prepared, run.model.item_tower.popularity_bias
    trained = worth.numpy()
    released = publish(run, cold_bonus=BONUS)
    assert released.manifest["exposure"] == {"cold_share": 0.05, "cold_bonus": BONUS}
    np.testing.assert_array_equal(worth.numpy(), trained)

    plain = VectorEncoder(run.model, item_features(prepared)).items()
    cold = cold_items(prepared)
    assert 0 < cold.sum() < len(prepared.items.known)
    expected = with_bonus(plain, cold, BONUS)[FIRST_ROW:]
    np.testing.assert_allclose(released.index.vectors(prepared.items.known), expected, atol=1e-5)

    # A new item, unseen, then with a view, and with very many: its last entry is what its bin is worth.
    frame = pd.DataFrame({columns.ITEM_ID: ["new"] * 4, columns.VIEW_COUNT: [-1, 0, 1, 10**9]})
    content = {name: np.zeros((4, width), np.float32) for name, width in released.modalities.items()}
    last = released.item_vectors(Catalogue(frame, content))[:, -1]
    np.testing.assert_allclose(
        last, [trained[0] + BONUS, trained[0] + BONUS, trained[1], trained[prepared.popularity.count - 1]], atol=1e-6
    )
