from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.util import string_hashes as module
from m3csr_tf.util.string_hashes import string_hashes

_MASK = 2**64 - 1


def mixed(value: int) -> int:
    """SplitMix64, as its authors give it in C."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def by_hand(text: str) -> int:
    data = text.encode()
    hashed = mixed(len(data))
    for start in range(0, len(data), 8):
        hashed = mixed(hashed ^ int.from_bytes(data[start : start + 8], "little"))
    return hashed


@given(st.lists(st.text(max_size=30), max_size=30), st.integers(0, 5))
@settings(deadline=None)
def test_every_string_is_hashed_by_words_of_eight_bytes(texts: list[str], skipped: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", 4)
        hashes = string_hashes(pa.array(texts, pa.large_string())[skipped:])
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [by_hand(text) for text in texts[skipped:]]


def test_the_mixer_is_the_published_one() -> None:
    # The first number that SplitMix64 draws from seed 0, as in the reference implementation's tests.
    assert mixed(0) == 0xE220A8397B1DCDAF


def test_hashes_tell_apart_and_spread_evenly() -> None:
    texts = [f"u{number}" for number in range(50_000)] + ["a", "a\0", "a\0\0", "\0a", "", "\0"]
    hashes = string_hashes(pa.array(texts, pa.large_string()))
    assert len(np.unique(hashes)) == len(texts)
    counts = np.bincount((hashes % np.uint64(64)).astype(int)), np.bincount((hashes >> np.uint64(58)).astype(int))
    # 50,000 / 64 = 781 a part, with a standard deviation of 28.
    assert all(abs(of_part - 781).max() < 140 for of_part in counts)


def test_no_strings_have_no_hashes() -> None:
    assert_array_equal(string_hashes(pa.array([], pa.large_string())), np.empty(0, np.uint64))
