"""Section `model` of model.kind=siamese."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from m3csr_tf.config.models.base import PairwiseSection


class SiameseConfig(PairwiseSection):
    """One content network for users and items, without any ids; `dim` is the width of its output.

    An item is the concatenation of its content vectors; a user is the mean of the items of her history, through the
    same network. The rival "Siamese" of section 5.1 of the M3CSR paper (RecSys 2024), as it is described there.
    """

    kind: Literal["siamese"] = "siamese"
    hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = Field(
        (256,), max_length=8, description="widths of the hidden layers of the content network; none makes it linear"
    )
