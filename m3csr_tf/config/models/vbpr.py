"""Section `model` of model.kind=vbpr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, PairwiseSection


class VBPRConfig(PairwiseSection):
    """Matrix factorisation whose items have a second factor, a linear map of their content; `dim` is that of the ids.

    He and McAuley: VBPR: visual Bayesian personalized ranking from implicit feedback, AAAI 2016, eq. 4.

    The recipe draws users evenly, as the authors' code does.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.positives": "per_user",
        "training.beta": 1e-2,
        "training.learning_rate": 1e-3,
        "training.content_rate": 0.3,
        "training.averaging": 0.95,
        "training.epochs": 60.0,
    }

    kind: Literal["vbpr"] = "vbpr"
    content_dim: int = Field(64, ge=1, le=4096, description="width of the embedding of an item's content")
