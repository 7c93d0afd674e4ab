"""Sections `data` and `split`: the raw input, and how its interactions become train, val and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from m3csr_tf import columns
from m3csr_tf.config.section import LARGEST_SEED, WITHOUT_DATA, Section
from m3csr_tf.util.names import LONGEST_NAME, is_plain
from m3csr_tf.util.quoting import quoted

_WITHOUT_COLUMNS = ("world", "mmssl", "lightgcn", "mind")
"""Formats whose logs are no tables, or tables of fixed columns."""


class WorldConfig(Section):
    """The synthetic short-video world (data/world.py); the defaults are the demo's."""

    seed: int = Field(
        7, ge=0, le=LARGEST_SEED, description="of the world itself, apart from run.seed: five runs see one world"
    )
    users: int = Field(4000, ge=1, le=100_000_000)
    items: int = Field(2000, ge=2, le=100_000_000)
    clicks: int = Field(80_000, ge=1, le=1_000_000_000)
    modalities: dict[str, Annotated[int, Field(ge=1, le=65_536)]] = Field(
        {"visual": 128, "textual": 96, "acoustic": 64}, min_length=1, description="name: vector width"
    )
    shown: int = Field(
        2000, ge=2, le=100_000, description="of a larger catalogue, a user is shown this many videos, hers alone"
    )
    topics: int = Field(8, ge=1, le=1000, description="topics of each modality")
    topic_spread: float = Field(
        0.2, ge=1e-3, le=1e3, description="Dirichlet concentration of a video's topics; small is sparse"
    )
    taste_spread: float = Field(
        0.3, ge=1e-3, le=1e3, description="Dirichlet concentration of a user's tastes over topics"
    )
    salience_spread: float = Field(1.0, ge=1e-3, le=1e3, description="Dirichlet concentration of a video's modalities")
    intensity_spread: float = Field(0.5, ge=1e-3, le=1e3, description="Dirichlet concentration of a user's modalities")
    scale: float = Field(6.0, ge=0, le=1e6, description="of the utilities, against Gumbel noise of spread 1.28")
    popularity: float = Field(0.6, ge=0, le=1e3, description="spread of the videos' popularity in utility")
    life: float = Field(0.5, ge=1e-6, le=1e6, description="mean life of a video's interest, in lengths of the log")
    activity: float = Field(0.9, ge=0, le=10, description="spread of log(clicks of a user)")
    nuisance: float = Field(
        2.0, ge=0, le=1e6, description="directions of a vector that carry no taste, relative to the signal"
    )
    noise: float = Field(0.6, ge=0, le=1e6, description="noise in every entry of a vector, relative to the signal")
    missing: float = Field(0.02, ge=0, lt=1, description="share of vectors that are missing")

    @model_validator(mode="after")
    def _check(self) -> WorldConfig:
        most = self.users * max(1, min(self.items, self.shown) // 4)
        if not self.users <= self.clicks <= most:
            raise ValueError(
                "data.world.clicks must lie between one a user and a quarter of the videos that all users are shown "
                f"({self.users} to {most}), got {self.clicks}"
            )
        return self


class DataConfig(Section):
    """Where the raw input comes from (docs/data.md)."""

    format: Literal["world", "table", "mmssl", "mmrec", "movielens", "recbole", "lightgcn", "mind"] = "world"
    path: Path | None = None
    modalities: dict[str, str] = Field(
        default_factory=dict,
        description="modality: its column in the catalogue (emb, emb_* or emb:float32[64]) or its .npy file",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="what the files call a column, e.g. {user_id: userId, item_id: movieId, timestamp: ts}",
    )
    where: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description='interactions that count, those that satisfy all, e.g. {is_click: 1, rating: ">=4"}; columns as '
        "the file calls them",
    )
    item_lists: bool = Field(
        False, description="a cell of item_id holds several ids with spaces between them, each a click of its own"
    )
    in_memory_rows: int = Field(
        20_000_000,
        ge=0,
        le=10**12,
        description="a table of more interactions is prepared in parts of users, on the disk",
    )
    shard_clicks: int = Field(
        2_000_000, ge=1, le=10**9, description="training clicks of a shard of the prepared data; a user's stay together"
    )
    inter_file: str | None = Field(None, description="mmrec, recbole: the .inter file, when the folder has several")
    world: WorldConfig = WorldConfig()

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> DataConfig:
        if self.format != "world" and not (info.context or {}).get(WITHOUT_DATA):
            if self.path is None:
                raise ValueError(f"data.path is needed for data.format={self.format}: give the folder of the logs")
            if not self.modalities:
                raise ValueError("data.modalities is empty: name at least one, as modality: column or file")
        if self.format in _WITHOUT_COLUMNS:
            for name, given in (("columns", self.columns), ("where", self.where), ("item_lists", self.item_lists)):
                if given:
                    raise ValueError(
                        f"data.{name} is set, but the files of data.format={self.format} have no such columns"
                    )
        unknown = [name for name in self.columns if name not in columns.INPUT_COLUMNS]
        if unknown:
            raise ValueError(
                f"data.columns maps {quoted(unknown[0])}; expected one of {', '.join(columns.INPUT_COLUMNS)} on the "
                "left, and on the right what the file calls them"
            )
        places = list(self.modalities.values())
        taken = [place for place in places if places.count(place) > 1 or place in columns.CATALOGUE_COLUMNS]
        if taken:
            raise ValueError(
                f"data.modalities: {quoted(taken[0])} must hold the vectors of one modality and nothing else"
            )
        for name in self.modality_names:
            plain = is_plain(name) and name.isidentifier()
            if not plain or name in columns.RESERVED_MODALITIES:
                raise ValueError(
                    f"data.modalities: {quoted(name)} cannot name a modality; use a plain word of at most "
                    f"{LONGEST_NAME} letters that is no column name"
                )
        return self

    @property
    def modality_names(self) -> list[str]:
        """Names of the modalities, in the order in which vectors are laid out."""
        return list(self.world.modalities if self.format == "world" else self.modalities)


class SplitConfig(Section):
    """How interactions become train, val and test."""

    kind: Literal["auto", "given", "time", "random"] = Field(
        "auto", description="auto: given where the data has a split, else time where it has times, else random"
    )
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    validation_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of each user's training clicks that are validation, where the data give train and test "
        "alone, as LightGCN's files do",
    )
    cold_share: float = Field(0.0, ge=0, lt=1, description="share of the items drawn as strictly cold")
    cold_file: Path | None = Field(None, description="a JSON list of the strictly cold item ids, instead of a draw")
    cold_validation: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the interactions with strictly cold items that validation gets, the rest being test; 0.5 "
        "for the split of papers on cold start",
    )
    seed: int = Field(
        0, ge=0, le=LARGEST_SEED, description="of the split itself, apart from run.seed: every run sees one split"
    )
    pseudo_cold_share: float = Field(
        0.0, ge=0, lt=1, description="share of the trained items that play cold in validation; for choosing settings"
    )
    pseudo_cold_seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of the draw of pseudo-cold items")

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        if min(self.ratios) <= 0 or abs(sum(self.ratios) - 1) > 1e-6:
            raise ValueError(f"split.ratios must be three positive shares that sum to 1, got {list(self.ratios)}")
        if self.cold_validation and not (self.cold_share or self.cold_file):
            raise ValueError(
                f"split.cold_validation={self.cold_validation} shares out the clicks of strictly cold items, of which "
                "there are none; set split.cold_share or split.cold_file too, or split.cold_validation=0"
            )
        if self.cold_share and self.cold_file:
            raise ValueError(
                "split.cold_share and split.cold_file are both set: draw the cold items or read them, not both"
            )
        return self
