"""Seeded samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.util.samples import sample


@pytest.mark.parametrize("nested", [False, True])
def test_a_sample_is_all_values_or_a_seeded_draw_in_their_order(nested: bool) -> None:
    values = np.arange(100)[::-1] * 3
    assert_array_equal(sample(values, 100, 0, nested), values)
    assert_array_equal(sample(values, None, 0, nested), values)
    drawn = sample(values, 10, 0, nested)
    assert len(drawn) == 10 and (np.diff(drawn) < 0).all() and np.isin(drawn, values).all()
    assert_array_equal(drawn, sample(values, 10, 0, nested))
    assert (drawn != sample(values, 10, 1, nested)).any()
    assert len(sample(values, 0, 0, nested)) == 0


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_nested_samples_of_one_seed_hold_each_other(count: int, one: int, other: int, seed: int) -> None:
    values = np.arange(count)
    small, large = (sample(values, most, seed, nested=True) for most in sorted((one, other)))
    assert np.isin(small, large).all()
