"""Where the towers start: what can be known of clicks and content before the first step.

From random weights a few thousand users with two clicks each teach the towers less than closed forms do. So ids start
from implicit ALS, from the affinities of items or from singular vectors of the clicks, and content from what clicks
say about it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.evaluation.exposure import catalogue_share, cold_bonus
from m3csr_tf.features.blocks import sample
from m3csr_tf.features.choices import Choices, content_gains, fitted_intensity, score_gain
from m3csr_tf.features.content_maps import co_click_map, content_appeal, content_id_maps
from m3csr_tf.features.factors import AffinityFactors, affinity_factors, ials_factors, item_factors
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.model import M3CSR
from m3csr_tf.progress import progress
from m3csr_tf.training.budget import tries_walks
from m3csr_tf.training.training_data import TrainingData
from m3csr_tf.training.validation import JUDGED_BY, Validation
from m3csr_tf.training.vectors import VectorEncoder

IdStart = Literal["ials", "walks", "svd", "xavier"]
_CALLED = {"ials": "implicit ALS", "walks": "random walks", "svd": "singular vectors"}

_OF_CENTROID = 0.5
"""A cluster starts at this share of its members' mean mapped content: whole, it drowns what tells members apart."""

_BESIDE_IDS = 0.2
"""Content beside ids starts at this share of what it would weigh alone: for items that people click, ids know most of
it already. 0.1 to 0.3 of it rank validation best, 7% above ids alone on short videos and 20% on the synthetic world."""

_TRUST_IN_NEW, _TRUST_IN_CLICKED = 0.75, 0.3
"""What the gate leaves to content at first, for items without a click and for others. Where new items compete with
others, their content then weighs half of what it would alone, and finds them twice as often as if it weighed no more
than others' does; at all of it, the lists of clicked items suffer (docs/journal.md)."""

_TELLING_OF_CONTENT = 2_000_000
"""Clicks, at most, that tell where content starts: maps of some dozen columns need no more, and more take longer."""

_BALANCED_ON, _BALANCED_AMONG = 1000, 200_000
"""Users and items, at most, whose lists tell how new items compare with others at the start."""


def start(model: M3CSR, data: TrainingData, prepared: Prepared, config: Config) -> IdStart:
    """Sets the starting weights that `model.id_start` and `model.content_start` ask for; the others stay as drawn.

    Args:
      model: as `runs.build_model` makes it.
      data: its clicks and features.
      prepared: the data of the run, whose validation clicks are chosen by (`validation.check_validation`).
      config: the run's settings.

    Returns:
      Where ids start: `model.id_start`, or what `auto` has chosen among singular vectors, walks and implicit ALS with
      each setting of `ials.grid`. Where `budget.tries_walks` says that those would take too long, it is singular
      vectors, without any validation.
    """
    of_ids = of_content = 1.0
    gate = model.item_tower.gate
    if gate is not None and config.model.content_start == "xavier":
        of_ids = 0.5  # About what a gate of random weights leaves.
    elif gate is not None:
        gate.start(np.where(np.arange(gate.bins) == 0, _TRUST_IN_NEW, _TRUST_IN_CLICKED))
        of_ids, of_content = 1 - _TRUST_IN_CLICKED, _TRUST_IN_CLICKED
    if config.model.content_start == "co_clicks":
        with progress("content starts from what clicks say of it"):
            some = data.some_users(_TELLING_OF_CONTENT, config.run.seed)
            _start_content(model, some, of_content, config.training.history_power, config.run.seed)
            _start_intensity(model, some, config)
    tried = _candidates(data, prepared, config)
    if len(tried) == 1:
        _start_ids(model, data, tried[0], of_ids, config)
        return tried[0].kind
    validation = Validation(prepared, config, data, model)
    figures = []
    for candidate in tried:
        _start_ids(model, data, candidate, of_ids, config)
        figures.append(validation.figures()[JUDGED_BY])
    best = tried[int(np.argmax(figures))]
    if best is not tried[-1]:
        _start_ids(model, data, best, of_ids, config)
    return best.kind


class IdCandidate(NamedTuple):
    """A start of the ids that may be tried.

    Attributes:
      kind: where they start.
      ials: alpha and penalty, where they start from implicit ALS.
    """

    kind: IdStart
    ials: tuple[float, float] | None = None


def _candidates(data: TrainingData, prepared: Prepared, config: Config) -> list[IdCandidate]:
    """The starts among which validation chooses; one where the settings leave no choice."""
    of_ials = [IdCandidate("ials", setting) for setting in config.ials.grid]
    if config.model.id_start == "ials":
        return of_ials
    if config.model.id_start != "auto":
        return [IdCandidate(config.model.id_start)]
    if not tries_walks(config, int(prepared.train_clicks.sum()), len(prepared.items) - FIRST_ROW):
        return [IdCandidate("svd")]
    return [IdCandidate("svd"), IdCandidate("walks"), *of_ials]


def balance_new(model: M3CSR, data: TrainingData, seed: int) -> None:
    """Sets the number of bin 0 so that new items take their share of the catalogue among the users' first places.

    Validation would choose among other lists than those that are released if it were left to training, which hardly
    moves it in some hundred steps. A model without model.popularity_bias stays as it is.

    Args:
      model: with its other weights started.
      data: its users tell, up to _BALANCED_ON of them, whoever they are.
      seed: of the draw of the users.
    """
    worth = model.item_tower.popularity_bias
    items = data.clicks.shape[1]
    cold = (np.arange(items) >= FIRST_ROW) & (np.asarray(data.features[columns.POPULARITY_BIN]) == 0)
    users = sample(np.flatnonzero(np.diff(data.clicks.indptr)), _BALANCED_ON, seed)
    if worth is None or not cold.any() or not len(users):
        return
    histories = data.histories[users]
    drawn = sample(np.arange(FIRST_ROW, items), _BALANCED_AMONG, seed)
    rows = np.unique(np.concatenate([np.arange(FIRST_ROW), drawn, histories.ravel()]))
    encoder = VectorEncoder(model, {name: values[rows] for name, values in data.features.items()})
    # Of a log with shards users are renumbered, so that their own rows cannot be asked.
    of_users = encoder.users(np.full(len(users), UNKNOWN_ROW), np.searchsorted(rows, histories))
    seen = data.clicks[users][:, rows]
    bonus = cold_bonus(of_users, encoder.items(), cold[rows], catalogue_share(cold), seen=seen, seed=seed)
    worth.assign_add(bonus * tf.one_hot(0, worth.shape[0]))


def _start_ids(model: M3CSR, data: TrainingData, start: IdCandidate, share: float, config: Config) -> None:
    """Starts ids, and what hangs on them: W_V, ids of new items, and their balance; `share` is the gate's for ids."""
    clicked = _clicked(data)
    if start.kind != "xavier":
        with progress(f"ids start from {_CALLED[start.kind]}"):
            factors, values = _factors(data, start, config)
            gain = _id_gain(data, factors, values, config)
        if config.model.attention_start == "identity":
            model.user_tower.behaviour_attention.value_kernel.assign(gain * values / share)
        _place_factors(model, factors, clicked)
        if model.encoder.id_maps:
            maps = content_id_maps(factors, {name: data.features[name] for name in model.encoder.modalities}, clicked)
            for layer, kernel in zip(model.encoder.id_maps, maps.kernels, strict=True):
                layer.kernel.assign(kernel)
            _set_rows(model.encoder.id_embedding, np.array([UNKNOWN_ROW]), maps.intercept[np.newaxis])
    if config.model.content_start == "co_clicks":
        if model.item_tower.popularity_bias is not None:
            model.item_tower.popularity_bias.assign(tf.zeros_like(model.item_tower.popularity_bias))
        with progress("new items are balanced with others"):
            balance_new(model, data, config.run.seed)


def _factors(data: TrainingData, start: IdCandidate, config: Config) -> AffinityFactors:
    dim, seed = config.model.id_width, config.run.seed
    if start.kind == "svd":
        return AffinityFactors(item_factors(data.clicks, dim, seed), np.eye(dim, dtype=np.float32))
    if start.kind == "walks":
        assert data.affinities is not None
        return affinity_factors(data.affinities, data.clicks, dim, seed)
    assert start.ials is not None
    return ials_factors(data.clicks, dim, start.ials, config.ials, seed)


def _id_gain(data: TrainingData, factors: np.ndarray, values: np.ndarray, config: Config) -> float:
    """What the scores of ids are worth beside each other, as the softmax of training asks for it."""
    choices = Choices.draw(data.clicks, data.histories, config.run.seed)
    return score_gain(choices, factors @ values, factors, config.training.history_power)


def _place_factors(model: M3CSR, factors: np.ndarray, clicked: np.ndarray) -> None:
    # Of a new item nothing is known, so its id adds nothing to anybody's score.
    _set_rows(model.encoder.id_embedding, np.array([PADDING_ROW, UNKNOWN_ROW]), np.zeros((2, factors.shape[1])))
    rows, shared = np.unique(model.encoder.id_rows.numpy()[clicked], return_inverse=True)
    if len(rows) == len(clicked):
        means = factors[clicked][np.argsort(shared)]
    else:
        # Hashed ids that share a row start at their mean.
        lines = csr_matrix((np.ones(len(clicked)), (shared, np.arange(len(clicked)))))
        means = normalize(lines, norm="l1") @ factors[clicked]
    _set_rows(model.encoder.id_embedding, rows, means)


def _start_content(model: M3CSR, data: TrainingData, share: float, power: float, seed: int) -> None:
    """Starts modal encoders and appeals; `share` is what the gate leaves to content at first.

    Where nothing is known of tastes, a history of content x says of content y gain P'x . P'y, P the map, plus the
    clusters' product, plus its appeal; all of it times _BESIDE_IDS.
    """
    encoders = model.encoder.modal_encoders
    maps = {
        name: co_click_map(data.clicks, data.features[name], encoder.mapping.units)
        for name, encoder in encoders.items()
    }
    mapped = {name: data.features[name] @ kernel for name, kernel in maps.items()}
    gains = content_gains(Choices.draw(data.clicks, data.histories, seed), mapped, power)
    appeal = content_appeal(data.clicks, {name: data.features[name] for name in encoders})
    for name, layer in zip(encoders, model.item_tower.appeal_kernels, strict=False):
        layer.kernel.assign(_BESIDE_IDS / share * appeal[name][:, np.newaxis])
    clicked = _clicked(data)
    for position, (name, encoder) in enumerate(encoders.items()):
        size = np.sqrt(_BESIDE_IDS * gains[name] * len(encoders) / share)
        encoder.mapping.kernel.assign(maps[name] * size)
        if encoder.use_clusters:
            clusters = data.features[columns.CLUSTER_IDS][clicked, position]
            lines = (np.ones(len(clicked)), (clusters, np.arange(len(clicked))))
            members = normalize(csr_matrix(lines, shape=(encoder.clusters + 1, len(clicked))), norm="l1")
            encoder.cluster_embedding.assign(_OF_CENTROID * size * (members @ mapped[name][clicked]))


def _start_intensity(model: M3CSR, data: TrainingData, config: Config) -> None:
    """Starts w_int from choices: at random, it would favour modalities for no reason that a user could see.

    Behind attention that starts anywhere an interest is not the mean that is fitted, and one modality has all the
    intensity anyway: there w_int stays as drawn.
    """
    layer = model.user_tower.intensity
    alone = len(model.encoder.modalities) == 1
    if layer is None or alone or config.model.attention_start != "identity":
        return
    rows, choices = Choices.draw(data.clicks, data.histories, config.run.seed, popular=True).distinct()
    encoded = model.encoder.modal({name: values[rows] for name, values in data.features.items()})
    vectors = {name: values.numpy() for name, values in encoded.items()}
    fitted = fitted_intensity(choices, vectors, shared=not layer.per_modality)
    # Of behaviour nothing is fitted; it may be learned.
    behaviour = np.zeros((len(fitted), config.model.id_width), np.float32)
    layer.kernel.assign(layer.temperature * np.concatenate([behaviour, fitted], axis=1))


def _clicked(data: TrainingData) -> np.ndarray:
    return np.flatnonzero(np.diff(data.clicks.tocsc().indptr))


def _set_rows(table: tf.Variable, rows: np.ndarray, values: np.ndarray) -> None:
    table.scatter_update(tf.IndexedSlices(values.astype(np.float32), rows))
