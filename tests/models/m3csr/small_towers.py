"""Two towers of dimension 2 over two modalities, with weights set by hand.

The representations (equation 2) are, with h = d/2 + d/2:

| item | row | id | visual | acoustic |
| --- | --- | --- | --- | --- |
| nothing (padding) | 0 | [0.5, -0.5] | [1, 0] | [0, 5] |
| A | 2 | [1, 2] | 2 * 3 + 1, cluster 1: [7, 10] | -4, cluster 1: [-4, 6] |
| B | 3 | [3, 4] | absent | -1, cluster 1: [-1, 6] |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import M3CSRConfig
from m3csr_tf.models.m3csr.item_encoder import ItemEncoder
from m3csr_tf.models.m3csr.item_tower import ItemTower
from m3csr_tf.models.m3csr.user_tower import UserTower

LN3 = float(np.log(3))


@dataclass(frozen=True)
class Towers:
    """A pair of towers."""

    item: ItemTower
    user: UserTower


def item_features(**changes: Any) -> dict[str, tf.Tensor]:
    """Features of A and B; `changes` replace some."""
    features = {
        columns.ITEM_ROW: [2, 3],
        columns.POPULARITY_BIN: [1, 0],
        columns.CLUSTER_IDS: [[1, 1], [0, 1]],
        "visual": [[3.0], [0.0]],
        "acoustic": [[4.0], [1.0]],
    }
    return {name: tf.constant(value) for name, value in (features | changes).items()}


def user_features(slots: list[list[int]], **changes: Any) -> dict[str, tf.Tensor]:
    """Users of row 2, with a history of A (0) and B (1); -1 is an empty slot."""
    of_users = {columns.USER_ROW: tf.constant([2] * len(slots)), columns.SLOTS: tf.constant(slots, tf.int32)}
    features = item_features(**changes)
    del features[columns.POPULARITY_BIN]
    return features | of_users


def make_towers(modalities: Mapping[str, int] | None = None, **settings: Any) -> Towers:
    """Towers of random weights, without the popularity part; `modalities`: name -> clusters."""
    usual = {"dim": 2, "id_dim": None, "width": "half", "temperature": 0.5, "intensity_weights": "shared"}
    config = M3CSRConfig(**(usual | {"popularity_bias": False} | settings))
    encoder = ItemEncoder(config, 4, modalities or {"visual": 2, "acoustic": 1})
    return Towers(ItemTower(config, encoder, bins=2), UserTower(config, encoder, users=4))


def hand_made_towers(**settings: Any) -> Towers:
    """Towers with the weights above; `settings` of the model."""
    made = make_towers(**settings)
    made.item(item_features()), made.user(user_features([[0]]))
    encoder = made.item.encoder
    encoder.id_embedding.assign([[0.5, -0.5], [9.0, 9.0], [1.0, 2.0], [3.0, 4.0]])
    encoder.modal_encoders["visual"].mapping.set_weights([np.array([[2.0]]), np.array([1.0])])
    encoder.modal_encoders["visual"].cluster_embedding.assign([[0.0], [10.0], [20.0]])
    encoder.modal_encoders["acoustic"].mapping.set_weights([np.array([[-1.0]]), np.array([0.0])])
    encoder.modal_encoders["acoustic"].cluster_embedding.assign([[5.0], [6.0]])
    if made.item.gate is not None:
        # delta is sigmoid(ln 3) = 3/4 in bin 0 and sigmoid(-ln 3) = 1/4 in bin 1.
        made.item.gate.popularity_embedding.assign([[LN3, 0.0], [-LN3, 0.0]])
        made.item.gate.score.set_weights([np.array([[1.0], [0.0]]), np.array([0.0])])
    # With W_Q = W_K = I the logits are ln 3 times an item's first number.
    made.user.user_embedding.assign([[0.0, 0.0], [0.0, 0.0], [np.sqrt(2) * LN3, 0.0], [0.0, 0.0]])
    for attention in (made.user.behaviour_attention, *made.user.modal_attention.values()):
        for weight in attention.weights:
            weight.assign(tf.eye(2))
    made.user.modal_attention["acoustic"].key_kernel.assign([[1 / 3, 0.0], [0.0, 0.0]])
    if made.user.intensity is not None:
        made.user.intensity.kernel.assign([[0.0, 0.0, 0.0, LN3 / 8]])
    return made
