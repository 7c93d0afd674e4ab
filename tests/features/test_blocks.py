from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.features.blocks import blocks, give_back, read_ahead, take


@given(st.integers(0, 50), st.integers(1, 20), st.integers(1, 4))
def test_the_blocks_of_all_workers_hold_each_row_once(rows: int, size: int, workers: int) -> None:
    parts = [block for worker in range(workers) for block in blocks(rows, size, worker, workers)]
    assert sorted(row for block in parts for row in range(block.start, block.stop)) == list(range(rows))
    assert all(0 < block.stop - block.start <= size for block in parts)


def test_memory_given_back_reads_the_same_again(tmp_path: Path) -> None:
    values = np.arange(30_000, dtype=np.float32).reshape(-1, 3)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    for rows in (slice(None), slice(5, 7), slice(9000, None), slice(0, 0)):
        read_ahead(mapped[rows])
        give_back(mapped[rows])
        assert_array_equal(mapped[rows], values[rows])
    assert_array_equal(mapped, values)
    some = np.array([0, 7, 9_999])
    assert_array_equal(take(mapped, some), values[some])
    assert take(mapped, some[:0]).shape == (0, 3)


def test_changes_of_a_copy_on_write_mapping_outlive_giving_it_back(tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.zeros(5000))
    mapped = np.load(tmp_path / "values.npy", mmap_mode="c")
    mapped[2000:3000] = 1
    give_back(mapped)
    assert mapped.sum() == 1000
