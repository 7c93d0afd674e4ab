"""Section `model` of model.kind=mmssl."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, PairwiseSection


class MMSSLConfig(PairwiseSection):
    """Self-supervision over modalities: an adversarial loss on user-item structure, and a contrastive one.

    Wei, Huang, Xia and Zhang: Multi-modal self-supervised learning for recommendation, WWW 2023, section 3.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 4096,
        "training.learning_rate": 5e-3,
        "training.beta": 1e-3,
    }

    kind: Literal["mmssl"] = "mmssl"
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
    heads: int = Field(4, ge=1, le=64, description="heads of the attention between modalities; they divide dim")
    attention_weight: float = Field(
        0.36, ge=0, le=1e6, description="eta: weight of the attended modality views in the embeddings that propagate"
    )
    content_weight: float = Field(
        0.2, ge=0, le=1e6, description="omega: weight of each modality's content in the final vectors"
    )
    relation_temperature: float = Field(
        0.2,
        ge=1e-4,
        le=1e4,
        description="temperature of the relation of user and item in a modality, by which its graph weighs the clicks",
    )
    contrastive_weight: float = Field(0.03, ge=0, le=1e6, description="weight of the contrastive loss")
    contrastive_temperature: float = Field(0.5, ge=1e-4, le=1e4, description="tau of the contrastive loss")
    contrastive_users: int = Field(
        512, ge=1, le=100_000, description="users of a batch, at most, whom the contrastive loss tells apart"
    )
    adversarial_weight: float = Field(
        0.2, ge=0, le=1e6, description="weight of the adversarial loss for the generator; 0: there is no critic"
    )
    adversarial_users: int = Field(
        128, ge=1, le=100_000, description="users of a batch, at most, whose rows the critic judges"
    )
    adversarial_items: int = Field(
        8192, ge=1, le=1_000_000, description="items of those rows: all, or a draw of so many from a larger catalogue"
    )
    critic_dim: int = Field(64, ge=2, le=4096, description="width of the critic's first layer; the second has half")
    gumbel_temperature: float = Field(
        0.05, ge=1e-4, le=1e4, description="tau of the Gumbel-softmax by which the critic sees the observed clicks"
    )
    gumbel_scores: float = Field(
        1.0, ge=0, le=1e6, description="zeta: weight of the model's own scores in those rows, beside the clicks"
    )
    gradient_penalty: float = Field(0.3, ge=0, le=1e6, description="weight of the critic's gradient penalty")
    dropout: float = Field(0.2, ge=0, lt=1, description="chance that training leaves out an entry of mapped content")

    @model_validator(mode="after")
    def _check(self) -> MMSSLConfig:
        if self.dim % self.heads:
            raise ValueError(
                f"model.heads must divide model.dim, got model.heads={self.heads} and model.dim={self.dim}"
            )
        return self
