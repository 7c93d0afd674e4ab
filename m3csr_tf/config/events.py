"""Section `data.events`: which interactions count, and how much each of them counts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from m3csr_tf.config.section import Section
from m3csr_tf.util.quoting import quoted

MOST_KINDS = 62
"""The kinds of an interaction are the bits of a number of 64 bits."""

LARGEST_WEIGHT = 1e12
"""No row weighs more: sums of weights, and shares of them, stay exact to about 1e-16 of the whole."""

Transform = Literal["linear", "log", "root", "flat"]
Repeated = Literal["sum", "max", "last"]


class EventsConfig(Section):
    """What an interaction weighs: by the kind of its feedback, or by a number such as the seconds that were watched."""

    column: str | None = Field(
        None,
        min_length=1,
        description="interactions column that names the kind of feedback (with kinds), or holds a number from 0, such "
        "as seconds watched (without); as the file calls it",
    )
    kinds: dict[str, Annotated[float, Field(gt=0, le=1e9)]] = Field(
        default_factory=dict,
        description="kind of feedback: its weight, e.g. {click: 1, like: 5}; rows of other kinds are left out",
    )
    at_least: float = Field(
        0.0, ge=0, le=1e12, description="rows with a smaller number are left out, and so are those with 0 or none"
    )
    at_most: float | None = Field(None, gt=0, le=1e12, description="a larger number counts as this one")
    transform: Transform = Field(
        "linear",
        description="what a number x weighs: x, log(1 + x), the square root of x, or 1 (flat)",
    )
    repeated: Repeated | None = Field(
        None,
        description="weight of a user's repeated interactions with an item: sum, max or last in time; a row without a "
        "weight counts 1. Unset: the sum where rows differ in weight, and 1 where they do not",
    )

    @field_validator("kinds", mode="before")
    @classmethod
    def _names_of_booleans(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {(str(key).lower() if isinstance(key, bool) else key): weight for key, weight in value.items()}

    @model_validator(mode="after")
    def _check(self) -> EventsConfig:
        of_numbers = ("at_least", "at_most", "transform")
        asked = [name for name in of_numbers if getattr(self, name) != type(self).model_fields[name].default]
        if self.column is None and (self.kinds or asked):
            first = "kinds" if self.kinds else asked[0]
            raise ValueError(
                f"data.events.{first} is set, but data.events.column is not: say which column of the interactions "
                "holds the kind of feedback or the number"
            )
        if self.kinds and asked:
            raise ValueError(
                f"data.events.{asked[0]} is for a column of numbers, and data.events.kinds for one of kinds; set one "
                "of the two"
            )
        if self.at_most is not None and self.at_most <= self.at_least:
            raise ValueError(
                f"data.events.at_most must be above data.events.at_least, got {self.at_most:g} and {self.at_least:g}"
            )
        if len(self.kinds) > MOST_KINDS:
            raise ValueError(f"data.events.kinds names {len(self.kinds)} kinds; expected at most {MOST_KINDS}")
        for kind in self.kinds:
            if not kind.strip() or not kind.isprintable() or "/" in kind:
                raise ValueError(
                    f"data.events.kinds names {quoted(kind)}; expected printable text without a slash, since metrics "
                    "are named after kinds"
                )
        return self
