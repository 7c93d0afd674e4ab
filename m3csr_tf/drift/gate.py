"""The quality gate of a publication: how much a new version may lose against the current one on held-out clicks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from m3csr_tf.evaluation.significance import PairedTest

SIGNIFICANT = 0.05
"""The p-value below which a loss counts as significant."""


@dataclass(frozen=True)
class Verdict:
    """The result of a paired test of Recall@20 of a new version against the current one.

    Attributes:
      max_loss: share of the current version's Recall@20 that the new version may lose.
      against: number of the current version; None if it is unknown.
      test: the paired test of the new version (first) against the current one (second), on the same users; None if
        they could not be compared.
      reason: why there is no test; "" if there is one.
    """

    max_loss: float
    against: int | None
    test: PairedTest | None
    reason: str = ""

    @property
    def loss(self) -> float:
        """Share of the current version's Recall@20 that is lost; below 0 if the new version finds more."""
        if self.test is None or not self.test.second:
            return 0.0
        return -self.test.difference / self.test.second

    @property
    def holds(self) -> bool:
        """Whether the gate lets the new version pass: its loss is not both significant and larger than `max_loss`.

        Without a test it does not pass, since nothing then shows that the new version is not worse.
        """
        if self.test is None:
            return False
        return not (self.loss > self.max_loss and self.test.p_value < SIGNIFICANT)

    def in_words(self) -> str:
        """Returns the verdict in words, without a full stop."""
        if self.test is None:
            return f"its quality could not be compared with the current version's: {self.reason}"
        test = self.test
        change = f"loses {self.loss:.1%}" if self.loss > 0 else f"gains {-self.loss:.1%}"
        return (
            f"{change} of version {self.against}'s {test.metric} on the test clicks of the same {test.users:,} users "
            f"({test.first:.4f} against {test.second:.4f}, paired t-test p = {test.p_value:.3g})"
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as the manifest records it once the version is published.

        "overridden" is true if the gate does not hold: the version was then published in spite of it.
        """
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
