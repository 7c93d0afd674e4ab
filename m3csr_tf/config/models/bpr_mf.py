"""Section `model` of model.kind=bpr_mf."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import HIDES_THE_POSITIVE, OF_M3CSR_ALONE, RATES, PairwiseSection


class BPRMFConfig(PairwiseSection):
    """Matrix factorisation trained with the BPR loss.

    Rendle, Freudenthaler, Gantner and Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit feedback,
    UAI 2009, section 4.3.1.
    """

    unread: ClassVar[frozenset[str]] = OF_M3CSR_ALONE | RATES | HIDES_THE_POSITIVE

    kind: Literal["bpr_mf"] = "bpr_mf"
    item_bias: bool = Field(True, description="a learned bias of every item, added to its score")
