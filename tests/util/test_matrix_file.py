"""Matrices written block by block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.util.matrix_file import MatrixFile


@given(sizes=st.lists(st.integers(0, 4), max_size=5), width=st.integers(1, 4))
def test_the_file_is_what_numpy_writes_of_the_whole_matrix(
    sizes: list[int], width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("matrix")
    whole = np.random.default_rng(0).normal(size=(sum(sizes), width)).astype(np.float32)
    with MatrixFile(folder / "blocks.npy", len(whole), width) as file:
        for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
            file.write(whole[start : start + size])
    np.save(folder / "whole.npy", whole)
    assert (folder / "blocks.npy").read_bytes() == (folder / "whole.npy").read_bytes()


def test_numbers_of_other_types_and_layouts_become_float32(tmp_path: Path) -> None:
    with MatrixFile(tmp_path / "m.npy", 2, 3) as file:
        file.write(np.arange(6).reshape(3, 2).T)
    stored = np.load(tmp_path / "m.npy", allow_pickle=False)
    assert stored.dtype == np.float32 and stored.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_rows_that_are_missing_and_blocks_of_another_width_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 rows were written, expected 3"), MatrixFile(tmp_path / "m", 3, 4) as file:
        file.write(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"got a block \[2, 5\], expected \[n, 4\]"):
        with MatrixFile(tmp_path / "m", 2, 4) as file:
            file.write(np.zeros((2, 5)))
