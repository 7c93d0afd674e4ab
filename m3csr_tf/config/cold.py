"""Section `cold`: which items count as cold, by their age and their views."""

from __future__ import annotations

from pydantic import Field

from m3csr_tf.config.section import Section


class ColdConfig(Section):
    """Which items are cold at a given time; with neither setting, those without a click in training.

    The paper (5.6) calls a video cold that was released less than 24 hours ago and viewed fewer than 4,000 times.
    """

    max_age_hours: float | None = Field(
        None, gt=0, le=1_000_000, description="a cold item was published at most so many hours ago (paper: 24)"
    )
    max_views: int | None = Field(
        None, ge=1, le=2**63 - 1, description="a cold item has fewer views than this (paper: 4000)"
    )

    @property
    def is_set(self) -> bool:
        """Whether age or views decide."""
        return self.max_age_hours is not None or self.max_views is not None

    def in_words(self) -> str:
        """The settings that decide, as a user would give them."""
        given = {"cold.max_age_hours": self.max_age_hours, "cold.max_views": self.max_views}
        return " and ".join(f"{name}={value:g}" for name, value in given.items() if value is not None)
