"""Parts of a score as one line that a person can read."""

from __future__ import annotations

import pytest

from m3csr_tf.explain import reasons


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ((1.0, -0.5, 3.0), "acoustic 75%, id 25%; against: visual"),
        ((1.0, 1.0, 2.0), "acoustic 50%, id 25%, visual 25%"),
        ((0.0, 0.0, 2.0), "acoustic 100%"),
        ((-3.0, -1.0, 0.0), "nothing for it; against: id, visual"),
        ((0.0, 0.0, 0.0), "nothing for it"),
    ],
)
def test_reasons_are_shares_of_what_speaks_for_the_item(parts: tuple[float, float, float], line: str) -> None:
    row = dict(zip(("part_id", "part_visual", "part_acoustic"), parts, strict=True))
    assert reasons(row, ["id", "visual", "acoustic"]) == line
