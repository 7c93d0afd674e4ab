"""Section `model` of model.kind=lattice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, PairwiseSection


class LatticeConfig(PairwiseSection):
    """Item-item graphs learned from content, added to LightGCN on the user-item graph.

    Zhang, Zhu, Liu, Wu, Wang and Wang: Mining latent structures for multimedia recommendation, ACM Multimedia 2021,
    section 3.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 2048,
        "training.learning_rate": 3e-3,
        "training.beta": 1e-2,
        "training.epochs": 60.0,
    }

    kind: Literal["lattice"] = "lattice"
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
    item_layers: int = Field(1, ge=0, le=8, description="propagation steps over the item-item graph")
    neighbours: int = Field(10, ge=1, le=1000, description="nearest items that an item keeps in the item-item graph")
    kept: float = Field(
        0.9,
        ge=0,
        le=1,
        description="lambda: share of the item-item graph that is of the original content; the rest is of the learned",
    )
    feature_dim: int = Field(64, ge=1, le=4096, description="width of the content map that the learned graph is of")
