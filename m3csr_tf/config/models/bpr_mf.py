"""Section `model` of model.kind=bpr_mf."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class BPRMFConfig(PairwiseSection):
    """Matrix factorisation trained with the BPR loss.

    Rendle, Freudenthaler, Gantner and Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit feedback,
    UAI 2009, section 4.3.1.
    """

    kind: Literal["bpr_mf"] = "bpr_mf"
    item_bias: bool = Field(True, description="a learned bias of every item, added to its score")
