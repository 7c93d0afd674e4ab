"""Section `model` of model.kind=vbpr."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class VBPRConfig(PairwiseSection):
    """Matrix factorisation whose items have a second factor, a linear map of their content; `dim` is that of the ids.

    He and McAuley: VBPR: visual Bayesian personalized ranking from implicit feedback, AAAI 2016, eq. 4.
    """

    kind: Literal["vbpr"] = "vbpr"
    content_dim: int = Field(64, ge=1, le=4096, description="width of the embedding of an item's content")
