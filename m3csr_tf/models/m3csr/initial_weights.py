"""Sets the initial weights of the towers from what clicks and content tell before the first step.

A few thousand users with two clicks each teach randomly initialised towers less than closed forms know. So ids are
initialised from implicit ALS, from the item graph or from singular vectors of the clicks, and maps of content from what
the clicks say about content.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.content_maps import IdMaps, co_click_map, content_id_maps, content_popularity_weights
from m3csr_tf.graph.intensity_fit import fitted_intensity
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.graph.stacking import (
    HeldOutClicks,
    ScoreEstimates,
    ScoreFactors,
    StackingResult,
    Weights,
    stacking_weights,
)
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.contract import Initialised, ValidationRecall
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.util.progress import PERCENT, ProgressCallback, progress, share

if TYPE_CHECKING:
    from m3csr_tf.models.m3csr.model import M3CSR
from m3csr_tf.models.m3csr.id_initialisation import (
    IdInitialisation,
    _chosen,
    _clicked,
    _cluster_embeddings,
    _cross_ids,
    _factors_by,
    _initialise_ids,
    _set_rows,
)


def initialise(
    model: M3CSR, data: TrainingData, prepared: Prepared, validation_recall: ValidationRecall
) -> Initialised:
    """Sets the weights that `model.id_initialisation` and `model.content_initialisation` ask for; others stay as drawn.

    Ids are initialised from what `model.id_initialisation` names. With `auto` that is implicit ALS, with the setting of
    `ials.grid` whose ids alone rank validation best. Where this would take too long (`ials.tries_ials`), ids are
    initialised from singular vectors, without any validation.

    Args:
      model: a model as `M3CSR.from_prepared` makes it.
      data: the clicks and features of the run.
      prepared: the prepared data of the run.
      validation_recall: ranks validation by the model's present weights; the initialisation of ids is chosen by it.
    """
    config = model.config
    some = data.some_users(config.m3csr.initial.clicks, config.run.seed)
    if config.m3csr.content_initialisation == "co_clicks":
        with progress("initialising content maps from clicks, modalities") as stage:
            _initialise_content(model, some, stage)
    chosen, factors = _chosen(model, data, prepared, validation_recall)
    maps, cross_ids = None, None
    if factors is not None:
        _initialise_ids(model, data, factors)
        if model.encoder.id_maps:
            with progress("initialising ids of new items from content, settings") as stage:
                maps = content_id_maps(
                    factors.items,
                    _content(model, data),
                    _clicked(data),
                    seed=config.run.seed,
                    on_progress=stage,
                    settings=config.m3csr.initial,
                )
        cross_ids = _cross_ids(data, chosen, factors, config)
    if chosen.kind != "xavier" or config.m3csr.content_initialisation != "xavier":
        with progress(f"weighing ids and content by held-out clicks, {PERCENT}") as stage:
            ridges = None if maps is None else maps.ridges
            weights, held_out = _stacking_weights(model, some, chosen, ridges, prepared, config, stage)
        _weigh(model, weights, chosen, maps, config)
    if config.m3csr.content_initialisation == "co_clicks":
        with progress("initialising intensities from held-out clicks"):
            _initialise_intensity(model, some, held_out)
    return Initialised(chosen.kind, cross_ids, chosen.settings)


def _stacking_weights(
    model: M3CSR,
    data: TrainingData,
    initialisation: IdInitialisation,
    ridges: np.ndarray | None,
    prepared: Prepared,
    config: Config,
    on_progress: ProgressCallback,
) -> StackingResult:
    """Estimates the stacking weights of ids and content, as far as these are initialised from clicks.

    Args:
      model, prepared, config: the model, the prepared data and the settings of the run.
      data: the clicks from which the weights are estimated.
      initialisation: the initialisation of the ids.
      ridges: the ridge penalties with which ids of new items are predicted; None where they are not predicted.
      on_progress: is called with the percentage that is done.
    """
    content = _content(model, data)
    mapping = len(content) if config.m3csr.content_initialisation == "co_clicks" else 0
    estimates = config.m3csr.initial.folds * (mapping + (initialisation.kind != "xavier") + (ridges is not None))
    made = 0
    on_progress(0, 100)

    def estimated() -> None:
        nonlocal made
        made += 1
        on_progress(round(100 * made / estimates), 100)

    dims = {name: encoder.mapping.units for name, encoder in model.encoder.modal_encoders.items()}

    def estimate(clicks: csr_matrix) -> ScoreEstimates:
        mapped = {}
        if config.m3csr.content_initialisation == "co_clicks":
            for name, vectors in content.items():
                one = vectors @ co_click_map(clicks, vectors, dims[name], config.m3csr.initial)
                mapped[name] = ScoreFactors(one, one)
                estimated()
        if initialisation.kind == "xavier":
            return ScoreEstimates(mapped, None, None)
        item_graph = (
            None if initialisation.kind != "walks" else ItemGraph.of(clicks, prepared.content, config.item_graph)
        )
        some = dataclasses.replace(data, clicks=clicks, item_graph=item_graph)
        factors = _factors_by(some, initialisation, config, share(on_progress, made, estimates))
        histories = factors.items @ factors.values
        estimated()
        predicted = None
        if ridges is not None:
            maps = content_id_maps(factors.items, content, _clicked(some), ridges)
            ids = sum(vectors @ kernel for vectors, kernel in zip(content.values(), maps.kernels, strict=True))
            predicted = ScoreFactors(histories, maps.intercept + ids)
            estimated()
        return ScoreEstimates(mapped, ScoreFactors(histories, factors.items), predicted)

    return stacking_weights(data.clicks, estimate, config.training.history_power, config.run.seed, config.m3csr.initial)


def _weigh(
    model: M3CSR, weights: Weights, initialisation: IdInitialisation, maps: IdMaps | None, config: Config
) -> None:
    """Scales gate, content and ids so that their scores add up with the weights in `weights`.

    Args:
      model, config: the model and the settings of the run.
      weights: the weights of the scores, as if no other factor applied to them.
      initialisation: the initialisation of the ids.
      maps: the maps from content to the ids of new items; None where ids are not predicted.
    """
    gate, encoders, initial = model.item_tower.gate, model.encoder.modal_encoders, config.m3csr.initial
    delta_new, delta, content_scale = 0.0, 0.0, weights.content_scale
    if gate is not None and config.m3csr.content_initialisation == "xavier":
        delta_new = delta = 0.5  # A gate with random weights returns about this.
    elif gate is not None:
        delta_new = initial.gate_new
        delta = float(np.clip(weights.content_scale * delta_new, initial.gate_least, initial.gate_most))
        gate.initialise_weights(np.where(np.arange(gate.bins) == 0, delta_new, delta))
        # The score of content y for a history of content x is g P'x . P'y, where P is the map and g the gate, and each
        # interest has an intensity of 1 / |M| at first.
        content_scale = 1 / delta_new
    for name, weight in weights.content.items():
        size = np.sqrt(weight * content_scale * len(encoders))
        for weight_of in (encoders[name].mapping.kernel, *_cluster_embeddings(encoders[name])):
            weight_of.assign(size * weight_of)
    for layer in model.item_tower.content_popularity_kernels:
        layer.kernel.assign(layer.kernel / (delta_new or 1.0))
    if initialisation.kind == "xavier":
        return
    values = model.user_tower.behaviour_attention.value_kernel
    if config.m3csr.attention_initialisation == "identity":
        values.assign(weights.ids / (1 - delta) * values)
    if maps is None:
        return
    # An item of mean content should score as items with clicks do on average. What distinguishes new items is how far
    # their predicted ids lie from that mean, so the distance has a weight of its own.
    as_others = (1 - delta) / (1 - delta_new)
    apart = as_others * initial.predicted_ids * weights.new_ids / weights.ids
    for layer, kernel in zip(model.encoder.id_maps, maps.kernels, strict=True):
        layer.kernel.assign(apart * kernel)
    unknown = as_others * maps.mean + apart * (maps.intercept - maps.mean)
    _set_rows(model.encoder.id_embedding, np.array([UNKNOWN_ROW]), unknown[np.newaxis])


def _initialise_content(model: M3CSR, data: TrainingData, on_progress: ProgressCallback) -> None:
    """Initialises the maps and cluster embeddings of the modal encoders, and the weights of content popularity."""
    initial = model.config.m3csr.initial
    clicked, content = _clicked(data), _content(model, data)
    on_progress(0, len(content))
    popularity_weights = content_popularity_weights(data.clicks, content, initial)
    for name, layer in zip(content, model.item_tower.content_popularity_kernels, strict=False):
        layer.kernel.assign(initial.popularity_share * popularity_weights[name][:, np.newaxis])
    for position, (name, encoder) in enumerate(model.encoder.modal_encoders.items()):
        kernel = co_click_map(data.clicks, content[name], encoder.mapping.units, initial)
        encoder.mapping.kernel.assign(kernel)
        if encoder.use_clusters:
            clusters = data.features[columns.CLUSTER_IDS][clicked, position]
            members_of_cluster = (np.ones(len(clicked)), (clusters, np.arange(len(clicked))))
            members = normalize(csr_matrix(members_of_cluster, shape=(encoder.clusters + 1, len(clicked))), norm="l1")
            encoder.cluster_embedding.assign(initial.cluster_share * (members @ (content[name][clicked] @ kernel)))
        on_progress(position + 1, len(content))
    if model.item_tower.popularity_bias is not None:
        model.item_tower.popularity_bias.assign(tf.zeros_like(model.item_tower.popularity_bias))


def _initialise_intensity(model: M3CSR, data: TrainingData, held_out: HeldOutClicks) -> None:
    """Initialises w_int from clicks, because random weights would favour modalities without a visible reason.

    Where attention is initialised at random, an interest is not the mean that the fit assumes, and with one modality
    all intensity is on it anyway. In both cases w_int stays as drawn.
    """
    layer, settings = model.user_tower.intensity, model.config.m3csr
    if layer is None or len(model.encoder.modalities) == 1 or settings.attention_initialisation != "identity":
        return
    encoded = {name: vectors.numpy() for name, vectors in model.encoder.modal(data.features).items()}
    fitted = fitted_intensity(held_out, encoded, not layer.per_modality, settings.initial.intensity_ridge)
    # Nothing is fitted for the behavioural interest; training may learn it.
    behaviour = np.zeros((len(fitted), settings.id_width), np.float32)
    layer.kernel.assign(layer.temperature * np.concatenate([behaviour, fitted], axis=1))


def _content(model: M3CSR, data: TrainingData) -> dict[str, np.ndarray]:
    return {name: data.features[name] for name in model.encoder.modalities}
