from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.ranking.top_k import TopK, random_columns, random_rows


def chosen(scores: np.ndarray, k: int, widths: list[int], order: np.ndarray) -> np.ndarray:
    """Best columns when pieces of these widths come in the given order."""
    starts = np.concatenate([[0], np.cumsum(widths)])
    top_k = TopK(k, random_rows(5, len(scores)), random_columns(np.arange(scores.shape[1])))
    for piece in order:
        part = scores[:, starts[piece] : starts[piece + 1]]
        top_k.update(part, int(starts[piece]), np.empty(part.shape, bool))
    columns, values = top_k.lists()
    listed = columns >= 0
    assert (values[listed] == scores[np.nonzero(listed)[0], columns[listed]]).all()
    assert (values[~listed] == -np.inf).all()
    return columns


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_pieces_of_any_width_in_any_order_give_the_columns_of_falling_score_and_then_rising_key(data):
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    widths = data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=6))
    rows, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 50))
    values = data.draw(st.sampled_from([[0.0], [-1.0, -0.0, 0.0, 2.5], np.arange(1000) / 7]))
    scores = random.choice(np.array(values, np.float32), (rows, sum(widths)))
    scores[random.random(scores.shape) < data.draw(st.sampled_from([0.0, 0.3, 1.0]))] = -np.inf

    found = chosen(scores, k, widths, random.permutation(len(widths)))

    golden, steps = 0x9E3779B97F4A7C15, ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))

    def mixed(key: int) -> int:
        for shift, factor in steps:
            key = (key ^ key >> shift) * factor % 2**64
        return key

    for row, line in enumerate(scores):
        start = mixed((row * golden + mixed(5)) % 2**64)
        ranked = sorted(
            (-value, mixed((start + column * golden) % 2**64), column)
            for column, value in enumerate(line.tolist())
            if value > -np.inf
        )
        expected = [column for _, _, column in ranked[:k]]
        assert found[row].tolist() == expected + [-1] * (k - len(expected))


def test_no_two_columns_of_a_row_have_the_same_key_and_rows_order_ties_differently():
    scores = np.zeros((200, 40), np.float32)
    found = chosen(scores, 40, [40], np.arange(1))
    assert (np.sort(found, axis=1) == np.arange(40)).all()
    assert len(np.unique(found, axis=0)) == 200
