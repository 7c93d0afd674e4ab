"""Where the towers start: what can be known of clicks and content before the first step.

From random weights a few thousand users with two clicks each teach the towers less than closed forms do. So ids start
from implicit ALS, from the affinities of items or from singular vectors of the clicks, and content from what clicks
say about it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.content_maps import IdMaps, co_click_map, content_appeal, content_id_maps
from m3csr_tf.graph.cross_fitting import CrossIds, cross_fitted_ids
from m3csr_tf.graph.factors import AffinityFactors, affinity_factors, ials_factors, item_factors
from m3csr_tf.graph.ials import tries_ials
from m3csr_tf.graph.intensity_fit import fitted_intensity
from m3csr_tf.graph.item_graph import Affinities
from m3csr_tf.graph.stacking import FOLDS, ClosedForms, LeftOut, Scored, Stacked, Weights, stacked
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.models.contract import Initialised, Judge
from m3csr_tf.models.m3csr.zeroed import zeroed
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.util.progress import PERCENT, Tell, progress, say, share

if TYPE_CHECKING:
    from m3csr_tf.models.m3csr.model import M3CSR

IdStart = Literal["ials", "walks", "svd", "xavier"]
_CALLED = {"ials": "implicit ALS", "walks": "random walks", "svd": "singular vectors"}
_COUNTED = {"ials": ", turns", "svd": ", products"}

_OF_CENTROID = 0.5
"""A cluster starts at this share of its members' mean mapped content: whole, it drowns what tells members apart."""

_TRUST_IN_NEW = 0.75
"""What the gate leaves to content at first for items without a click."""
_LEAST_TRUST, _MOST_TRUST = 0.02, 0.9
"""What it leaves to content of other items, at least and at most: neither side may be out of training's reach."""

_OF_PREDICTED_IDS = 1.5
"""Predicted ids of new items weigh so many times what a conditional logit makes of them: what tells a click from items
drawn evenly is mostly broad, and the first places of a list ask for more. Twice ranks pseudo-cold films 2% to 3% better
than once and films of which hardly one is new 2% worse; short videos and worlds rank alike (docs/results.md)."""

_OF_APPEAL = 0.2
"""Share of what content says of a new item's popularity that is added to its score for a user with one click."""

_TELLING = 500_000
"""Clicks, at most, that tell how content starts: maps of some dozen columns need no more, and more take longer."""


def initialise(model: M3CSR, data: TrainingData, prepared: Prepared, judge: Judge) -> Initialised:
    """Sets the starting weights that `model.id_start` and `model.content_start` ask for; the others stay as drawn.

    Args:
      model: as `M3CSR.from_prepared` makes it.
      data: its clicks and features.
      prepared: the data of the run.
      judge: ranks validation by the model's present weights; the start is chosen by it.

    Returns:
      Ids start from what `model.id_start` says, or with `auto` from implicit ALS, by that setting of `ials.grid` by
      which ids alone rank validation best. Where `ials.tries_ials` says that this would take too long, they start
      from singular vectors, without any validation.
    """
    config = model.config
    some = data.some_users(_TELLING, config.run.seed)
    if config.m3csr.content_start == "co_clicks":
        with progress("content starts from what clicks say of it, modalities") as told:
            _start_content(model, some, told)
    chosen, factors = _chosen(model, data, prepared, judge)
    maps, cross_ids = None, None
    if factors is not None:
        _start_ids(model, data, factors)
        if model.encoder.id_maps:
            with progress("ids of new items start from content, settings") as told:
                maps = content_id_maps(
                    factors.items, _content(model, data), _clicked(data), seed=config.run.seed, told=told
                )
        cross_ids = _cross_ids(data, chosen, factors, config)
    if chosen.kind != "xavier" or config.m3csr.content_start != "xavier":
        with progress(f"ids and content are weighed by clicks that are left out, {PERCENT}") as told:
            ridges = None if maps is None else maps.ridges
            weights, left_out = _stacked(model, some, chosen, ridges, prepared, config, told)
        _weigh(model, weights, chosen, maps, config)
    if config.m3csr.content_start == "co_clicks":
        with progress("intensities start from clicks that are left out"):
            _start_intensity(model, some, left_out)
    return Initialised(chosen.kind, cross_ids)


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
    if config.m3csr.id_start == "ials":
        return of_ials
    if config.m3csr.id_start != "auto":
        return [IdCandidate(config.m3csr.id_start)]
    return of_ials if tries_ials(int(prepared.train_clicks.sum()), len(prepared.items) - FIRST_ROW) else [_SVD]


_SVD = IdCandidate("svd")


def _cross_ids(data: TrainingData, start: IdCandidate, factors: AffinityFactors, config: Config) -> CrossIds | None:
    """Ids without the clicks of a part of the users each, where `training.cross_fit` asks for them and it can be done.

    Hashed ids have no rows of their own, a log with shards is read a window at a time, and on a log on which implicit
    ALS takes long the factors know little by heart.
    """
    parts, items = config.training.cross_fit, data.clicks.shape[1]
    if not parts or start.ials is None:
        return None
    if config.m3csr.item_hash_rows is not None or data.shards is not None:
        why = "hashed ids, and logs larger than training.window_clicks, have none of their own for a part"
    elif not tries_ials(data.clicks.nnz, items - FIRST_ROW):
        why = "the log is too large for it"
    else:
        with progress(f"ids for training, without the clicks of a part of the users each, {PERCENT}") as told:
            ids = cross_fitted_ids(data.clicks, factors, start.ials, parts, config.run.seed, told)
        if ids is not None:
            return ids
        why = "there are fewer users than parts"
    say(f"training.cross_fit={parts} is left out: {why}; ids of training know its clicks")
    return None


def _chosen(
    model: M3CSR, data: TrainingData, prepared: Prepared, judge: Judge
) -> tuple[IdCandidate, AffinityFactors | None]:
    """The candidate by which ids alone rank validation best, and its factors; None where ids start at random."""
    config = model.config
    tried = _candidates(data, prepared, config)
    if len(tried) == 1:
        return tried[0], None if tried[0].kind == "xavier" else _factors(data, tried[0], config)
    chosen, best, highest = tried[0], None, -1.0
    with zeroed(_of_content(model)):
        for place, candidate in enumerate(tried, start=1):
            factors = _factors(data, candidate, config, f" {place} of {len(tried)}")
            _start_ids(model, data, factors)
            figure = judge()
            if figure > highest:
                chosen, best, highest = candidate, factors, figure
    return chosen, best


def _start_ids(model: M3CSR, data: TrainingData, factors: AffinityFactors) -> None:
    """Starts ids of items with clicks, and W_V; how much they weigh, and those of new items, `_weigh` sets."""
    if model.config.m3csr.attention_start == "identity":
        model.user_tower.behaviour_attention.value_kernel.assign(factors.values)
    _place_factors(model, factors.items, _clicked(data))


def _factors(data: TrainingData, start: IdCandidate, config: Config, which: str = "") -> AffinityFactors:
    with progress(f"ids start from {_CALLED[start.kind]}{which}{_COUNTED.get(start.kind, '')}") as told:
        return _factors_by(data, start, config, told)


def _factors_by(data: TrainingData, start: IdCandidate, config: Config, told: Tell | None = None) -> AffinityFactors:
    dim, seed = config.m3csr.id_width, config.run.seed
    if start.kind == "svd":
        return AffinityFactors(item_factors(data.clicks, dim, seed, told), np.eye(dim, dtype=np.float32))
    if start.kind == "walks":
        assert data.affinities is not None
        return affinity_factors(data.affinities, data.clicks, dim, seed)
    assert start.ials is not None
    return ials_factors(data.clicks, dim, start.ials, config.ials, seed, told)


def _stacked(
    model: M3CSR,
    data: TrainingData,
    start: IdCandidate,
    ridges: np.ndarray | None,
    prepared: Prepared,
    config: Config,
    told: Tell,
) -> Stacked:
    """What ids and content are worth, each where it is to start from what clicks say of it.

    Args:
      model, prepared, config: of the run.
      data: whose clicks tell.
      start: of the ids.
      ridges: by which ids of new items are predicted; None where they are not.
      told: told how many percent are done.
    """
    content = _content(model, data)
    mapping = len(content) if config.m3csr.content_start == "co_clicks" else 0
    estimates = FOLDS * (mapping + (start.kind != "xavier") + (ridges is not None))
    made = 0

    def estimated() -> None:
        nonlocal made
        made += 1
        told(round(100 * made / estimates), 100)

    dims = {name: encoder.mapping.units for name, encoder in model.encoder.modal_encoders.items()}

    def estimate(clicks: csr_matrix) -> ClosedForms:
        mapped = {}
        if config.m3csr.content_start == "co_clicks":
            for name, vectors in content.items():
                one = vectors @ co_click_map(clicks, vectors, dims[name])
                mapped[name] = Scored(one, one)
                estimated()
        if start.kind == "xavier":
            return ClosedForms(mapped, None, None)
        affinities = None if start.kind != "walks" else Affinities.of(clicks, prepared.content, config.affinities)
        some = dataclasses.replace(data, clicks=clicks, affinities=affinities)
        factors = _factors_by(some, start, config, share(told, made, estimates))
        histories = factors.items @ factors.values
        estimated()
        predicted = None
        if ridges is not None:
            maps = content_id_maps(factors.items, content, _clicked(some), ridges)
            ids = sum(vectors @ kernel for vectors, kernel in zip(content.values(), maps.kernels, strict=True))
            predicted = Scored(histories, maps.intercept + ids)
            estimated()
        return ClosedForms(mapped, Scored(histories, factors.items), predicted)

    return stacked(data.clicks, estimate, config.training.history_power, config.run.seed)


def _weigh(model: M3CSR, weights: Weights, start: IdCandidate, maps: IdMaps | None, config: Config) -> None:
    """Brings gate, content and ids to the size at which their scores add up as `weights` says.

    Args:
      model, config: of the run.
      weights: of scores, as if nothing else weighed them.
      start: of the ids.
      maps: of content to the ids that it predicts; None where there are none.
    """
    gate, encoders = model.item_tower.gate, model.encoder.modal_encoders
    trust_new, trust, of_content = 0.0, 0.0, weights.beside_ids
    if gate is not None and config.m3csr.content_start == "xavier":
        trust_new = trust = 0.5  # About what a gate of random weights leaves.
    elif gate is not None:
        trust_new = _TRUST_IN_NEW
        trust = float(np.clip(weights.beside_ids * trust_new, _LEAST_TRUST, _MOST_TRUST))
        gate.start(np.where(np.arange(gate.bins) == 0, trust_new, trust))
        # A history of content x says of content y g P'x . P'y, P the map, and an interest weighs 1 / |M| at first.
        of_content = 1 / trust_new
    for name, weight in weights.content.items():
        size = np.sqrt(weight * of_content * len(encoders))
        for weight_of in (encoders[name].mapping.kernel, *_cluster_embeddings(encoders[name])):
            weight_of.assign(size * weight_of)
    for layer in model.item_tower.appeal_kernels:
        layer.kernel.assign(layer.kernel / (trust_new or 1.0))
    if start.kind == "xavier":
        return
    values = model.user_tower.behaviour_attention.value_kernel
    if config.m3csr.attention_start == "identity":
        values.assign(weights.ids / (1 - trust) * values)
    if maps is None:
        return
    # An item of mean content is for everybody what items with clicks are in the mean: how far predicted ids lie from
    # that is what weighs more, and tells new items apart.
    as_others = (1 - trust) / (1 - trust_new)
    apart = as_others * _OF_PREDICTED_IDS * weights.new_ids / weights.ids
    for layer, kernel in zip(model.encoder.id_maps, maps.kernels, strict=True):
        layer.kernel.assign(apart * kernel)
    unknown = as_others * maps.mean + apart * (maps.intercept - maps.mean)
    _set_rows(model.encoder.id_embedding, np.array([UNKNOWN_ROW]), unknown[np.newaxis])


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


def _start_content(model: M3CSR, data: TrainingData, told: Tell) -> None:
    """Starts the maps and clusters of modal encoders and what content says of popularity."""
    clicked, content = _clicked(data), _content(model, data)
    appeal = content_appeal(data.clicks, content)
    for name, layer in zip(content, model.item_tower.appeal_kernels, strict=False):
        layer.kernel.assign(_OF_APPEAL * appeal[name][:, np.newaxis])
    for position, (name, encoder) in enumerate(model.encoder.modal_encoders.items()):
        kernel = co_click_map(data.clicks, content[name], encoder.mapping.units)
        encoder.mapping.kernel.assign(kernel)
        if encoder.use_clusters:
            clusters = data.features[columns.CLUSTER_IDS][clicked, position]
            lines = (np.ones(len(clicked)), (clusters, np.arange(len(clicked))))
            members = normalize(csr_matrix(lines, shape=(encoder.clusters + 1, len(clicked))), norm="l1")
            encoder.cluster_embedding.assign(_OF_CENTROID * (members @ (content[name][clicked] @ kernel)))
        told(position + 1, len(content))
    if model.item_tower.popularity_bias is not None:
        model.item_tower.popularity_bias.assign(tf.zeros_like(model.item_tower.popularity_bias))


def _start_intensity(model: M3CSR, data: TrainingData, left_out: LeftOut) -> None:
    """Starts w_int from clicks: at random, it would favour modalities for no reason that a user could see.

    Behind attention that starts anywhere an interest is not the mean that is fitted, and one modality has all the
    intensity anyway: there w_int stays as drawn.
    """
    layer, settings = model.user_tower.intensity, model.config.m3csr
    if layer is None or len(model.encoder.modalities) == 1 or settings.attention_start != "identity":
        return
    encoded = {name: vectors.numpy() for name, vectors in model.encoder.modal(data.features).items()}
    fitted = fitted_intensity(left_out, encoded, shared=not layer.per_modality)
    # Of behaviour nothing is fitted; it may be learned.
    behaviour = np.zeros((len(fitted), settings.id_width), np.float32)
    layer.kernel.assign(layer.temperature * np.concatenate([behaviour, fitted], axis=1))


def _of_content(model: M3CSR) -> list[tf.Variable]:
    """The weights without which content and popularity add nothing to a score."""
    encoders = model.encoder.modal_encoders.values()
    weights = [weight for one in encoders for weight in (one.mapping.kernel, *_cluster_embeddings(one))]
    weights += [layer.kernel for layer in model.item_tower.appeal_kernels]
    return weights if model.item_tower.popularity_bias is None else [*weights, model.item_tower.popularity_bias]


def _cluster_embeddings(encoder: ModalEncoder) -> list[tf.Variable]:
    return [encoder.cluster_embedding] if encoder.use_clusters else []


def _content(model: M3CSR, data: TrainingData) -> dict[str, np.ndarray]:
    return {name: data.features[name] for name in model.encoder.modalities}


def _clicked(data: TrainingData) -> np.ndarray:
    return np.flatnonzero(np.diff(data.clicks.tocsc().indptr))


def _set_rows(table: tf.Variable, rows: np.ndarray, values: np.ndarray) -> None:
    table.scatter_update(tf.IndexedSlices(values.astype(np.float32), rows))
