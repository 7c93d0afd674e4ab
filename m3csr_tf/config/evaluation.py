"""Sections `evaluation` and `exposure`: the ranking metrics, and how often cold items are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from m3csr_tf.config.section import LONGEST_LIST, Section
from m3csr_tf.util.quoting import quoted

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
    kinds: tuple[str, ...] = Field(
        (),
        description="held-out clicks that count as found are of one of these kinds of data.events.kinds; none: all "
        "count, and each kind has a slice of its own",
    )
    weighted_baselines: bool = Field(
        False,
        description="baselines count a click by its weight, of which the mean is 1; false: all clicks alike",
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
    """Checks a share of the places, or a word for one; 0 is refused, because it would hide every new item."""
    if value in ("catalogue", "trained") or (type(value) in (int, float) and 0 < value < 1):
        return value
    raise ValueError(
        "exposure.cold_share must be catalogue, trained (which adds nothing) or a share above 0 and below 1, "
        f"got {quoted(value)}"
    )


class ExposureConfig(Section):
    """How often items without a click, or with few, are shown: it is set after training, by item vectors alone."""

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
        """The shares that are asked for, in the form of metrics and manifests."""
        return {"cold_share": self.cold_share, "few_share": 0.0 if self.cold_share == "trained" else self.few_share}
