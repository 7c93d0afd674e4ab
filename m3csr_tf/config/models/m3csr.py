"""Section `model` of model.kind=m3csr."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from m3csr_tf.config.initial import InitialConfig
from m3csr_tf.config.models.base import ModelSection


class M3CSRConfig(ModelSection):
    """The two towers (eqs. 1-11) and one switch for each of the paper's ablations (Table 3).

    Initial weights, widths and the rates of TrainingConfig are what ranked warm and pseudo-cold items best, on two
    real logs and on synthetic worlds (docs/results.md, "What the defaults rest on").
    """

    kind: Literal["m3csr"] = "m3csr"
    dim: int = Field(64, ge=2, le=4096, description="d of the paper: user ids, mapped content, cluster ids")
    id_dim: int | None = Field(
        256, ge=2, le=4096, description="width of item ids and of behavioural interests, if it is to be another than d"
    )
    user_hash_rows: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="hash user ids into so many rows of the user table, instead of a row a user",
    )
    item_hash_rows: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="hash the ids of clicked items into so many rows, instead of a row an item",
    )
    width: Literal["full", "half"] = Field("full", description="h_i^m is d + d, or d/2 + d/2 wide (eq. 2)")
    heads: int = Field(1, ge=1, le=4096)
    attention_initialisation: Literal["identity", "xavier"] = Field(
        "identity",
        description="initial W_V and W_O of eqs. 3-4; identity: an interest is the mean of the history; xavier: random",
    )
    id_initialisation: Literal["auto", "ials", "walks", "svd", "xavier"] = Field(
        "auto",
        description="initial e_i^id: item factors of implicit ALS, of random walks over the clicks (item_graph), "
        "singular vectors of the clicks, or random; auto: implicit ALS, singular vectors on a large log",
    )
    new_ids: Literal["content", "shared"] = Field(
        "content",
        description="e^id of an item whose id training has not seen: the shared row of unknown ids, and beside it what "
        "a kernel regression on initial ids predicts from the item's content, or nothing; nothing either where those "
        "are random",
    )
    id_landmarks: int = Field(
        1024,
        ge=1,
        le=10_000,
        description="clicked items with whose content that of a new item is compared to predict its id",
    )
    content_initialisation: Literal["co_clicks", "xavier"] = Field(
        "co_clicks",
        description="initial w_m and clusters of eq. 2, w_int of eq. 5, gate of eq. 10 and weights of content "
        "popularity: estimated from clicks and content, or random; w_int only with attention_initialisation=identity",
    )
    initial: InitialConfig = InitialConfig()
    popularity_bias: bool = Field(
        True, description="what an item's popularity bin and its content say of its popularity, added to its score"
    )
    temperature: float = Field(1.0, ge=1e-4, le=1e4, description="tau of eq. 6")
    intensity_weights: Literal["shared", "per_modality"] = Field(
        "per_modality",
        description="w_int of eq. 5; shared, as printed, the term of h_u cancels in the softmax of eq. 6, and every "
        "modality's interest is measured along the same direction",
    )
    intensity: bool = Field(True, description="off: w/o MIIL, every modality at 1/|M|")
    clusters: bool = Field(True, description="off: w/o Cluster, the mapped content alone")
    gate: bool = Field(True, description="off: w/o Gate, ID and content unweighted")
    orthogonality: bool = Field(True, description="off: w/o L_orth")

    @model_validator(mode="after")
    def _check(self) -> M3CSRConfig:
        if self.width == "half" and self.dim % 2:
            raise ValueError(f"model.width=half needs an even model.dim, got {self.dim}")
        if self.dim % self.heads or self.id_width % self.heads:
            raise ValueError(
                f"model.heads must divide model.dim and model.id_dim, got {self.heads}, {self.dim} and {self.id_dim}"
            )
        if self.id_initialisation in ("auto", "ials", "walks") and self.attention_initialisation != "identity":
            raise ValueError(
                f"model.id_initialisation={self.id_initialisation} needs model.attention_initialisation=identity, "
                f"since it sets W_V and counts on the initial W_O, got {self.attention_initialisation}; or initialise "
                "the ids by svd or xavier"
            )
        return self

    @property
    def id_width(self) -> int:
        """Width of e_i^id and of h_u."""
        return self.dim if self.id_dim is None else self.id_dim

    @property
    def has_popularity_bias(self) -> bool:
        """Whether item vectors have a part for the item's popularity, to which `exposure` adds its bonuses."""
        return self.popularity_bias
