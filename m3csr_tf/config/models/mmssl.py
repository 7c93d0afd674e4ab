"""Section `model` of model.kind=mmssl."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class MMSSLConfig(PairwiseSection):
    """Self-supervision over modalities: an adversarial loss on user-item structure, and a contrastive one.

    Wei, Huang, Xia and Zhang: Multi-modal self-supervised learning for recommendation, WWW 2023, section 3.
    """

    kind: Literal["mmssl"] = "mmssl"
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
    content_dim: int = Field(64, ge=1, le=4096, description="width of the embedding of an item's content")
    contrastive_weight: float = Field(0.03, ge=0, le=1e6, description="weight of the contrastive loss")
    contrastive_temperature: float = Field(0.5, ge=1e-4, le=1e4, description="tau of the contrastive loss")
    adversarial_weight: float = Field(0.2, ge=0, le=1e6, description="weight of the adversarial loss")
    dropout: float = Field(0.2, ge=0, lt=1, description="chance that training leaves out an entry of mapped content")
