"""Chooses how widely a tree is searched: the cheapest setting that reaches a recall, or a wider one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import NamedTuple

REORDER = (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Numbers of candidates that are rescored exactly, as multiples of k, from cheap to expensive."""
GROWTH = 1.2
"""Factor by which the numbers of leaves that are tried grow."""


class SearchWidth(NamedTuple):
    """How widely a tree is searched.

    Attributes:
      leaves: number of leaves that are searched.
      reorder: number of candidates that are rescored exactly, for each of the k items wanted.
    """

    leaves: int
    reorder: float


def leaf_counts(limit: int) -> list[int]:
    """Returns the numbers of leaves to try, ascending from 1 to `limit`."""
    counts = [1]
    while counts[-1] < limit:
        counts.append(min(limit, max(counts[-1] + 1, round(counts[-1] * GROWTH))))
    return counts


def reorders(everything: float) -> list[float]:
    """Returns the multiples of k to try, ascending from 1 to `everything`, the multiple that rescores all items."""
    return [*(float(step) for step in REORDER if step < everything), float(everything)]


def cheapest(
    reaches: Callable[[SearchWidth], bool], cost: Callable[[SearchWidth], float], leaves: list[int], steps: list[float]
) -> SearchWidth | None:
    """Returns the cheapest setting that reaches the recall, or None if not even the widest does.

    Recall and cost are assumed to grow with the leaves and with the candidates. So the settings that reach the recall
    have a border along which more leaves allow fewer candidates, and the search walks along that border.

    Args:
      reaches: whether the recall of a setting is high enough; this is the expensive part, and is called some 30 times.
      cost: cost of a search with a setting, in any unit.
      leaves, steps: the numbers of leaves and the multiples of k to try, ascending.
    """
    level = len(steps) - 1
    column = bisect_left(
        range(len(leaves)), True, key=lambda position: reaches(SearchWidth(leaves[position], steps[level]))
    )
    best = None
    while column < len(leaves):
        while level and reaches(SearchWidth(leaves[column], steps[level - 1])):
            level -= 1
        here = SearchWidth(leaves[column], steps[level])
        if best is None or cost(here) < cost(best):
            best = here
        column, level = column + 1, level - 1
        while column < len(leaves) and level >= 0 and not reaches(SearchWidth(leaves[column], steps[level])):
            column += 1
            if column < len(leaves) and cost(SearchWidth(leaves[column], steps[0])) >= cost(best):
                return best
        if level < 0:
            break
    return best


def wider(setting: SearchWidth, leaves: list[int], steps: list[float]) -> Iterator[SearchWidth]:
    """Yields settings that are wider than `setting` and than each other, up to the widest."""
    position = bisect_left(leaves, setting.leaves + 1)
    level = bisect_left(steps, setting.reorder + 1e-9)
    while position < len(leaves) or level < len(steps):
        setting = SearchWidth(
            leaves[position] if position < len(leaves) else setting.leaves,
            steps[level] if level < len(steps) else setting.reorder,
        )
        yield setting
        position, level = position + 1, level + 1


def around(setting: SearchWidth, leaves: list[int], steps: list[float]) -> list[SearchWidth]:
    """Returns `setting` and some settings near it, at most 7 in all, from narrow to wide."""
    fewest, most = leaves[0], leaves[-1]
    level = bisect_left(steps, setting.reorder)
    near = {setting}
    near |= {setting._replace(leaves=min(most, max(fewest, round(setting.leaves * by)))) for by in (0.25, 0.5, 2, 4)}
    near |= {
        setting._replace(reorder=steps[position]) for position in (level - 1, level + 1) if 0 <= position < len(steps)
    }
    return sorted(near)
