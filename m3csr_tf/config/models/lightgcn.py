"""Section `model` of model.kind=lightgcn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, PairwiseSection


class LightGCNConfig(PairwiseSection):
    """Linear propagation of embeddings over the user-item graph; the layers are averaged.

    He, Deng, Wang, Li, Zhang and Wang: LightGCN: simplifying and powering graph convolution network for
    recommendation, SIGIR 2020, section 3.1.
    """

    # Each step propagates over the whole graph, so batches are large. Of the rates and penalties that were tried, these
    # rank validation best on the worse of a sparse log of short videos and a dense one of films.
    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 2048,
        "training.learning_rate": 1e-2,
        "training.beta": 1e-3,
        "training.epochs": 100.0,
    }

    kind: Literal["lightgcn"] = "lightgcn"
    layers: int = Field(3, ge=0, le=8, description="propagation steps over the user-item graph")
