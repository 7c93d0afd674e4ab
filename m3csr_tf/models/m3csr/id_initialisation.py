"""Initialises item ids from implicit ALS, the item graph or singular vectors, whichever alone ranks validation best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.cross_fitting import CrossIds, cross_fitted_ids
from m3csr_tf.graph.factors import IdFactors, ials_factors, item_factors, item_graph_factors
from m3csr_tf.graph.ials import tries_ials
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW
from m3csr_tf.layers.modal_encoder import ModalEncoder
from m3csr_tf.models.contract import ValidationRecall
from m3csr_tf.models.m3csr.zeroed import zeroed
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.util.progress import PERCENT, ProgressCallback, progress, say

if TYPE_CHECKING:
    from m3csr_tf.models.m3csr.model import M3CSR


IdInitialisationKind = Literal["ials", "walks", "svd", "xavier"]

_CALLED = {"ials": "implicit ALS", "walks": "the item graph", "svd": "singular vectors"}

_COUNTED = {"ials": ", turns", "svd": ", products"}


class IdInitialisation(NamedTuple):
    """A way to initialise item ids.

    Attributes:
      kind: what the ids are initialised from.
      ials: alpha and penalty of implicit ALS; None for the other kinds.
    """

    kind: IdInitialisationKind
    ials: tuple[float, float] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that leave this as the only candidate."""
        grid = {} if self.ials is None else {"ials.grid": [list(self.ials)]}
        return {"model.id_initialisation": self.kind, **grid}


def _candidates(data: TrainingData, prepared: Prepared, config: Config) -> list[IdInitialisation]:
    """Returns the initialisations that validation chooses among, or only one where the settings leave no choice."""
    ials_candidates = [IdInitialisation("ials", setting) for setting in config.ials.grid]
    if config.m3csr.id_initialisation == "ials":
        return ials_candidates
    if config.m3csr.id_initialisation != "auto":
        return [IdInitialisation(config.m3csr.id_initialisation)]
    return (
        ials_candidates
        if tries_ials(int(prepared.train_clicks.sum()), len(prepared.items) - FIRST_ROW, config.ials)
        else [_SVD]
    )


_SVD = IdInitialisation("svd")


def _cross_ids(
    data: TrainingData, initialisation: IdInitialisation, factors: IdFactors, config: Config
) -> CrossIds | None:
    """Returns cross-fitted ids, where `training.cross_fit` asks for them and they can be computed; otherwise None.

    For each part of the users they are ids that were computed without its clicks. They cannot be computed for hashed
    ids, which have no rows of their own, nor for a log with shards, which is read a window at a time. On a log on which
    implicit ALS takes long they are not needed, because its factors memorise little.
    """
    parts, items, initial = config.training.cross_fit, data.clicks.shape[1], config.m3csr.initial
    if not parts or initialisation.ials is None:
        return None
    if config.m3csr.item_hash_rows is not None or data.shards is not None:
        why = "hashed ids, and logs larger than training.window_clicks, have none of their own for a part"
    elif not tries_ials(data.clicks.nnz, items - FIRST_ROW, config.ials):
        why = "the log is too large for it"
    else:
        with progress(f"ids for training, without the clicks of a part of the users each, {PERCENT}") as stage:
            ids = cross_fitted_ids(
                _counted(data, config),
                factors,
                initialisation.ials,
                parts,
                config.run.seed,
                stage,
                initial.cross_fit_sweeps,
            )
        if ids is not None:
            return ids
        why = "there are fewer users than parts"
    say(f"training.cross_fit={parts} is left out: {why}; ids of training know its clicks")
    return None


def _chosen(
    model: M3CSR, data: TrainingData, prepared: Prepared, validation_recall: ValidationRecall
) -> tuple[IdInitialisation, IdFactors | None]:
    """Returns the candidate whose ids alone rank validation best, and its factors; None where ids stay as drawn."""
    config = model.config
    tried = _candidates(data, prepared, config)
    _say_what_is_not_weighed(data, tried, config)
    if len(tried) == 1:
        return tried[0], None if tried[0].kind == "xavier" else _factors(data, tried[0], config)
    chosen, best, highest = tried[0], None, -1.0
    with zeroed(_of_content(model)):
        for position, candidate in enumerate(tried, start=1):
            factors = _factors(data, candidate, config, f" {position} of {len(tried)}")
            _initialise_ids(model, data, factors)
            figure = validation_recall()
            if figure > highest:
                chosen, best, highest = candidate, factors, figure
    return chosen, best


def _initialise_ids(model: M3CSR, data: TrainingData, factors: IdFactors) -> None:
    """Initialises W_V and the ids of items with clicks; `_weigh_ids` sets their scale, and the ids of new items."""
    if model.config.m3csr.attention_initialisation == "identity":
        model.user_tower.behaviour_attention.value_kernel.assign(factors.values)
    _place_factors(model, factors.items, _clicked(data))


def _factors(data: TrainingData, initialisation: IdInitialisation, config: Config, which: str = "") -> IdFactors:
    with progress(
        f"initialising ids from {_CALLED[initialisation.kind]}{which}{_COUNTED.get(initialisation.kind, '')}"
    ) as stage:
        return _factors_by(data, initialisation, config, stage)


def _factors_by(
    data: TrainingData, initialisation: IdInitialisation, config: Config, on_progress: ProgressCallback | None = None
) -> IdFactors:
    dim, seed, initial = config.m3csr.id_width, config.run.seed, config.m3csr.initial
    if initialisation.kind == "svd":
        return IdFactors(
            item_factors(_counted(data, config), dim, seed, on_progress, initial.svd_popularity),
            np.eye(dim, dtype=np.float32),
        )
    if initialisation.kind == "walks":
        assert data.item_graph is not None
        return item_graph_factors(data.item_graph, data.clicks, dim, seed, initial.walk_floor)
    assert initialisation.ials is not None
    return ials_factors(_counted(data, config), dim, initialisation.ials, config.ials, seed, on_progress)


def _counted(data: TrainingData, config: Config) -> csr_matrix:
    """Returns the clicks from which ids are initialised, with their weights where `model.initial.by_weight` says so."""
    return data.weighed_clicks() if config.m3csr.initial.by_weight else data.clicks


def _say_what_is_not_weighed(data: TrainingData, tried: list[IdInitialisation], config: Config) -> None:
    if not config.m3csr.initial.by_weight:
        return
    if data.weights is None:
        say("model.initial.by_weight=true changes nothing: positives are not drawn by weight or age")
    elif tried[0].kind in ("walks", "xavier"):
        say(f"model.initial.by_weight=true changes nothing: model.id_initialisation={tried[0].kind} knows no weights")


def _place_factors(model: M3CSR, factors: np.ndarray, clicked: np.ndarray) -> None:
    # Nothing is known of a new item, so its id must not change anybody's score.
    _set_rows(model.encoder.id_embedding, np.array([PADDING_ROW, UNKNOWN_ROW]), np.zeros((2, factors.shape[1])))
    rows, shared = np.unique(model.encoder.id_rows.numpy()[clicked], return_inverse=True)
    if len(rows) == len(clicked):
        means = factors[clicked][np.argsort(shared)]
    else:
        # Hashed ids that share a row are initialised with their mean.
        members = csr_matrix((np.ones(len(clicked)), (shared, np.arange(len(clicked)))))
        means = normalize(members, norm="l1") @ factors[clicked]
    _set_rows(model.encoder.id_embedding, rows, means)


def _of_content(model: M3CSR) -> list[tf.Variable]:
    """Returns the weights without which content and popularity add nothing to a score."""
    encoders = model.encoder.modal_encoders.values()
    weights = [weight for one in encoders for weight in (one.mapping.kernel, *_cluster_embeddings(one))]
    weights += [layer.kernel for layer in model.item_tower.content_popularity_kernels]
    return weights if model.item_tower.popularity_bias is None else [*weights, model.item_tower.popularity_bias]


def _cluster_embeddings(encoder: ModalEncoder) -> list[tf.Variable]:
    return [encoder.cluster_embedding] if encoder.use_clusters else []


def _clicked(data: TrainingData) -> np.ndarray:
    return np.flatnonzero(np.diff(data.clicks.tocsc().indptr))


def _set_rows(table: tf.Variable, rows: np.ndarray, values: np.ndarray) -> None:
    table.scatter_update(tf.IndexedSlices(values.astype(np.float32), rows))
