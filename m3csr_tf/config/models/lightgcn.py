"""Section `model` of model.kind=lightgcn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class LightGCNConfig(PairwiseSection):
    """Linear propagation of embeddings over the user-item graph; the layers are averaged.

    He, Deng, Wang, Li, Zhang and Wang: LightGCN: simplifying and powering graph convolution network for
    recommendation, SIGIR 2020, section 3.1.
    """

    kind: Literal["lightgcn"] = "lightgcn"
    layers: int = Field(3, ge=0, le=8, description="propagation steps over the user-item graph")
