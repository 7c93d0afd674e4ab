"""Measures how much each part of a finished run's scores contributes to their variance."""

from __future__ import annotations

import numpy as np

from m3csr_tf import columns
from m3csr_tf.data.audience import Audience
from m3csr_tf.experiments import variance
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.m3csr import layout
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.runs import TrainedRun
from m3csr_tf.training.vectors import VectorEncoder
from m3csr_tf.util.progress import progress


def score_variance(trained: TrainedRun) -> dict[str, dict[str, float]]:
    """Decomposes the variance of a full model's scores over all known items, averaged over the validation users.

    The scores are the model's own, without bonuses.

    Returns:
      "parts": part of the score -> its share of the variance, for whole modalities and for their two halves;
      "components": ablation -> its contribution to differences between scores. L_orth is left out, because it is not a
      part of a score.
    """
    with progress("what scores are made of"):
        return _score_variance(trained)


def _score_variance(trained: TrainedRun) -> dict[str, dict[str, float]]:
    prepared, config = trained.prepared, trained.config
    encoder = VectorEncoder(trained.model, item_features(prepared))
    rows = np.unique(prepared.split(columns.VAL)[columns.USER_ROW].to_numpy(np.int32))
    slots = Audience(prepared, config, (columns.TRAIN,)).histories(rows)
    users, items = encoder.users(rows, slots), encoder.items()[FIRST_ROW:]
    modalities, parts = prepared.modalities, layout.parts(config.m3csr, prepared.modalities)
    shares = variance.shares(users, items, variance.halved(parts, modalities))
    if not shares:
        return {"parts": {}, "components": {}}
    halves = {name: [variance.half(name, of) for of in (variance.CONTENT, variance.CLUSTER)] for name in modalities}
    variance_of_parts: dict[str, float] = {}
    for name in parts:
        finer = halves.get(name, [])
        variance_of_parts |= {name: sum(shares[of] for of in finer) if finer else shares[name]}
        variance_of_parts |= {of: shares[of] for of in finer}

    intensities = encoder.intensities(rows, slots)
    carried = {name: intensities[:, position] for position, name in enumerate(modalities)}
    means = {name: float(weight.mean()) for name, weight in carried.items()}
    alike_users = variance.reweighed(users, carried, means, parts)

    gate = trained.model.item_tower.gate
    assert gate is not None  # It is a component of every full model (`ablation.variants`).
    delta = gate(prepared.bins[FIRST_ROW:]).numpy()[:, 0]
    mean = float(delta[prepared.train_clicks[FIRST_ROW:] > 0].mean())
    carried = {name: delta for name in modalities} | {layout.ID_PART: 1 - delta}
    means = {name: mean for name in modalities} | {layout.ID_PART: 1 - mean}
    alike_items = variance.reweighed(items, carried, means, parts)

    components = {
        "intensity": variance.lost(users, items, alike_users, items),
        "clusters": sum(shares[variance.half(name, variance.CLUSTER)] for name in modalities),
        "gate": variance.lost(users, items, users, alike_items),
    }
    return {"parts": variance_of_parts, "components": components}
