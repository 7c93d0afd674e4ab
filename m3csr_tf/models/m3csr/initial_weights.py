"""Sets the initial weights of the towers from what clicks and content tell before the first step.

A few thousand users with two clicks each teach randomly initialised towers less than closed forms know. So ids are
initialised from implicit ALS, from the item graph or from singular vectors of the clicks, and maps of content from what
the clicks say about content.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.content_maps import co_click_similarity, content_map, content_popularity_weights
from m3csr_tf.graph.factors import IdFactors
from m3csr_tf.graph.id_prediction import IdPredictor, IdSettings, fit_id_predictor, score_gram
from m3csr_tf.graph.intensity_fit import fitted_intensity
from m3csr_tf.graph.item_graph import ItemGraph
from m3csr_tf.graph.stacking import (
    ContentScores,
    ContentWeights,
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
    _cross_ids,
    _factors_by,
    _initialise_ids,
    _set_rows,
)

_CO_CLICKS = 0.5
"""Weight of what clicks say of content, beside content as it is, where no click can be held out."""


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
    maps_content = config.m3csr.content_initialisation == "co_clicks"
    chosen, factors = _chosen(model, data, prepared, validation_recall)
    predictor, cross_ids = None, None
    if factors is not None:
        _initialise_ids(model, data, factors)
        if model.encoder.id_prediction is not None:
            with progress("initialising ids of new items from content, settings") as stage:
                predictor = _id_predictor(model, data, some, factors, prepared, None, stage)
        cross_ids = _cross_ids(data, chosen, factors, config)
    if chosen.kind != "xavier" or maps_content:
        with progress(f"weighing ids and content by held-out clicks, {PERCENT}") as stage:
            found = None if predictor is None else predictor.settings
            weights, held_out = _stacking_weights(model, some, chosen, found, prepared, config, stage)
        gate = _initialise_gate(model, weights)
        if maps_content:
            with progress("initialising content maps from clicks, modalities") as stage:
                _initialise_content(model, some, prepared, weights, gate, stage)
        if factors is not None:
            _weigh_ids(model, weights, gate, predictor)
    if maps_content:
        with progress("initialising intensities from held-out clicks"):
            _initialise_intensity(model, some, held_out)
    return Initialised(chosen.kind, cross_ids, chosen.settings)


class _InitialGate(NamedTuple):
    """The weights of content that the gate gives at first: to new items and to others; 0 without a gate."""

    new: float
    others: float


def _id_predictor(
    model: M3CSR,
    data: TrainingData,
    some: TrainingData,
    factors: IdFactors,
    prepared: Prepared,
    chosen: IdSettings | None,
    on_progress: ProgressCallback | None = None,
) -> IdPredictor:
    """Fits the prediction of ids of new items.

    Args:
      model, prepared: the model, and the prepared data of the run.
      data: the clicks that say which items have ids.
      some: the clicks of users whose scores choose the penalty.
      factors: the initial ids, and W_V.
      chosen: settings that were chosen before; None chooses them.
      on_progress: see `fit_id_predictor`.
    """
    config, clicked = model.config, _clicked(data)
    gram = None
    if chosen is None:
        gram = score_gram(some.clicks, factors.items @ factors.values, config.training.history_power)
    return fit_id_predictor(
        factors.items,
        _content(model, data),
        {name: prepared.scaler.spreads(name) for name in model.encoder.modalities},
        clicked,
        gram,
        config.m3csr.id_landmarks,
        chosen,
        config.run.seed,
        on_progress,
        config.m3csr.initial,
    )


def _stacking_weights(
    model: M3CSR,
    data: TrainingData,
    initialisation: IdInitialisation,
    predicted: IdSettings | None,
    prepared: Prepared,
    config: Config,
    on_progress: ProgressCallback,
) -> StackingResult:
    """Estimates the stacking weights of ids and content, as far as these are initialised from clicks.

    Args:
      model, prepared, config: the model, the prepared data and the settings of the run.
      data: the clicks from which the weights are estimated.
      initialisation: the initialisation of the ids.
      predicted: the settings with which ids of new items are predicted; None where they are not predicted.
      on_progress: is called with the percentage that is done.
    """
    content = _content(model, data)
    mapping = len(content) if config.m3csr.content_initialisation == "co_clicks" else 0
    estimates = config.m3csr.initial.folds * (mapping + (initialisation.kind != "xavier") + (predicted is not None))
    parts = estimates + 1  # After them come the lists of held-out items.
    made = 0
    on_progress(0, 100)

    def estimated() -> None:
        nonlocal made
        made += 1
        on_progress(round(100 * made / parts), 100)

    spreads, clicked = {name: _axis_weights(prepared, name) for name in content}, _clicked(data)

    def estimate(clicks: csr_matrix) -> ScoreEstimates:
        of_content = {}
        if mapping:
            for name, vectors in content.items():
                co_clicks = vectors @ co_click_similarity(clicks, vectors, config.m3csr.initial)
                of_content[name] = ContentScores(
                    ScoreFactors(vectors * spreads[name], vectors), ScoreFactors(co_clicks.astype(np.float32), vectors)
                )
                estimated()
        if initialisation.kind == "xavier":
            return ScoreEstimates(of_content, None, None)
        item_graph = (
            None if initialisation.kind != "walks" else ItemGraph.of(clicks, prepared.content, config.item_graph)
        )
        some = dataclasses.replace(data, clicks=clicks, item_graph=item_graph)
        factors = _factors_by(some, initialisation, config, share(on_progress, made, parts))
        histories = factors.items @ factors.values
        estimated()
        new_ids = None
        if predicted is not None:
            predictor = _id_predictor(model, some, some, factors, prepared, predicted)
            candidates = np.zeros_like(factors.items)
            candidates[clicked] = predictor.predict({name: vectors[clicked] for name, vectors in content.items()})
            new_ids = ScoreFactors(histories, candidates)
            estimated()
        return ScoreEstimates(of_content, ScoreFactors(histories, factors.items), new_ids)

    return stacking_weights(
        data.clicks,
        estimate,
        config.training.history_power,
        config.run.seed,
        config.m3csr.initial,
        share(on_progress, estimates, parts),
    )


def _initialise_gate(model: M3CSR, weights: Weights) -> _InitialGate:
    """Initialises the gate by how much content weighs for new items and for others, and returns what it gives them."""
    gate, settings = model.item_tower.gate, model.config.m3csr
    if gate is None:
        return _InitialGate(0.0, 0.0)
    if settings.content_initialisation == "xavier":
        return _InitialGate(0.5, 0.5)  # A gate with random weights returns about this.
    initial = settings.initial
    new = initial.gate_new
    others = float(np.clip(weights.content_scale * new, initial.gate_least, initial.gate_most))
    gate.initialise_weights(np.where(np.arange(gate.bins) == 0, new, others))
    return _InitialGate(new, others)


def _initialise_content(
    model: M3CSR,
    data: TrainingData,
    prepared: Prepared,
    weights: Weights,
    gate: _InitialGate,
    on_progress: ProgressCallback,
) -> None:
    """Initialises the maps and clusters of the modal encoders, and the weights of content popularity.

    The score of content y for a history of content x is g P'x . P'y / |M|, where P is the map and g the gate, and each
    interest has an intensity of 1 / |M| at first. So P P^T approximates the similarity of content that `weights` asks
    for, times |M| / g, at the rank of the map and without negative eigenvalues.
    """
    initial, encoders = model.config.m3csr.initial, model.encoder.modal_encoders
    clicked, content = _clicked(data), _content(model, data)
    on_progress(0, len(content))
    popularity_weights = content_popularity_weights(data.clicks, content, initial)
    for name, layer in zip(content, model.item_tower.content_popularity_kernels, strict=False):
        layer.kernel.assign(initial.popularity_share / (gate.new or 1.0) * popularity_weights[name][:, np.newaxis])
    scale = len(encoders) * (1 / gate.new if gate.new else weights.content_scale)
    for position, (name, encoder) in enumerate(encoders.items()):
        weight = weights.content.get(name, ContentWeights(1.0, _CO_CLICKS * initial.co_click_multipliers[0]))
        similarity = weight.co_clicks * co_click_similarity(data.clicks, content[name], initial)
        similarity += weight.content * np.diag(_axis_weights(prepared, name))
        kernel = content_map(scale * similarity, encoder.mapping.units)
        encoder.mapping.kernel.assign(kernel)
        if encoder.use_clusters:
            clusters = data.features[columns.CLUSTER_IDS][clicked, position]
            members_of_cluster = (np.ones(len(clicked)), (clusters, np.arange(len(clicked))))
            members = normalize(csr_matrix(members_of_cluster, shape=(encoder.clusters + 1, len(clicked))), norm="l1")
            encoder.cluster_embedding.assign(initial.cluster_share * (members @ (content[name][clicked] @ kernel)))
        on_progress(position + 1, len(content))
    if model.item_tower.popularity_bias is not None:
        model.item_tower.popularity_bias.assign(tf.zeros_like(model.item_tower.popularity_bias))


def _axis_weights(prepared: Prepared, modality: str) -> np.ndarray:
    """Returns how much each dimension of a modality's scaled content counts in similarity, float32 [width].

    An axis counts by its standard deviation, which lies between whitened content, whose weak axes count like the strong
    ones though they are mostly noise, and content as it is, in which few axes decide. The mean square is 1.
    """
    spreads = prepared.scaler.spreads(modality)
    return spreads / np.maximum(np.sqrt(np.mean(spreads**2)), 1e-12)


def _weigh_ids(model: M3CSR, weights: Weights, gate: _InitialGate, predictor: IdPredictor | None) -> None:
    """Scales W_V and predicted ids so that, behind the gate, scores by ids have the weights in `weights`."""
    values = model.user_tower.behaviour_attention.value_kernel
    if model.config.m3csr.attention_initialisation == "identity":
        values.assign(weights.ids / (1 - gate.others) * values)
    if predictor is None:
        return
    # An item of mean content should score as items with clicks do on average. What distinguishes new items is how far
    # their predicted ids lie from that mean, so the distance has a weight of its own.
    as_others = (1 - gate.others) / (1 - gate.new)
    apart = as_others * weights.new_ids / weights.ids
    assert model.encoder.id_prediction is not None
    model.encoder.id_prediction.assign(
        predictor.axis_scales, predictor.settings.sizes, predictor.landmarks, apart * predictor.coefficients
    )
    unknown = as_others * predictor.mean + apart * (predictor.intercept - predictor.mean)
    _set_rows(model.encoder.id_embedding, np.array([UNKNOWN_ROW]), unknown[np.newaxis])


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
