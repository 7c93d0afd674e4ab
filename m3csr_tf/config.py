"""One frozen, validated tree of all that a run is: YAML in, dotted overrides, resolved YAML out.

The only place with defaults. A section a class; checks that span sections are on `Config`.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo

from m3csr_tf import columns
from m3csr_tf.errors import ConfigError
from m3csr_tf.util.documents import WrittenFloat, WrittenInt, dump_yaml, parse_yaml
from m3csr_tf.util.files import regular
from m3csr_tf.util.hidden import HIDDEN, is_secret, without_password
from m3csr_tf.util.names import LONGEST_NAME, Name, is_plain
from m3csr_tf.util.quoting import is_utf8, printable, quoted
from m3csr_tf.util.typed import as_meant, kinds, word_for

END_OF_YAML = "...\n"
"""How YAML says that a document is complete: what a full disk has cut may be valid settings as well."""
LARGEST_SEED = 2**32 - 1
"""What numpy's and scikit-learn's generators take."""

LONGEST_LIST = 100_000
"""Places of a list; some more than anyone ranks anew."""

_OF_RELEASE = "of_release"
"""In the context of a validation: whether the settings are for a verb that opens no data."""

_MOST_PROBLEMS = 5
"""Problems of a configuration that its message names."""
_OF_SPARK = re.compile(r"\s*spark\b[\w.]*")
"""What an override begins with that may hold a secret: all that may be shown of it."""


def _as_spark_says(value: Any) -> Any:
    """A setting of Spark as text: true, not True."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


_WITHOUT_COLUMNS = ("world", "mmssl", "lightgcn", "mind")
"""Formats whose logs are no tables, or tables of fixed columns."""


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values cannot change after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        annotation: Any = cls.model_fields[str(info.field_name)].annotation
        return as_meant(value, kinds(annotation))


class RunConfig(Section):
    """What a run is called and where it lies."""

    name: Name = "run"
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    overwrite: bool = Field(False, description="replace a run of the same name that has another configuration")
    folder: Path = Field(Path("runs"), description="the run lies in <folder>/<name>/")
    release_folder: Path = Field(
        Path("saved_models"), description="its release lies in <release_folder>/<release_name>/"
    )
    release_name: Name | None = Field(
        None, description="the release that it makes a version of; without one, its own, called as the run"
    )
    threads: int = Field(0, ge=0, le=4096, description="threads of TensorFlow's kernels; 0 takes every core")
    deterministic: bool = Field(False, description="TensorFlow's op determinism: the same numbers, bit for bit")
    strategy: Literal["one_device", "mirrored", "multi_worker"] = Field(
        "one_device",
        description="what shares a training batch: nothing, the GPUs of a machine, the workers of TF_CONFIG "
        "(docs/distributed.md)",
    )
    replicas: int | None = Field(
        None, ge=1, le=1024, description="of run.strategy=mirrored: GPUs, all without a number; or parts of the CPU"
    )


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
        if self.format != "world" and not (info.context or {}).get(_OF_RELEASE):
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
    cold_share: float = Field(0.0, ge=0, lt=1, description="share of the items drawn as strictly cold")
    cold_file: Path | None = Field(None, description="a JSON list of the strictly cold item ids, instead of a draw")
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
        if self.cold_share and self.cold_file:
            raise ValueError(
                "split.cold_share and split.cold_file are both set: draw the cold items or read them, not both"
            )
        return self


class ContentConfig(Section):
    """Scaling of the content vectors, fitted on the training items."""

    scaling: Literal["none", "rms", "standard", "l2", "standard_l2", "whitened"] = "whitened"
    components: int = Field(256, ge=1, le=65_536, description="most principal axes of a modality that whitening keeps")


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

    source: Literal["train_clicks", "view_count"] = "train_clicks"
    bins: int = Field(10, ge=2, le=1000)


class HistoryConfig(Section):
    """A user's behaviour sequence s_u (section 4.4.1).

    New items are ranked for a heavy user two fifths better by 256 of her clicks than by 20, once what content says of
    popularity counts less for her (docs/journal.md). Training reads fewer, for she is one user of many, and leaves
    half of those out at every step, so that no list of clicks is learned by heart.
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
        """Slots of a history that training reads."""
        return min(self.length, self.training_length)


class AffinitiesConfig(Section):
    """Which items go together (graph/item_graph.py): where ids start, and what training may imitate."""

    walks: int = Field(
        3, ge=1, le=100, description="walks of 3, 5, ... steps over users and items are mixed, this many"
    )
    neighbours: int = Field(200, ge=1, le=100_000, description="items that a row keeps after each step")
    similar: float = Field(0.03, ge=0, lt=1, description="share of the items of most similar content")
    popular: float = Field(0.06, ge=0, lt=1, description="share of popularity")


_Confidence = Annotated[float, Field(ge=1e-6, le=1e9)]


class IalsConfig(Section):
    """Implicit ALS, where ids may start from (graph/ials.py)."""

    grid: tuple[tuple[_Confidence, _Confidence], ...] = Field(
        ((5.0, 25.0), (20.0, 60.0), (80.0, 240.0), (320.0, 480.0)),
        min_length=1,
        description="pairs of alpha, the confidence that a click adds, and penalty lambda; validation chooses",
    )
    fold_in: float = Field(
        1.0, ge=1e-6, le=1e6, description="ridge of a user's vector from her items' factors, in lambdas"
    )
    sweeps: int = Field(10, ge=1, le=1000, description="turns over users and items")


class ModelConfig(Section):
    """The two towers (eqs. 1-11) and one switch for each of the paper's ablations (Table 3).

    Starts, widths and the rates of TrainingConfig are what ranked warm and pseudo-cold items best, on two real logs and
    on synthetic worlds (docs/results.md, "What the defaults rest on").
    """

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
    attention_start: Literal["identity", "xavier"] = Field(
        "identity", description="W_V and W_O of eqs. 3-4: an interest starts as the mean of the history, or anywhere"
    )
    id_start: Literal["auto", "ials", "walks", "svd", "xavier"] = Field(
        "auto",
        description="e_i^id: from the item factors of implicit ALS, from random walks over the clicks, from their "
        "singular vectors, or at random; auto: implicit ALS, singular vectors on a large log",
    )
    new_ids: Literal["content", "shared"] = Field(
        "content",
        description="e^id of an item whose id training has not seen: the shared row of unknown ids, and beside it what "
        "a linear map makes of the item's content, or nothing",
    )
    content_start: Literal["co_clicks", "xavier"] = Field(
        "co_clicks",
        description="w_m and clusters of eq. 2, w_int of eq. 5, the gate of eq. 10 and what content says of "
        "popularity: from clicks and content, or at random; w_int only with attention_start=identity",
    )
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
    def _check(self) -> ModelConfig:
        if self.width == "half" and self.dim % 2:
            raise ValueError(f"model.width=half needs an even model.dim, got {self.dim}")
        if self.dim % self.heads or self.id_width % self.heads:
            raise ValueError(
                f"model.heads must divide model.dim and model.id_dim, got {self.heads}, {self.dim} and {self.id_dim}"
            )
        if self.id_start in ("auto", "ials", "walks") and self.attention_start != "identity":
            raise ValueError(
                f"model.id_start={self.id_start} needs model.attention_start=identity, since it sets W_V and counts "
                f"on W_O as it starts, got {self.attention_start}; or start the ids by svd or xavier"
            )
        return self

    @property
    def id_width(self) -> int:
        """Width of e_i^id and of h_u."""
        return self.dim if self.id_dim is None else self.id_dim


class NegativesConfig(Section):
    """The candidates that a positive is compared with."""

    kind: Literal["uniform", "shared", "in_batch"] = Field(
        "shared",
        description="one uniform a positive; many that the batch shares; the batch's other positives with logQ",
    )
    count: int = Field(512, ge=1, le=100_000, description="negatives of kind=shared, where they are drawn")
    whole_pool: int = Field(
        8192,
        ge=0,
        le=1_000_000,
        description="a pool of at most so many items is shared whole, so that the softmax is over all of them; 0 "
        "always draws",
    )
    pool: Literal["clicked", "catalogue"] = Field("clicked", description="items with a training click, or all")


class TrainingConfig(Section):
    """The objective (eqs. 12-13), the optimizer and the loop."""

    loss: Literal["bpr", "softmax"] = "softmax"
    bpr_weighting: Literal["uniform", "softmax"] = Field(
        "softmax", description="how the negatives of one positive are averaged: evenly, or by softmax of their scores"
    )
    positives: Literal["per_interaction", "per_user"] = "per_user"
    walk_positives: float = Field(
        0.0, ge=0, le=1, description="share of the positives that walks lead to instead of clicks (affinities)"
    )
    history_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="training multiplies the scores of a user with n clicks in the history by n to this power: the "
        "inverse temperature of the softmax; no list of hers changes by it",
    )
    mask_target: bool = Field(True, description="take the positive out of the history that predicts it")
    cold_items: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of the candidates shown as new: no id, and the gate looks at popularity bin 0",
    )
    cold_users: float = Field(0.8, ge=0, le=1, description="share of the users shown as unknown")
    alpha: float = Field(1e-6, ge=0, le=1e6, description="weight of the orthogonality loss, a mean over the batch")
    beta: float = Field(0.1, ge=0, le=1e6, description="weight decay of the batch's rows and the dense weights")
    batch_size: int = Field(1024, ge=2, le=262_144)
    window_clicks: int = Field(
        20_000_000,
        ge=1,
        le=10**12,
        description="training clicks held in memory; of a larger log, some shards at a time",
    )
    learning_rate: float = Field(3e-3, gt=0, le=1e3)
    content_rate: float = Field(
        0.3, ge=0, le=1, description="share of the learning rate for the maps of content; 0 keeps them as they start"
    )
    id_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the learning rate for item ids (without cross_fit), the maps that predict those of new "
        "items, and their W_V and W_O; 0 keeps them",
    )
    cross_fit: int = Field(
        5,
        ge=0,
        le=20,
        description="parts of the users: the examples of each part are trained with item ids that the clicks of the "
        "other users alone place, and those of the model stay as they start; for ids that start from implicit ALS, are "
        "not hashed, and logs of up to two million clicks and 50,000 items; 0: with the ids of the model, which know "
        "the clicks",
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="cosine: the learning rate falls to zero at the last step"
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="passes over the training clicks, so many examples each; without a number, as many as their count "
        "asks for (training/budget.py)",
    )
    max_steps: int | None = Field(None, ge=1, le=1_000_000_000, description="steps, instead of epochs")
    evaluate_every: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="steps between validations; without a number, a twentieth of all, at least 25",
    )
    validation_users: int = Field(
        20_000,
        ge=1,
        le=1_000_000_000,
        description="users whom a validation ranks items for, at most; a seeded draw, of as many as take a fifth of "
        "the time, but 1,000 at least",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="steps without a better validation Recall@20 before stopping; without a number, half of all",
    )
    min_delta: float = Field(
        0.01,
        ge=0,
        le=10,
        description="least share by which validation Recall@20 must rise for a later step to be better: of steps that "
        "validation can hardly tell apart the earliest has moved least from what was known of new items",
    )
    averaging: float = Field(
        0.98, ge=0, lt=1, description="decay a step of the averaged weights (EMA); 0 switches it off"
    )
    warm_start: Name | None = Field(
        None, description="a finished run of run.folder to go on from: its weights, scaling, clusters and bins"
    )

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.cross_fit == 1:
            raise ValueError("training.cross_fit must be 0 or at least 2, got 1: one part would leave no other users")
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(
                "training.epochs and training.max_steps are both set and both say how long to train, got "
                f"{self.epochs:g} and {self.max_steps}; pass training.max_steps=null to train for epochs, or "
                "training.epochs=null for steps"
            )
        return self


BaselineName = Literal[
    "popularity",
    "random",
    "item_knn",
    "user_knn",
    "rp3beta",
    "rp3beta_content",
    "ease",
    "ials",
    "content_knn",
    "ridge",
    "ridge_ials",
    "truth",
]


class EvaluationConfig(Section):
    """Full-ranking evaluation."""

    top_n: tuple[int, ...] = (10, 20, 50)
    users: Annotated[int, Field(ge=1)] | Literal["auto", "all"] | None = Field(
        "auto",
        description="so many users of a split at most, a draw that is the same for every run; auto: 20,000, and fewer, "
        "down to 2,000, where the catalogue has more than 100,000 items; all, or null: all of them",
    )
    block: int = Field(1024, ge=1, le=262_144, description="users ranked at once, rounded up to 256 a thread")
    bootstrap: int = Field(
        1000, ge=0, le=100_000, description="resamples of the confidence intervals; 0 leaves them out"
    )
    baselines: Literal["tuned"] | tuple[BaselineName, ...] | None = Field(
        None,
        description="evaluated on the same users, each tuned on validation or on pseudo-cold items; tuned: all that "
        "apply; without a word, tuned for seeds and suite, popularity and random for other verbs; truth: the synthetic "
        "world's own utilities",
    )

    @field_validator("top_n")
    @classmethod
    def _has_twenty(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= n <= LONGEST_LIST for n in value) or 20 not in value:
            raise ValueError(
                f"evaluation.top_n must be numbers from 1 to {LONGEST_LIST:,} and contain 20, got {quoted(list(value))}"
            )
        return tuple(sorted(set(value)))


def _share(value: Any) -> Any:
    """A share of the places, or a word for one; 0, which would hide every new item, is more likely meant as none."""
    if value in ("catalogue", "trained") or (type(value) in (int, float) and 0 < value < 1):
        return value
    raise ValueError(
        "exposure.cold_share must be catalogue, trained (which adds nothing) or a share above 0 and below 1, "
        f"got {quoted(value)}"
    )


class ExposureConfig(Section):
    """How often items without a click, or with few, are shown: set after training, through the item vectors alone."""

    cold_share: Annotated[Literal["catalogue", "trained"] | float, BeforeValidator(_share)] = Field(
        "catalogue",
        description="share of the top-20 places that items without a click take; catalogue: their share of the items, "
        "a fifth at most, or as much of it as exposure.most_loss allows; trained: as training has left them, and "
        "nothing is added to those with few clicks",
    )
    most_loss: float = Field(
        0.01,
        ge=0,
        le=1,
        description="with cold_share=catalogue, the share of validation Recall@20 and NDCG@20 that the places of new "
        "items and of those with few clicks may cost; both shares are halved until they cost no more, four times at "
        "most; not where the split has strictly cold items, whose clicks validation lacks",
    )
    few_share: float = Field(
        0.05,
        ge=0,
        lt=1,
        description="least share of the places that items with few clicks take (of the popularity bins up to 4 clicks, "
        "at least the first), but no more than theirs of the items; 0 adds nothing",
    )
    users: int = Field(4000, ge=1, le=10_000_000, description="users sampled to calibrate them")

    @model_validator(mode="after")
    def _check(self) -> ExposureConfig:
        if not isinstance(self.cold_share, str) and self.cold_share + self.few_share >= 1:
            raise ValueError(
                "exposure.cold_share and exposure.few_share must leave places to other items, so be below 1 together, "
                f"got {self.cold_share} and {self.few_share}"
            )
        return self

    @property
    def added(self) -> dict[str, Any]:
        """The shares that are asked for, as metrics and manifests say it."""
        return {"cold_share": self.cold_share, "few_share": 0.0 if self.cold_share == "trained" else self.few_share}


class IndexConfig(Section):
    """The ScaNN index over the item vectors."""

    kind: Literal["auto", "exact", "tree"] = Field("auto", description="auto: exact search up to exact_below items")
    exact_below: int = Field(20_000, ge=1, le=1_000_000_000)
    recall: float = Field(0.98, gt=0, le=1, description="recall against exact search that a tree must reach")
    recall_at: int = Field(100, ge=1, le=10_000, description="how many nearest items that recall looks at")
    max_leaves_to_search: int | None = Field(
        None, ge=1, description="leaves of a tree that a search may look into; without one, as many as it takes"
    )


class JobConfig(Section):
    """What all batch jobs have in common."""

    section: ClassVar[str]

    engine: Literal["local", "spark"] = Field(
        "local", description="local: this process makes the parts; spark: Spark's workers make the same (section spark)"
    )
    overwrite: bool = Field(False, description="make the output again even if it is there")
    batch_size: int = Field(
        4096, ge=1, le=1_000_000, description="users or items at once, at most; fewer where they have much"
    )
    shard: str = Field(
        "1/1",
        coerce_numbers_to_str=True,
        description="i/n: of n processes or machines that share the job, this is the i-th",
    )

    @field_validator("shard")
    @classmethod
    def _is_one_of_several(cls, value: str) -> str:
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value)
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"{cls.section}.shard must be i/n with i from 1 to n, e.g. 2/3, got {quoted(value)}")
        return value

    @property
    def shard_of(self) -> tuple[int, int]:
        """`shard` as (i, n)."""
        one, of = self.shard.split("/")
        return int(one), int(of)

    @property
    @abstractmethod
    def part_size(self) -> int:
        """Users or items of a part."""


class EmbedConfig(JobConfig):
    """The batch job that embeds items: a catalogue in, item vectors out."""

    section: ClassVar[str] = "embed"

    items: Path | None = Field(
        None, description="catalogue of the items (.parquet, .csv, a folder of parts); without one, the release's items"
    )
    output: Path | None = Field(
        None, description="link to the folder of parquet parts; without one, <run folder>/item_vectors"
    )
    shard_items: int = Field(
        50_000, ge=1, le=1_000_000_000, description="items of a part; a job that died goes on at the part it was at"
    )

    @property
    def part_size(self) -> int:
        """Items of a part."""
        return self.shard_items


class RetrieveConfig(JobConfig):
    """The batch job: users in, top-N lists out."""

    section: ClassVar[str] = "retrieve"

    users: Path | None = Field(
        None, description="users file (docs/batch.md); without one, the users of the prepared data"
    )
    output: Path | None = Field(
        None, description="link to the folder of parquet parts; without one, <run folder>/top_n"
    )
    top_n: int = Field(20, ge=1, le=LONGEST_LIST)
    shard_users: int = Field(
        20_000, ge=1, le=1_000_000_000, description="users of a part; a job that died goes on at the part it was at"
    )
    block: Path | None = Field(None, description="file of item ids that are in no list (.txt, .csv, .parquet)")
    allow: Path | None = Field(None, description="file of the only item ids that may be in a list")
    only: Literal["all", "cold"] = Field("all", description="cold: items without clicks, and no others")
    cold_quota: float = Field(
        0.0, ge=0, le=1, description="least share of a list that items without clicks take, the best of them"
    )

    @property
    def part_size(self) -> int:
        """Users of a part."""
        return self.shard_users


class SparkConfig(Section):
    """The Spark that batch jobs run on, where their engine is spark."""

    master: str | None = Field(
        None,
        description="its address, or local[N] or local-cluster[N,CORES,MIB] on this machine; without one, that of "
        "spark-submit or spark-defaults.conf, else local[*]",
    )
    conf: dict[str, Annotated[str, BeforeValidator(_as_spark_says)]] = Field(
        default_factory=dict,
        description="further settings of Spark, e.g. {spark.executor.memory: 8g}; what looks like a secret, "
        "password, token or key is *** in the run's config.yaml",
    )

    @field_validator("conf")
    @classmethod
    def _is_spark_s(cls, value: dict[str, str]) -> dict[str, str]:
        others = [name for name in value if not name.startswith("spark.")]
        if others:
            raise ValueError(
                f"spark.conf holds {printable(others[0])[:LONGEST_NAME]}, which Spark would ignore; its settings begin "
                "with spark., e.g. spark.executor.memory"
            )
        return value


class Config(Section):
    """The whole tree."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    content: ContentConfig = ContentConfig()
    clusters: ClustersConfig = ClustersConfig()
    popularity: PopularityConfig = PopularityConfig()
    history: HistoryConfig = HistoryConfig()
    affinities: AffinitiesConfig = AffinitiesConfig()
    ials: IalsConfig = IalsConfig()
    model: ModelConfig = ModelConfig()
    negatives: NegativesConfig = NegativesConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    exposure: ExposureConfig = ExposureConfig()
    index: IndexConfig = IndexConfig()
    embed: EmbedConfig = EmbedConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    spark: SparkConfig = SparkConfig()

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.negatives.kind == "in_batch" and self.training.walk_positives:
            raise ValueError(
                "negatives.kind=in_batch needs training.walk_positives=0, since its logQ correction knows the chances "
                f"of clicks alone, got {self.training.walk_positives}"
            )
        if self.exposure.cold_share != "trained" and not self.model.popularity_bias:
            raise ValueError(
                "exposure.cold_share needs model.popularity_bias=true, since it is set in that part of the vectors, "
                f"got {self.exposure.cold_share}; or pass exposure.cold_share=trained"
            )
        if self.training.warm_start == self.run.name:
            raise ValueError(
                f"training.warm_start and run.name are both {self.run.name!r}: a run starts from another one; "
                "give this run a name of its own"
            )
        if self.clusters.frozen_from == self.run.name:
            raise ValueError(
                f"clusters.frozen_from and run.name are both {self.run.name!r}: a run takes another one's centres; "
                "give this run a name of its own"
            )
        if self.clusters.frozen_from is not None and self.training.warm_start is not None:
            raise ValueError(
                f"training.warm_start={self.training.warm_start} takes that run's centres already; pass "
                f"clusters.frozen_from=null, got {self.clusters.frozen_from}"
            )
        return self

    @property
    def run_folder(self) -> Path:
        """Where the run's config, logs, checkpoints and metrics lie."""
        return self.run.folder / self.run.name

    @property
    def release_folder(self) -> Path:
        """Where the run's towers and index lie."""
        return self.run.release_folder / (self.run.release_name or self.run.name)

    @property
    def warm_start_folder(self) -> Path | None:
        """Where the run lies that this one starts from."""
        return None if self.training.warm_start is None else self.run.folder / self.training.warm_start

    def to_yaml(self) -> str:
        """The resolved tree, every default spelled out; `load` reads it back to an equal tree but for Spark's secrets.

        They are `***`: the file lies in the run's folder, for all who may read it.
        """
        tree = self.model_dump(mode="json")
        tree["spark"]["conf"] = {
            name: HIDDEN if is_secret(name, value) else value for name, value in tree["spark"]["conf"].items()
        }
        if self.spark.master is not None:
            tree["spark"]["master"] = without_password(self.spark.master)
        return f"{dump_yaml(tree)}{END_OF_YAML}"

    def fingerprint(self, *sections: str) -> str:
        """SHA-256 of the named sections, hex; with none named, of all that the trained weights depend on."""
        tree = self.model_dump(mode="json")
        chosen = {name: tree[name] for name in sections or TRAINING_SECTIONS}
        if not sections:
            chosen["run"] = {key: tree["run"][key] for key in RUN_IDENTITY}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


PREPARE_SECTIONS = ("data", "split", "content", "clusters", "popularity")
"""The sections that the prepared folder depends on."""
TRAINING_SECTIONS = (*PREPARE_SECTIONS, "history", "affinities", "ials", "model", "negatives", "training")
"""The sections that the trained weights depend on."""
RUN_IDENTITY = ("seed", "deterministic")
"""The settings of section run that the trained weights depend on."""


def load(path: Path | None, overrides: Sequence[str] = (), *, of_release: bool = False) -> Config:
    """Reads a YAML file and applies dotted overrides, e.g. `run.seed=3`; values are YAML.

    Args:
      path: the file; all defaults when None.
      overrides: the last one of a setting counts.
      of_release: it is for a verb that opens a release, which need not say where data lie.

    Raises:
      ConfigError: the file is missing or no mapping, or a setting is unknown, mistyped or contradictory.
    """
    tree = {} if path is None else read_mapping(path, "configuration", "--config", "of sections")
    return _validated(tree, overrides, path, of_release)


def read_mapping(path: Path, what: str, option: str, holds: str) -> dict[str, Any]:
    """A YAML file of settings as it stands; an empty one is an empty mapping.

    Args:
      path: the file.
      what, option, holds: what it is, the option that names it, and "of" or "with" what it is a mapping, for messages.

    Raises:
      ConfigError: the file is missing, no YAML (`documents.parse_yaml`), or no mapping.
    """
    try:
        tree = parse_yaml(regular(Path(path)).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the {what} ({error.strerror or error}); check {option}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not valid YAML (it is not UTF-8 text)") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping {holds}, got {_kind(tree)}")
    return tree


def with_settings(config: Config, settings: Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """A configuration with some settings, dotted name -> value, and then dotted overrides, in place of its own.

    Raises:
      ConfigError: a setting is unknown, mistyped, or contradicts another.
    """
    tree = config.model_dump(mode="json")
    for name, value in settings.items():
        _put(tree, name.split("."), value, name)
    return _validated(tree, overrides, None)


def _validated(tree: dict[str, Any], overrides: Sequence[str], path: Path | None, of_release: bool = False) -> Config:
    given: dict[str, tuple[str, Any]] = {}
    for override in overrides:
        key, value = _read(override)
        given[key] = override, value
        _put(tree, key.split("."), deepcopy(value), override)
    for key, (override, value) in given.items():
        if not _holds(_found(tree, key.split(".")), value):
            raise ConfigError(f"override {_shown(override)}: another override says otherwise; give the setting once")
    try:
        return Config.model_validate(tree, context={_OF_RELEASE: of_release})
    except ValidationError as error:
        raise ConfigError(_describe(error, path)) from None


def described() -> list[tuple[str, str, str]]:
    """Every setting as (dotted name, default, choices or range, and meaning)."""
    return _described("", Config())


def _described(prefix: str, section: Section) -> list[tuple[str, str, str]]:
    rows = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            rows += _described(f"{prefix}{name}.", value)
            continue
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        meaning = "; ".join(filter(None, [" | ".join(map(str, choices)), _range(field), field.description or ""]))
        default = json.dumps(section.model_dump(mode="json")[name])
        rows.append((f"{prefix}{name}", default, meaning))
    return rows


def _range(field: FieldInfo) -> str:
    """The numbers that a setting takes, in words."""
    words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
    ends = [(words[end], getattr(one, end)) for one in field.metadata for end in words if hasattr(one, end)]
    return " ".join(f"{word} {value:,}" if isinstance(value, int) else f"{word} {value:g}" for word, value in ends)


def _read(override: str) -> tuple[str, Any]:
    """The dotted name and the value of an override."""
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) < 2:
        raise ConfigError(f"override {_shown(override)}: expected section.name=value, e.g. run.seed=3")
    if not is_utf8(override):
        raise ConfigError(f"override {_shown(override)}: it is no UTF-8; give names and paths in UTF-8")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(
            f"override {_shown(override)}: the value is not valid YAML ({error}); quote it if it is text"
        ) from None
    return key, word_for(text, value, _annotation(parts))


def _shown(override: str) -> str:
    """An override as it stands in messages; what may be a secret of Spark's does not."""
    name = _OF_SPARK.match(override)
    return quoted(f"{name[0]}={HIDDEN}" if name else override)


def _annotation(parts: list[str]) -> Any:
    """What a setting may be; of an unknown one, anything."""
    found: Any = Config
    for part in parts:
        if not (isinstance(found, type) and issubclass(found, Section) and part in found.model_fields):
            return object
        found = found.model_fields[part].annotation
    return found


def _put(tree: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    for part in parts[:-1]:
        child = tree.get(part)
        if child is None:
            child = tree[part] = {}
        if not isinstance(child, dict):
            raise ConfigError(
                f"override {_shown(override)}: {quoted(part)} is a single value and has no settings of its own"
            )
        tree = child
    tree[parts[-1]] = value


def _found(tree: Any, parts: list[str]) -> Any:
    for part in parts:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _holds(found: Any, value: Any) -> bool:
    """Whether all that an override says is found in the tree."""
    if isinstance(value, dict) and isinstance(found, dict):
        return all(key in found and _holds(found[key], part) for key, part in value.items())
    return type(found) is type(value) and found == value


def _kind(value: Any) -> str:
    """What a value of YAML is called."""
    return {WrittenInt: "int", WrittenFloat: "float"}.get(type(value), type(value).__name__)


_CONDITION = 'one number, true or false, or text, perhaps with a comparison, e.g. ">=4"'


def _describe(error: ValidationError, path: Path | None) -> str:
    where = f"{path}: " if path else ""
    lines: list[str] = []
    problems = error.errors(include_url=False)
    for problem in problems[:_MOST_PROBLEMS]:
        if problem["loc"][:2] == ("data", "where") and len(problem["loc"]) > 2:
            # One of several kinds: each would complain.
            line = f"data.where.{printable(str(problem['loc'][2])[:LONGEST_NAME])}: expected {_CONDITION}, got "
            lines.extend({line + quoted(problem["input"])} - set(lines))
            continue
        field = printable(".".join(str(part)[:LONGEST_NAME] for part in problem["loc"]))
        if problem["type"] == "extra_forbidden":
            nested = "." in str(problem["loc"][-1])
            advice = "write section and name on two levels" if nested else "`m3csr settings` lists all"
            lines.append(f"unknown setting {field}; {advice}")
        elif problem["type"] == "value_error":
            lines.append(str(problem["ctx"]["error"]))
        elif problem["loc"][:1] == ("spark",):  # What was given may be a secret.
            lines.append(f"{field}: {problem['msg']}")
        else:
            lines.append(f"{field}: {problem['msg']}, got {quoted(problem['input'])}")
    if len(problems) > _MOST_PROBLEMS:
        lines.append(f"and {len(problems) - _MOST_PROBLEMS:,} more")
    return where + "; ".join(lines)
