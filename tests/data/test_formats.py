from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from m3csr_tf.config import Config, DataConfig
from m3csr_tf.data import formats
from m3csr_tf.data.formats import input_files
from m3csr_tf.data.raw import RawData
from m3csr_tf.errors import InputError

CLICKS = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["1", "2", "1"], "timestamp": [10, 20, 30]})
VISUAL = [[0.5, 1.0], None, [2.0, -3.0]]
ITEMS = pd.DataFrame({"item_id": ["1", "2", "3"], "view_count": [7, None, 0], "clip": VISUAL})
EXPECTED = np.array([[0.5, 1.0], [np.nan, np.nan], [2.0, -3.0]], np.float32)


def read(config: DataConfig) -> RawData:
    with TemporaryDirectory() as folder:
        return formats.read(config, Path(folder))


def table(folder: Path, **modalities: str) -> DataConfig:
    return DataConfig(format="table", path=folder, modalities=modalities or {"visual": "clip"})


def mmssl(folder: Path, **modalities: str) -> DataConfig:
    return DataConfig(format="mmssl", path=folder, modalities=modalities or {"visual": "image_feat.npy"})


def mmrec(folder: Path, **settings: str) -> DataConfig:
    return DataConfig(format="mmrec", path=folder, modalities={"visual": "image_feat.npy"}, **settings)


def as_csv(items: pd.DataFrame, form) -> pd.DataFrame:
    return items.assign(clip=[None if vector is None else form(vector) for vector in items["clip"]])


def write_mmssl(folder: Path, train: object = None) -> None:
    for name, lists in {"train": train or {"0": [0, 2], "7": [1]}, "val": {"0": [1]}, "test": {"7": [2]}}.items():
        (folder / f"{name}.json").write_text(json.dumps(lists))
    np.save(folder / "image_feat.npy", np.arange(6, dtype=np.float16).reshape(3, 2))


def write_mmrec(folder: Path, name: str = "baby.inter", extra: str = "") -> None:
    rows = ["userID\titemID\trating\ttimestamp\tx_label", "0\t2\t5.0\t11\t0", "0\t1\t3.0\t12\t1", "4\t0\t1.0\t13\t2"]
    (folder / name).write_text("\n".join([*rows, *filter(None, [extra])]) + "\n")
    np.save(folder / "image_feat.npy", np.ones((3, 2), np.float32))


def check_table(raw) -> None:
    pd.testing.assert_frame_equal(raw.interactions, CLICKS, check_dtype=False)
    assert raw.catalogue.frame["item_id"].tolist() == ["1", "2", "3"]
    assert raw.catalogue.frame["view_count"].tolist() == [7, -1, 0]
    assert_array_equal(raw.catalogue.content["visual"], EXPECTED)
    assert raw.truth is None


def test_parquet_files_are_read(tmp_path: Path) -> None:
    CLICKS.to_parquet(tmp_path / "interactions.parquet")
    ITEMS.to_parquet(tmp_path / "catalogue.parquet")
    check_table(read(table(tmp_path)))


@pytest.mark.parametrize("form", [json.dumps, lambda vector: " ".join(map(str, vector))], ids=["json", "spaces"])
def test_csv_files_are_read_with_vectors_as_json_or_with_spaces(form, tmp_path: Path) -> None:
    CLICKS.to_csv(tmp_path / "interactions.csv", index=False)
    as_csv(ITEMS, form).to_csv(tmp_path / "catalogue.csv", index=False)
    check_table(read(table(tmp_path)))


def test_folders_of_part_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").mkdir()
    (tmp_path / "catalogue.parquet").mkdir()
    (tmp_path / "catalogue.parquet" / "_SUCCESS").touch()
    for part in range(3):
        CLICKS.iloc[[part]].to_csv(tmp_path / "interactions.csv" / f"part-{part}.csv", index=False)
        rows = ITEMS.iloc[[part]]
        if part == 1:
            rows = rows.assign(clip=pd.Series([[np.nan, np.nan]], index=[1]))
        rows.to_parquet(tmp_path / "catalogue.parquet" / f"part-{part}.parquet")
    check_table(read(table(tmp_path)))


def test_ids_in_csv_keep_leading_zeros_and_may_be_called_null_words(tmp_path: Path) -> None:
    (tmp_path / "interactions.csv").write_text("user_id,item_id\n007,NA\n7,NA\n")
    (tmp_path / "catalogue.csv").write_text('item_id,clip\nNA,"[1, 2]"\n')
    raw = read(table(tmp_path))
    assert raw.interactions.values.tolist() == [["007", "NA"], ["7", "NA"]]


def test_several_modalities_may_have_their_own_widths(tmp_path: Path) -> None:
    CLICKS.to_parquet(tmp_path / "interactions.parquet")
    ITEMS.assign(sound=[[1.0], [2.0], None]).to_parquet(tmp_path / "catalogue.parquet")
    content = read(table(tmp_path, acoustic="sound", visual="clip")).catalogue.content
    assert list(content) == ["acoustic", "visual"]
    assert content["acoustic"].shape == (3, 1) and content["visual"].shape == (3, 2)


def test_the_mmssl_layout_is_read_with_its_splits(tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    raw = read(mmssl(tmp_path))
    assert raw.interactions.values.tolist() == [
        ["0", "0", "train"],
        ["0", "2", "train"],
        ["7", "1", "train"],
        ["0", "1", "val"],
        ["7", "2", "test"],
    ]
    assert raw.catalogue.frame["item_id"].tolist() == ["0", "1", "2"]
    assert_array_equal(raw.catalogue.content["visual"], [[0, 1], [2, 3], [4, 5]])


def test_the_mmrec_layout_is_read_with_its_labels(tmp_path: Path) -> None:
    write_mmrec(tmp_path)
    raw = read(mmrec(tmp_path))
    assert list(raw.interactions) == ["user_id", "item_id", "timestamp", "split"]
    assert raw.interactions.values.tolist() == [["0", "2", 11, "train"], ["0", "1", 12, "val"], ["4", "0", 13, "test"]]


def test_one_of_several_inter_files_is_named_in_the_configuration(tmp_path: Path) -> None:
    write_mmrec(tmp_path)
    write_mmrec(tmp_path, "other.inter")
    with pytest.raises(InputError, match=r"2 \.inter files are there; name one in data\.inter_file"):
        read(mmrec(tmp_path))
    assert len(read(mmrec(tmp_path, inter_file="other.inter")).interactions) == 3


def test_input_files_are_all_that_would_be_read(tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    names = [path.name for path in input_files(mmssl(tmp_path))]
    assert names == ["image_feat.npy", "test.json", "train.json", "val.json"]
    assert input_files(DataConfig()) == []


def refuse(config: DataConfig, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    refuse(table(tmp_path / "nowhere"), "nowhere: no such folder; data.path must name the folder of the table files")
    refuse(table(tmp_path), "no table interactions is there; expected interactions.parquet")
    refuse(mmssl(tmp_path), "train.json: no such file")
    refuse(mmrec(tmp_path), "no .inter file is there")


def test_two_versions_of_one_table_are_refused(tmp_path: Path) -> None:
    CLICKS.to_parquet(tmp_path / "interactions.parquet")
    CLICKS.to_csv(tmp_path / "interactions.csv", index=False)
    refuse(table(tmp_path), "both interactions.csv and interactions.parquet are there; keep one")


def test_a_folder_without_part_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "interactions.parquet").mkdir()
    refuse(table(tmp_path), "interactions.parquet: the folder holds no part files")


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (ITEMS.drop(columns="clip"), "column clip of modality visual is missing; check data.modalities"),
        (ITEMS.assign(clip=[[1.0], [1.0, 2.0], [1.0]]), "clip in data row 2 has 2 entries, 1 in the first"),
        (ITEMS.assign(clip=[None, [1.0], []]), "clip in data row 3 has 0 entries, 1 in the first"),
        (ITEMS.assign(clip=[None, None, None]), "column clip"),
        (ITEMS.assign(clip=[1.0, 2.0, 3.0]), "column clip holds double values; expected a list of numbers a row"),
        (ITEMS.assign(clip=[["a"], ["b"], ["c"]]), "column clip does not hold numbers"),
        (ITEMS.assign(clip=["1 2", "1 x", "3 4"]), "clip in data row 2 is '1 x', which cannot be read as a vector"),
        (ITEMS.assign(clip=[[1.0, None], [1.0, 2.0], None]), "entry 1 of the visual vector of item '1' is nan"),
    ],
)
def test_bad_vector_columns_are_refused(items: pd.DataFrame, message: str, tmp_path: Path) -> None:
    CLICKS.to_parquet(tmp_path / "interactions.parquet")
    items.to_parquet(tmp_path / "catalogue.parquet")
    refuse(table(tmp_path), message)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "interactions.parquet").write_text("user_id,item_id\n")
    refuse(table(tmp_path), "interactions.parquet: cannot be read as parquet")
    (tmp_path / "interactions.parquet").unlink()
    (tmp_path / "interactions.csv").write_text("user_id,item_id\nu\n")
    refuse(table(tmp_path), "interactions.csv: cannot be read as csv")


@pytest.mark.parametrize("train", ["{", "[1, 2]", '{"0": 3}', '{"0": [1.5]}', '{"0": [[1]]}', '{"0": [null]}'])
def test_bad_mmssl_splits_are_refused(train: str, tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    (tmp_path / "train.json").write_text(train)
    refuse(mmssl(tmp_path), "train.json: ")


def test_an_item_beyond_the_vectors_is_unknown(tmp_path: Path) -> None:
    write_mmssl(tmp_path, train={"0": [0, 3]})
    refuse(mmssl(tmp_path), "1 interactions are with items that the catalogue lacks, e.g. '3'")


def test_pickled_vectors_are_refused_and_not_loaded(tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    np.save(tmp_path / "image_feat.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    refuse(mmssl(tmp_path), "image_feat.npy: cannot be read as .npy (it is pickled or holds objects)")


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones(3), "holds float64 [3]; expected numbers [items, width]"),
        (np.array([["a"], ["b"], ["c"]]), "holds <U1 [3, 1]; expected numbers"),
        (np.ones((0, 2)), "no items"),
        (np.ones((2, 2)), "the modalities have differing numbers of rows (image_feat.npy 2, sound.npy 3)"),
    ],
)
def test_bad_arrays_are_refused(vectors: np.ndarray, message: str, tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    np.save(tmp_path / "image_feat.npy", vectors)
    np.save(tmp_path / "sound.npy", np.ones((3 if len(vectors) else 0, 2)))
    refuse(mmssl(tmp_path, visual="image_feat.npy", acoustic="sound.npy"), message)


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00"])
def test_a_broken_array_file_is_refused(content: bytes, tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    (tmp_path / "image_feat.npy").write_bytes(content)
    refuse(mmssl(tmp_path), "image_feat.npy: cannot be read as .npy")


def test_an_archive_of_arrays_is_refused(tmp_path: Path) -> None:
    write_mmssl(tmp_path)
    np.savez(tmp_path / "all.npz", np.ones((3, 2)))
    refuse(mmssl(tmp_path, visual="all.npz"), "all.npz: holds an archive; expected numbers [items, width]")


def test_bad_mmrec_files_are_refused(tmp_path: Path) -> None:
    write_mmrec(tmp_path, extra="4\t1\t1.0\t14\t3")
    refuse(mmrec(tmp_path), "baby.inter: x_label in data row 4 is '3'; expected 0, 1 or 2")
    (tmp_path / "baby.inter").write_text("user\titem\n1\t2\n")
    refuse(mmrec(tmp_path), "baby.inter: column user_id is missing")
    (tmp_path / "baby.inter").write_text("")
    refuse(mmrec(tmp_path), "baby.inter: cannot be read as tab-separated text")


def test_the_public_tiktok_split_has_its_known_size(tiktok: Config) -> None:
    raw = read(tiktok.data)
    assert raw.interactions["split"].value_counts().to_dict() == {"train": 59_541, "val": 3_051, "test": 6_130}
    assert raw.interactions["user_id"].nunique() == 9_308
    assert {name: vectors.shape for name, vectors in raw.catalogue.content.items()} == {
        "visual": (6_710, 128),
        "acoustic": (6_710, 128),
    }
    assert raw.counts == {"merged_duplicates": 0, "repeated_in_later_split": 0}
