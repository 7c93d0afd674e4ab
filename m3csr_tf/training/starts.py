"""Where the towers start: what can be known of clicks and content before the first step.

From random weights a few thousand users with two clicks each teach the towers less than closed forms do. So ids start
from the affinities of items, and content from a handful of numbers that say how much each modality tells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from m3csr_tf.config import Config
from m3csr_tf.features.factors import affinity_factors, item_factors
from m3csr_tf.ids import PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.model import M3CSR
from m3csr_tf.training.streams import TrainingData

_PAIRS = 20_000
"""Clicks that the weights of the modalities are estimated from."""
_RANDOM_ITEMS = 5
"""Items that nobody clicked, beside each click."""
_LEAST_GAIN = 0.1
"""A modality that seems to tell nothing still starts with a little, since content that weighs 0 cannot be learned."""


def start(model: M3CSR, data: TrainingData, config: Config) -> None:
    """Sets the starting weights that `model.id_start` and `model.content_start` ask for; the others stay as drawn."""
    share = 1.0 if model.item_tower.gate is None else 0.5  # What the gate leaves to ids, and to content, at first.
    if config.model.id_start != "xavier":
        clicked = np.flatnonzero(np.asarray(data.clicks.sum(axis=0)).ravel())
        if config.model.id_start == "svd":
            factors = item_factors(data.clicks, config.model.dim, config.run.seed)
        else:
            assert data.affinities is not None
            factors, values = affinity_factors(data.affinities, data.clicks, config.model.dim, config.run.seed)
            model.user_tower.behaviour_attention.value_kernel.assign(values / share)
            # Like a new item's: nothing is known of it, so it adds nothing to anybody's score.
            _set_rows(model.encoder.id_embedding, np.array([PADDING_ROW, UNKNOWN_ROW]), np.zeros((2, config.model.dim)))
        _set_rows(model.encoder.id_embedding, clicked, factors[clicked])
    if config.model.content_start == "identity":
        intensity = 1 / len(model.encoder.modalities)
        for name, gain in content_gains(data, model.encoder.modalities, config.run.seed).items():
            kernel = model.encoder.modal_encoders[name].mapping.kernel
            kernel.assign(kernel * np.sqrt(gain / (share * intensity)))


def content_gains(data: TrainingData, modalities: Sequence[str], seed: int) -> dict[str, float]:
    """How much a modality's similarity tells of a click: weights of a logistic regression, at least _LEAST_GAIN.

    A click is told from random clicked items by the mean dot product, one a modality, of the item's scaled content with
    that of the user's other clicks.

    Args:
      data: clicks, histories and scaled content.
      modalities: names, in order.
      seed: of the clicks and random items drawn.
    """
    random = np.random.default_rng(seed)
    lengths = (data.histories != PADDING_ROW).sum(axis=1)
    users = np.flatnonzero(lengths > 1)
    clicked = np.flatnonzero(np.asarray(data.clicks.sum(axis=0)).ravel())
    if not len(users) or len(clicked) <= 1:
        return dict.fromkeys(modalities, 1.0)
    users = random.choice(users, _PAIRS)
    slot = (random.random(len(users)) * lengths[users]).astype(int)
    targets = data.histories[users, slot]
    rest = data.histories[users].copy()
    rest[np.arange(len(users)), slot] = PADDING_ROW
    candidates = np.concatenate([targets[:, None], random.choice(clicked, (len(users), _RANDOM_ITEMS))], axis=1)
    similarities = []
    for name in modalities:
        content = data.features[name]
        profiles = np.zeros((len(users), content.shape[1]), np.float32)
        for column in rest.T:  # The padding row's content is zeros.
            profiles += content[column]
        profiles /= (lengths[users] - 1)[:, None]
        similarities.append(np.einsum("uw,ucw->uc", profiles, content[candidates]).ravel())
    labels = np.zeros(candidates.shape, bool)
    labels[:, 0] = True
    fitted = LogisticRegression().fit(np.stack(similarities, axis=1), labels.ravel())
    return {name: max(float(gain), _LEAST_GAIN) for name, gain in zip(modalities, fitted.coef_[0], strict=True)}


def _set_rows(table: tf.Variable, rows: np.ndarray, values: np.ndarray) -> None:
    table.scatter_update(tf.IndexedSlices(values.astype(np.float32), rows))
