"""Sections `content`, `clusters`, `popularity`, `history`, `item_graph` and `ials`: what is fitted before a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from m3csr_tf.config.section import Section
from m3csr_tf.util.names import Name


class ContentConfig(Section):
    """Scaling of the content vectors, fitted on the training items."""

    scaling: Literal["none", "rms", "standard", "l2", "standard_l2", "whitened"] = "whitened"
    components: int = Field(256, ge=1, le=65_536, description="most principal axes of a modality that whitening keeps")
    shrinkage: float = Field(
        0.3,
        ge=0,
        le=1e6,
        description="whitening divides by the root of an axis's variance plus this share of the mean one: weak axes "
        "are mostly noise",
    )


class ClustersConfig(Section):
    """K-means cluster ids (section 4.2 of the paper)."""

    kind: Literal["joint", "per_modality"] = "joint"
    count: int = Field(64, ge=1, le=1_000_000)
    max_iterations: int = Field(100, ge=1, le=100_000)
    frozen_from: Name | None = Field(
        None,
        description="a prepared run of run.folder whose scaling, centres and bins are taken instead of fitted, so that "
        "an id means the same from day to day; its weights are not",
    )


class PopularityConfig(Section):
    """Popularity bins that feed the gate (eq. 10); bin 0 means no click or view."""

    source: Literal["train_clicks", "train_weight", "view_count"] = Field(
        "train_clicks", description="train_weight: training clicks by their weights, of which the mean counts as 1"
    )
    bins: int = Field(10, ge=2, le=1000)


class HistoryConfig(Section):
    """A user's behaviour sequence s_u (section 4.4.1).

    For a user with many clicks, new items are ranked two fifths better by 256 of her clicks than by 20, if content
    popularity has less weight for her (docs/journal.md). Training reads fewer clicks, because she is one user of many,
    and drops half of them at every step, so that no history is memorised.
    """

    length: int = Field(
        256,
        ge=1,
        le=10_000,
        description="slots; a longer history keeps its latest, or a seeded draw without timestamps",
    )
    training_length: int = Field(64, ge=1, le=10_000, description="slots while training, of no more than length")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="chance that training leaves a click out of the history, drawn anew at every step"
    )

    @property
    def trained(self) -> int:
        """Number of history slots that training reads."""
        return min(self.length, self.training_length)


class ItemGraphConfig(Section):
    """The item graph (graph/item_graph.py), from which ids may be initialised, and which training may imitate."""

    walks: int = Field(
        3, ge=1, le=100, description="walks of 3, 5, ... steps over users and items are mixed, this many"
    )
    neighbours: int = Field(200, ge=1, le=100_000, description="items that a row keeps after each step")
    popularity_exponent: float = Field(
        -0.2,
        ge=-2,
        le=2,
        description="beta of the first step, by which popular items are held back; below 0 they are favoured, as by "
        "RP3beta's best settings on short videos",
    )
    user_exponent: float = Field(
        1.5,
        ge=-2,
        le=4,
        description="exponent by which busy users are held back in later steps: what they link is far from anybody's "
        "next click",
    )
    content_share: float = Field(0.03, ge=0, lt=1, description="weight of the items of most similar content")
    popularity_share: float = Field(0.06, ge=0, lt=1, description="probability of an item drawn by popularity")


_Confidence = Annotated[float, Field(ge=1e-6, le=1e9)]


class IalsConfig(Section):
    """Implicit ALS, from which ids may be initialised (graph/ials.py)."""

    grid: tuple[tuple[_Confidence, _Confidence], ...] = Field(
        ((5.0, 25.0), (20.0, 60.0), (80.0, 240.0), (320.0, 480.0)),
        min_length=1,
        description="pairs of alpha, the confidence that a click adds, and penalty lambda; validation chooses",
    )
    fold_in: float = Field(
        1.0, ge=1e-6, le=1e6, description="ridge of a user's vector from her items' factors, in lambdas"
    )
    sweeps: int = Field(10, ge=1, le=1000, description="turns over users and items")
    most_items: int = Field(
        50_000,
        ge=0,
        le=10**9,
        description="largest catalogue for which model.id_initialisation=auto and cross_fit take its time",
    )
    most_clicks: int = Field(2_000_000, ge=0, le=10**12, description="largest log for which they do")
