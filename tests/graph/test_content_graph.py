from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from m3csr_tf.graph import content_graph as rooms
from m3csr_tf.graph.content_graph import content_cosines, content_graph, normalised

# Cosines: 0.6 of items 0 and 1, 0.8 of 1 and 2, -1 of 0 and 3, -0.6 of 1 and 3, else 0. Item 4 has no content.
CONTENT = np.array([[2, 0], [3, 4], [0, 1], [-1, 0], [0, 0]], np.float32)


@st.composite
def contents(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Content in general position, so that no two cosines are equal; some items have none, some are out of reach."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = draw(st.integers(1, 30))
    content = random.normal(size=(items, draw(st.integers(2, 6)))).astype(np.float32)
    content[random.random(items) < 0.1] = 0
    return content, random.random(items) < draw(st.sampled_from([0.3, 1.0]))


def dense(content: np.ndarray, neighbours: int, weights: str, reachable: np.ndarray) -> np.ndarray:
    """S and D^-1/2 S D^-1/2 as the papers print them, from the matrix of all cosines."""
    lengths = np.linalg.norm(content, axis=1, keepdims=True)
    unit = np.divide(content, lengths, out=np.zeros_like(content), where=lengths > 0).astype(np.float64)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, np.where(lengths[:, 0] > 0, 2, 0))  # The item itself is always among them.
    cosines[:, ~reachable] = 0
    kept = np.zeros_like(cosines)
    for row, line in enumerate(cosines):
        largest = [place for place in np.argsort(-line)[:neighbours] if line[place] > 0]
        kept[row, largest] = np.minimum(line[largest], 1) if weights == "cosines" else 1
    sums = kept.sum(axis=1)
    scale = np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0)
    return scale[:, None] * kept * scale[None, :]


@settings(deadline=None, max_examples=60)
@given(contents(), st.integers(1, 8), st.sampled_from(["ones", "cosines"]))
def test_it_is_the_graph_that_the_matrix_of_all_cosines_gives(
    case: tuple[np.ndarray, np.ndarray], neighbours: int, weights: str
) -> None:
    content, reachable = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms, "_ROWS", 4)
        patch.setattr(rooms, "_COLUMNS", 7)
        found = normalised(content_graph(content, neighbours, weights, reachable))
    assert found.dtype == np.float32
    assert_allclose(found.toarray(), dense(content, neighbours, weights, reachable), atol=1e-5)


def test_an_item_is_one_of_its_own_neighbours_and_takes_the_place_of_the_farthest() -> None:
    # Item 1 is 0.8 near item 2 and 0.6 near item 0; with two places, one is its own.
    expected = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert_array_equal(content_graph(CONTENT, 2).toarray(), expected)


def test_entries_are_cosines_where_they_are_asked_for() -> None:
    expected = [[1, 0.6, 0, 0, 0], [0.6, 1, 0.8, 0, 0], [0, 0.8, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert_allclose(content_graph(CONTENT, 3, "cosines").toarray(), expected, rtol=1e-6)


def test_the_normalisation_divides_by_the_roots_of_both_row_sums() -> None:
    # Row sums of the graph of cosines above: 1.6, 2.4, 1.8, 1, 0.
    entry = 0.8 / np.sqrt(2.4 * 1.8)
    found = normalised(content_graph(CONTENT, 3, "cosines")).toarray()
    assert found[1, 2] == pytest.approx(entry) and found[2, 1] == pytest.approx(entry)
    assert found[3, 3] == pytest.approx(1) and not found[4].any()


def test_an_item_out_of_reach_is_nobodys_neighbour_but_has_some() -> None:
    reachable = np.array([True, False, True, True, True])
    found = content_graph(CONTENT, 2, reachable=reachable).toarray()
    assert not found[:, 1].any()
    assert_array_equal(found[1], [1, 0, 1, 0, 0])


def test_neighbours_come_nearest_first() -> None:
    found = content_cosines(CONTENT, 2)
    assert_array_equal(found[1].indices, [2, 0])
    assert_allclose(found[1].data, [0.8, 0.6], rtol=1e-6)
