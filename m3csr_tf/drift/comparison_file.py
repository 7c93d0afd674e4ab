"""A comparison of versions as a JSON file, and the words in which the terminal and a run's page show it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from m3csr_tf.errors import RunError
from m3csr_tf.util.stored import checked, reading, stored_json

COMPARISON_FILE = "comparison.json"
"""File in a run's folder: the latest comparison whose users and test clicks came from this run."""

FIGURES: Mapping[str, tuple[str, str]] = {
    "items": ("items that it can list", ",d"),
    "coverage": ("coverage: share of its items in some list", ".2%"),
    "cold_share": ("places of cold items (popularity bin 0)", ".2%"),
    "new_share": ("places of items that the other lacks", ".2%"),
    "popularity_bin": ("popularity bin of a listed item, mean", ".3f"),
    "training_clicks": ("training clicks of a listed item, mean", ".2f"),
    "score": ("score of a listed item, mean", ".4f"),
    "score_spread": ("and its standard deviation", ".4f"),
}
"""Figure of a system's lists (`Comparison.figures`) -> its meaning, and the format of the number."""


class StoredTest(BaseModel):
    """A paired t-test of the second system against the first.

    `first` and `second` are the means of the two systems, `difference` is second - first, and `low` and `high` are the
    ends of its 95% confidence interval.
    """

    users: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


class StoredComparison(BaseModel):
    """The contents of `Comparison.to_json`, and the name of the release."""

    release: str
    length: int
    first: str
    second: str
    users: int
    figures: dict[str, dict[str, int | float | None]]
    overlap: float | None
    same_lists: float
    rank_correlation: float | None
    scores: dict[str, int | float | None] | None
    intensities: dict[str, dict[str, float]] | None
    intensity_drift: float | None
    quality: dict[str, StoredTest] | None
    notes: list[str]

    def both(self, figure: str) -> tuple[float, float] | None:
        """Returns a figure of the lists of the first and of the second system; None if one of them lacks it."""
        first, second = (self.figures[name].get(figure) for name in (self.first, self.second))
        return None if first is None or second is None else (first, second)

    def sentences(self) -> Iterator[str]:
        """Yields sentences, without a full stop, on what compares both systems' lists, scores and intensities."""
        yield (
            f"overlap of lists at {self.length}: {_shown(self.overlap)} of the places on average; the same list for "
            f"{self.same_lists:.1%} of the users"
        )
        yield (
            f"rank correlation of what both lists of a user hold (Kendall's tau, mean): {_shown(self.rank_correlation)}"
        )
        if self.scores is not None:
            yield (
                f"scores of {self.scores['pairs']:,} pairs of a user and a listed item: correlation "
                f"{_shown(self.scores['correlation'])}, mean change {self.scores['difference']:+.4f}, mean absolute "
                f"change {self.scores['absolute_difference']:.4f}"
            )
        if self.intensity_drift is not None:
            yield (
                f"intensity drift: {self.intensity_drift:.4f} (half the sum of absolute changes of a user's "
                "intensities, mean over users; 1 at most)"
            )


def read_comparison(path: Path) -> StoredComparison | None:
    """Reads a comparison; returns None if the file does not exist.

    Raises:
      RunError: the file is broken.
    """
    if not path.exists():
        return None
    again = "run pipelines/release.py compare again, or delete it"
    tree = stored_json(path, again, RunError)
    with reading(path, again, RunError):
        checked(StoredComparison, tree)
        found = StoredComparison.model_validate(tree)
        list(found.sentences()), [found.both(figure) for figure in FIGURES]
    return found


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
