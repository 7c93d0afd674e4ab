"""Section `model` of model.kind=bpr_mf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, PairwiseSection


class BPRMFConfig(PairwiseSection):
    """Matrix factorisation trained with the BPR loss.

    Rendle, Freudenthaler, Gantner and Schmidt-Thieme: BPR: Bayesian personalized ranking from implicit feedback,
    UAI 2009, section 4.3.1.
    """

    # A sparse log of short videos wants a penalty of 3e-2, and has two thirds of its validation Recall@20 with 1e-2; a
    # dense log of films wants 1e-2, and has nine tenths of its own with 3e-2; each has 96% of its best with this one.
    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 2048,
        "training.learning_rate": 1e-2,
        "training.beta": 2e-2,
        "training.epochs": 80.0,
    }

    kind: Literal["bpr_mf"] = "bpr_mf"
    item_bias: bool = Field(True, description="a learned bias of every item, added to its score")
