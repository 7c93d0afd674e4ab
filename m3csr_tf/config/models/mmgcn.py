"""Section `model` of model.kind=mmgcn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class MMGCNConfig(PairwiseSection):
    """A graph convolution over the user-item graph for every modality; mean aggregation, and a sum over modalities.

    Wei, Wang, Nie, He, Hong and Chua: MMGCN: multi-modal graph convolution network for personalized recommendation of
    micro-video, ACM Multimedia 2019, section 2.
    """

    kind: Literal["mmgcn"] = "mmgcn"
    content_dim: int = Field(64, ge=1, le=4096, description="width of the embedding of an item's content")
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
