"""A release holds the bonuses of items without a view or with few, in the vectors themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.exposure import cold_bonus_items, with_bonuses
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.publish import publish
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder

BONUS, OF_FEW = 1.5, 0.25


def test_released_bonuses_are_those_of_evaluation_and_go_with_the_views(
    make_run: Callable[..., Any], tmp_path: Path
) -> None:
    run = make_run(tmp_path, model={"popularity_bias": True}, exposure={"cold_share": 0.05})
    prepared, worth = run.prepared, run.model.item_tower.popularity_bias
    trained = worth.numpy()
    bonuses = np.zeros(prepared.popularity.count, np.float32)
    bonuses[:2] = BONUS, OF_FEW
    released = publish(run, bonuses=bonuses)
    assert released.manifest["exposure"] == {"cold_share": 0.05, "few_share": 0.05, "bonuses": bonuses.tolist()}
    np.testing.assert_array_equal(worth.numpy(), trained)

    plain = VectorEncoder(run.model, item_features(prepared)).items()
    assert 0 < cold_bonus_items(prepared).sum() < len(prepared.items.known)
    expected = with_bonuses(plain, prepared, bonuses)[FIRST_ROW:]
    np.testing.assert_allclose(released.index.vectors(prepared.items.known), expected, atol=1e-5)

    # A new item, unseen, then with a view, and with very many: its last entry is what its bin is worth.
    frame = pd.DataFrame({columns.ITEM_ID: ["new"] * 4, columns.VIEW_COUNT: [-1, 0, 1, 10**9]})
    content = {name: np.zeros((4, width), np.float32) for name, width in released.modalities.items()}
    last = released.item_vectors(Catalogue(frame, content))[:, -1]
    new, popular = trained[0] + BONUS, trained[prepared.popularity.count - 1]
    np.testing.assert_allclose(last, [new, new, trained[1] + OF_FEW, popular], atol=1e-6)
