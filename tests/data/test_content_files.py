from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from m3csr_tf.config import DataConfig
from m3csr_tf.data import content_files, formats
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.data.readers import content as readers
from m3csr_tf.errors import InputError
from m3csr_tf.ids import FIRST_ROW


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "ITEMS_AT_ONCE", 4)
    monkeypatch.setattr(content_files, "ITEMS_AT_ONCE", 4)


def catalogue_of(folder: Path, vectors: list[Any], kind: str = "parquet", parts: int = 3, **more: Any) -> Catalogue:
    """The catalogue of a folder of part files, its content read in blocks of four items at most."""
    (folder / "into").mkdir()
    frame = pd.DataFrame({"item_id": [f"v{number}" for number in range(len(vectors))], "clip": vectors, **more})
    path = folder / f"catalogue.{kind}"
    path.mkdir()
    cuts = np.linspace(0, len(frame), parts + 1).astype(int)
    for number, (start, stop) in enumerate(pairwise(cuts)):
        part = frame.iloc[start:stop]
        if kind == "csv":
            texts = part["clip"].map(lambda vector: "" if vector is None else str(vector))
            part.assign(clip=texts).to_csv(path / f"part-{number}.csv", index=False)
        else:
            part.to_parquet(path / f"part-{number}.parquet", index=False)
    return formats.catalogue_of(DataConfig(format="table", path=folder, modalities={"visual": "clip"}), folder / "into")


@settings(max_examples=30, deadline=None)
@given(present=st.lists(st.booleans(), min_size=1, max_size=30).filter(any), kind=st.sampled_from(["parquet", "csv"]))
def test_vectors_come_in_order_with_rows_of_nan_for_absent_ones_and_the_reserved_rows(
    present: list[bool], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs")
    vectors = [[float(number), 0.5] if there else None for number, there in enumerate(present)]
    expected = np.array([[np.nan] * 2 if vector is None else vector for vector in vectors], np.float32)
    # A parquet part without any vector has a column of another type; CSV columns are text in any case.
    catalogue = catalogue_of(folder, vectors, kind, parts=1 if kind == "parquet" else 3)
    content = catalogue.content["visual"]
    assert_array_equal(content, expected)
    assert content.dtype == np.float32 and isinstance(content, np.memmap) and not content.flags.writeable
    np.save(folder / "whole.npy", np.concatenate([np.full((FIRST_ROW, 2), np.nan, np.float32), expected]))
    assert (folder / "into" / "content_visual.npy").read_bytes() == (folder / "whole.npy").read_bytes()


VECTORS = [[1.0, 2.0]] * 10


@pytest.mark.parametrize(
    ("row", "vector", "message"),
    [
        (8, [1.0], r"catalogue\.parquet: clip in data row 9 has 1 entries, 2 in the first"),
        (8, [], r"clip in data row 9 has 0 entries, 2 in the first"),
        (0, [], r"column clip holds empty lists"),
        (9, [1.0, np.nan], r"entry 1 of the visual vector of item 'v9' is nan.*\(1 such items\)"),
        (9, [np.inf, 1.0], r"entry 0 of the visual vector of item 'v9' is inf"),
    ],
)
def test_a_fault_in_a_later_block_is_named_by_its_row_or_item(
    row: int, vector: list[float], message: str, tmp_path: Path
) -> None:
    vectors = VECTORS.copy()
    vectors[row] = vector
    with pytest.raises(InputError, match=message):
        catalogue_of(tmp_path, vectors)


def test_bad_vectors_of_all_blocks_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    vectors = [None, None, None, None, None, *VECTORS]
    vectors[6] = vectors[7] = vectors[14] = [0.0, 2e12]
    with pytest.raises(InputError, match=r"entry 1 of the visual vector of item 'v6' is 2e\+12.*\(3 such items\)"):
        catalogue_of(tmp_path, vectors, parts=1)


def test_no_vector_in_any_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column clip has no vector in any row; drop the modality"):
        catalogue_of(tmp_path, [None] * 9, kind="csv")


def test_the_ids_of_all_blocks_are_checked_together(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="item 'b' is listed twice"):
        catalogue_of(tmp_path, VECTORS, item_id=["a", "b", "c", "d", "e", "f", "g", "h", "b", "i"])


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int8])
def test_arrays_in_memory_and_on_the_disk_are_written_alike(kind: type, tmp_path: Path) -> None:
    vectors = np.arange(22).reshape(11, 2).astype(kind)
    np.save(tmp_path / "raw.npy", np.asfortranarray(vectors))
    ids = np.array([f"v{number}" for number in range(11)], object)
    for raw in (vectors, np.load(tmp_path / "raw.npy", mmap_mode="r")):
        stored = content_files.store(tmp_path, "visual", raw, ids, "log")
        assert_array_equal(stored, vectors.astype(np.float32))
        assert len(np.load(tmp_path / "content_visual.npy")) == 11 + FIRST_ROW


def test_vectors_without_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="log: visual vectors have no entries; expected a width of at least 1"):
        content_files.store(tmp_path, "visual", np.empty((3, 0)), np.array(["a", "b", "c"], object), "log")
