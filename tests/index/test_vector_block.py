"""Copies of some items' vectors, compared with a dictionary through random additions, replacements and removals."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.index.vector_block import VectorBlock

CHANGES = st.lists(
    st.one_of(
        st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True),
        st.sampled_from("abcdefgh"),
    ),
    max_size=20,
)


@given(CHANGES, st.integers(0, 3))
@settings(deadline=None, max_examples=80)
def test_a_block_holds_the_latest_vector_of_each_item_that_is_there(changes: list[list[str] | str], room: int) -> None:
    block, expected, random = VectorBlock(3, room), dict[str, np.ndarray](), np.random.default_rng(0)
    for change in changes:
        if isinstance(change, list):
            vectors = random.normal(size=(len(change), 3)).astype(np.float32)
            block.put(change, vectors)
            expected |= dict(zip(change, vectors, strict=True))
        else:
            block.drop(change)
            expected.pop(change, None)
        assert len(block) == len(expected) and sorted(block.ids) == sorted(expected)
        for item, vector in zip(block.ids, block.vectors, strict=True):
            np.testing.assert_array_equal(vector, expected[item])
        longest = max((float(np.linalg.norm(vector)) for vector in expected.values()), default=0.0)
        assert abs(block.longest - longest) < 1e-6


def test_of_a_vector_3_4_and_one_0_1_the_longest_has_norm_5_until_it_goes() -> None:
    block = VectorBlock(2, 8)
    block.put(["a", "b"], np.array([[3, 4], [0, 1]], np.float32))
    assert block.longest == 5.0
    block.drop("a")
    assert block.longest == 1.0 and block.ids == ["b"]
