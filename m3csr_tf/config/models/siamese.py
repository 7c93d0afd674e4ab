"""Section `model` of model.kind=siamese."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import OF_M3CSR_ALONE, PAIRWISE_RECIPE, RATES, PairwiseSection


class SiameseConfig(PairwiseSection):
    """One content network for users and items, without any ids; `dim` is the width of its output.

    An item is the concatenation of its content vectors; a user is the mean of the items of her history, through the
    same network. The rival "Siamese" of section 5.1 of the M3CSR paper (RecSys 2024), as it is described there.

    The paper does not say what it is trained by. The recipe is a softmax over sampled negatives, with users drawn
    evenly.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.loss": "softmax",
        "training.positives": "per_user",
        "training.learning_rate": 3e-3,
        "training.schedule": "cosine",
        "training.averaging": 0.98,
        "training.batch_size": 512,
        "training.epochs": 14.0,
        "negatives.kind": "shared",
        "negatives.count": 256,
        "negatives.whole_pool": 0,
    }

    unread: ClassVar[frozenset[str]] = OF_M3CSR_ALONE | RATES

    kind: Literal["siamese"] = "siamese"
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        (256,), max_length=8, description="widths of the hidden layers of the content network; none makes it linear"
    )
    normalised: bool = Field(True, description="bring the network's output to length 1, so that a score is a cosine")
    temperature: float = Field(
        0.1, ge=1e-4, le=1e4, description="training divides scores by it; no list changes by that"
    )
    content_popularity: bool = Field(
        True,
        description="a linear output of the network's hidden layer, what content says of popularity, in every score",
    )
