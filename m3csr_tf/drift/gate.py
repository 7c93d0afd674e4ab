"""The quality gate of a publication: what a new version may lose against the current one on held-back clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from m3csr_tf.evaluation.significance import PairedTest

SIGNIFICANT = 0.05
"""The p-value below which a loss is taken for real."""


@dataclass(frozen=True)
class Verdict:
    """What a paired test of Recall@20 says of a new version.

    Attributes:
      max_loss: share of the current version's figure that may be lost.
      against: number of the current version.
      test: the new version (first) against the current one (second), on the same users; None where it could not be
        made.
      reason: why there is no test; "" where there is one.
    """

    max_loss: float
    against: int | None
    test: PairedTest | None
    reason: str = ""

    @property
    def loss(self) -> float:
        """Share of the current version's figure that is lost; below 0 where the new version finds more."""
        if self.test is None or not self.test.second:
            return 0.0
        return -self.test.difference / self.test.second

    @property
    def holds(self) -> bool:
        """Whether the new version may be published: no loss that is both significant and larger than `max_loss`.

        A verdict without a test holds nothing back that could be shown to be worse, but nobody has looked; it fails.
        """
        if self.test is None:
            return False
        return not (self.loss > self.max_loss and self.test.p_value < SIGNIFICANT)

    def in_words(self) -> str:
        """A sentence of the figures, without an end."""
        if self.test is None:
            return f"its quality could not be compared with the current version's: {self.reason}"
        test = self.test
        change = f"loses {self.loss:.1%}" if self.loss > 0 else f"gains {-self.loss:.1%}"
        return (
            f"{change} of version {self.against}'s {test.metric} on the test clicks of the same {test.users:,} users "
            f"({test.first:.4f} against {test.second:.4f}, paired t-test p = {test.p_value:.3g})"
        )

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it; "overridden" where it was published although the gate does not hold."""
        tree: dict[str, Any] = {"max_loss": self.max_loss, "against": self.against, "overridden": not self.holds}
        if self.test is None:
            return tree | {"not_judged": self.reason}
        test = self.test
        return tree | {
            "metric": test.metric,
            "users": test.users,
            "new": test.first,
            "current": test.second,
            "difference": test.difference,
            "low": test.low,
            "high": test.high,
            "p_value": test.p_value,
        }
