"""Section `model` of model.kind=mmgcn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import OF_M3CSR_ALONE, PAIRWISE_RECIPE, PairwiseSection


class MMGCNConfig(PairwiseSection):
    """A graph convolution over the user-item graph for every modality; mean aggregation, and a sum over modalities.

    Wei, Wang, Nie, He, Hong and Chua: MMGCN: multi-modal graph convolution network for personalized recommendation of
    micro-video, ACM Multimedia 2019, section 2.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 2048,
        "training.learning_rate": 2e-3,
        "training.schedule": "cosine",
        "training.beta": 0.1,
        "training.averaging": 0.95,
        "training.epochs": 7.0,
        "training.evaluate_every": 20,
    }
    """A short training that is validated often: the model is best after one or two epochs, and then memorises its
    clicks.
    """

    unread: ClassVar[frozenset[str]] = OF_M3CSR_ALONE | {"training.content_rate"}

    kind: Literal["mmgcn"] = "mmgcn"
    content_dim: int = Field(64, ge=1, le=4096, description="width of the embedding of an item's content")
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
