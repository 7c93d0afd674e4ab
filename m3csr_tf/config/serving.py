"""Sections `release`, `index`, `embed`, `retrieve` and `spark`: the index and the batch jobs."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from m3csr_tf.config.section import LONGEST_LIST, Section
from m3csr_tf.util.names import LONGEST_NAME
from m3csr_tf.util.quoting import printable, quoted


class ReleaseConfig(Section):
    """What a version must be to be published."""

    max_loss: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share of the current version's Recall@20 on the run's test clicks that a new version may lose: "
        "one that loses more, significantly (paired t-test, p < 0.05), is not published; unset: nothing is compared",
    )


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
        None, description="catalogue of the items: a table (docs/data.md); without one, the release's items"
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


class ListsConfig(JobConfig):
    """What all jobs that write lists of items have in common: how long the lists are, and which items may be in one."""

    top_n: int = Field(20, ge=1, le=LONGEST_LIST)
    block: Path | None = Field(None, description="file of item ids that are in no list: .txt, or a table with item_id")
    allow: Path | None = Field(None, description="file of the only item ids that may be in a list")
    only: Literal["all", "cold"] = Field("all", description="cold: items without clicks, and no others")
    cold_quota: float = Field(
        0.0, ge=0, le=1, description="least share of a list that items without clicks take, the best of them"
    )


class RetrieveConfig(ListsConfig):
    """The batch job: users in, top-N lists out."""

    section: ClassVar[str] = "retrieve"

    users: Path | None = Field(
        None, description="users file (docs/batch.md); without one, the users of the prepared data"
    )
    output: Path | None = Field(
        None, description="link to the folder of parquet parts; without one, <run folder>/top_n"
    )
    shard_users: int = Field(
        20_000, ge=1, le=1_000_000_000, description="users of a part; a job that died goes on at the part it was at"
    )

    @property
    def part_size(self) -> int:
        """Users of a part."""
        return self.shard_users


class SimilarConfig(ListsConfig):
    """The batch job: items in, the nearest other items of each out."""

    section: ClassVar[str] = "similar"

    items: Path | None = Field(
        None,
        description="file of items to find similar ones to: ids of the release (.txt, or a table), or a catalogue "
        "with content; without one, all items of the release",
    )
    output: Path | None = Field(
        None, description="link to the folder of parquet parts; without one, <run folder>/similar_items"
    )
    by: str = Field(
        "vector",
        min_length=1,
        description="what is compared by cosine: vector (all of it), content (its content alone), or the name of a "
        "modality",
    )
    shard_items: int = Field(
        20_000, ge=1, le=1_000_000_000, description="items of a part; a job that died goes on at the part it was at"
    )

    @property
    def part_size(self) -> int:
        """Items of a part."""
        return self.shard_items


def _as_spark_says(value: Any) -> Any:
    """A setting of Spark as text: true, not True."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


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
