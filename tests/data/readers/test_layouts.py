"""Public layouts of logs as their authors publish them, each written in that form and read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from both_paths import Read, read
from numpy.testing import assert_array_equal

from m3csr_tf.config import DataConfig
from m3csr_tf.data.formats import input_files
from m3csr_tf.errors import InputError

NPY = {"modalities": {"visual": "clip.npy"}}


def vectors(folder: Path, items: int) -> np.ndarray:
    """A .npy file of content, row k for item k."""
    made = np.arange(2 * items, dtype=np.float32).reshape(items, 2)
    np.save(folder / "clip.npy", made)
    return made


def write_100k(folder: Path) -> None:
    (folder / "u.data").write_text("196\t242\t3\t881250949\n186\t302\t5\t891717742\n196\t302\t4\t881250950\n")
    titles = [
        "242|Kolya (1996)|24-Jan-1997||http://x|0|1",
        "302|L\xe9a (1997)|x||http://y|1|0",
        "7|Twelve (1995)|x||z|0|0",
    ]
    (folder / "u.item").write_text("\n".join(titles) + "\n", encoding="latin-1")


def write_1m(folder: Path) -> None:
    (folder / "ratings.dat").write_text("196::242::3::881250949\n186::302::5::891717742\n196::302::4::881250950\n")
    titles = ["242::Kolya (1996)::Comedy", "302::L\xe9a: a film (1997)::Film-Noir|Crime", "7::Twelve (1995)::Drama"]
    (folder / "movies.dat").write_text("\n".join(titles) + "\n", encoding="latin-1")


def write_20m(folder: Path) -> None:
    ratings = "196,242,3.0,881250949\n186,302,5.0,891717742\n196,302,4.0,881250950\n"
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + ratings)
    films = '242,Kolya (1996),Comedy\n302,"Léa, a film (1997)",Film-Noir|Crime\n7,"""Twelve""",Drama\n'
    (folder / "movies.csv").write_text("movieId,title,genres\n" + films)


RATINGS = [("186", "302", 891717742), ("196", "242", 881250949), ("196", "302", 881250950)]


@pytest.mark.parametrize("write", [write_100k, write_1m, write_20m])
def test_movielens_ratings_are_clicks_and_vectors_follow_its_list_of_films(write, tmp_path: Path) -> None:
    write(tmp_path)
    content = vectors(tmp_path, 3)
    found = read(tmp_path, format="movielens", **NPY)
    assert found.clicks == RATINGS and found.items == ["242", "302", "7"]
    assert_array_equal(found.content["visual"], content)
    good = read(tmp_path, format="movielens", where={"rating": ">=4"}, columns={"weight": "rating"}, **NPY)
    assert good.clicks == [("186", "302", 891717742, 5.0), ("196", "302", 881250950, 4.0)]
    assert good.counts == {"left_out_by_where": 1}


def test_movielens_with_a_catalogue_beside_it_takes_items_and_content_from_there(tmp_path: Path) -> None:
    text = "userId,movieId,rating,timestamp\n196,242,3.0,881250949\n186,302,5.0,891717742\n196,302,4.0,881250950\n"
    (tmp_path / "ratings.csv").write_text(text)
    (tmp_path / "catalogue.csv").write_text('movieId,emb\n302,"[1, 2]"\n242,"[3, 4]"\n')
    found = read(tmp_path, format="movielens", modalities={"visual": "emb"}, columns={"item_id": "movieId"})
    assert found.clicks == RATINGS and found.items == ["302", "242"]
    assert_array_equal(found.content["visual"], [[1, 2], [3, 4]])


@pytest.mark.parametrize("name", ["item_id", "movieId"])
def test_a_catalogue_beside_ratings_csv_calls_its_ids_as_it_likes(name: str, tmp_path: Path) -> None:
    write_20m(tmp_path)
    (tmp_path / "catalogue.csv").write_text(f'{name},emb\n302,"[1, 2]"\n242,"[3, 4]"\n')
    found = read(tmp_path, format="movielens", modalities={"visual": "emb"})
    assert found.clicks == RATINGS and found.items == ["302", "242"]


@pytest.mark.parametrize(
    ("write", "films"), [(write_100k, "u.item"), (write_1m, "movies.dat"), (write_20m, "movies.csv")]
)
def test_rows_of_vectors_without_a_list_of_films_are_refused(write, films: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / films).unlink()
    vectors(tmp_path, 303)
    with pytest.raises(InputError, match=rf"{films}: no such file; .* which row of the \.npy files is whose"):
        read(tmp_path, format="movielens", **NPY)


def test_a_title_of_any_latin_1_bytes_is_one_line(tmp_path: Path) -> None:
    write_100k(tmp_path)
    with (tmp_path / "u.item").open("ab") as stream:
        stream.write(b"8|Twelve\x85 and\x0c more\x1c (1996)|x\r\n")
    vectors(tmp_path, 4)
    assert read(tmp_path, format="movielens", **NPY).items == ["242", "302", "7", "8"]


RECBOLE = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
ATOMIC = [("01", "i1", 10.0), ("01", "i2", 20.0), ("1", "i1", 30.5)]


def test_recbole_atomic_files_are_read_with_the_types_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "ml.inter").write_text(RECBOLE + "01\ti1\t5\t10\n01\ti2\t1\t20\n1\ti1\t4\t30.5\n")
    (tmp_path / "ml.item").write_text(
        'item_id:token\ttitle:token_seq\temb:float_seq\ni1\t12" disc\t0.5 1\ni2\ta b\t2 3\n'
    )
    (tmp_path / "ml.user").write_text("user_id:token\tage:float\n01\t20\n")
    found = read(tmp_path, format="recbole", modalities={"visual": "emb"})
    assert found.clicks == ATOMIC and found.items == ["i1", "i2"]
    assert_array_equal(found.content["visual"], [[0.5, 1], [2, 3]])
    good = read(tmp_path, format="recbole", modalities={"visual": "emb"}, where={"rating": ">=4"})
    assert good.clicks == [ATOMIC[0], ATOMIC[2]]


def test_recbole_files_of_a_benchmark_have_their_splits(tmp_path: Path) -> None:
    header = "user_id:token\titem_id_list:token_seq\titem_id:token\n"
    for name, row in {"train": "u\ti1\ti2\n", "valid": "u\ti1 i2\ti1\n", "test": "v\t\ti2\n"}.items():
        (tmp_path / f"ml.{name}.inter").write_text(header + row)
    (tmp_path / "catalogue.csv").write_text("item_id\ni1\ni2\n")
    content = vectors(tmp_path, 2)
    found = read(tmp_path, format="recbole", **NPY)
    assert found.clicks == [("u", "i1", "val"), ("u", "i2", "train"), ("v", "i2", "test")]
    assert_array_equal(found.content["visual"], content)


def test_lightgcn_adjacency_lists_are_read_with_their_splits(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 0 2\n1 1\n2\n3 \n")
    (tmp_path / "test.txt").write_text("0 1\n1 2 0\n")
    (tmp_path / "valid.txt").write_text("1 2")
    content = vectors(tmp_path, 3)
    found = read(tmp_path, format="lightgcn", **NPY)
    train = [("0", "0", "train"), ("0", "1", "test"), ("0", "2", "train"), ("1", "0", "test"), ("1", "1", "train")]
    assert found.clicks == [*train, ("1", "2", "val")]
    assert found.counts == {"users_without_items": 2, "repeated_in_later_split": 1}
    assert_array_equal(found.content["visual"], content)


@pytest.mark.parametrize("line", ["1,1,2", "1;1;2", "1|1"])
def test_a_list_of_lightgcn_without_blanks_is_refused_by_its_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(f"0 0 2\n{line}\n")
    (tmp_path / "test.txt").write_text("0 1\n")
    vectors(tmp_path, 3)
    with pytest.raises(InputError, match=r"train\.txt: line 2 is '1.*, a user without items; expected .* with blanks"):
        read(tmp_path, format="lightgcn", **NPY)


def test_lightgcn_needs_no_file_of_validation(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("0 0 2\n")
    (tmp_path / "test.txt").write_text("0 1\n")
    vectors(tmp_path, 3)
    assert {split for _, _, split in read(tmp_path, format="lightgcn", **NPY).clicks} == {"train", "test"}


def mind(folder: Path, *rows: str) -> Read:
    (folder / "behaviors.tsv").write_text("\n".join(rows) + "\n")
    (folder / "catalogue.tsv").write_text("item_id\tcategory\nN1\tnews\nN2\tsports\nN-3\tnews\n")
    vectors(folder, 3)
    return read(folder, format="mind", **NPY)


def test_impressions_that_were_clicked_are_the_interactions_of_mind(tmp_path: Path) -> None:
    found = mind(
        tmp_path,
        "1\tU1\t11/15/2019 9:05:58 AM\tN1 N2\tN1-0 N2-1 N-3-1",
        '2\tU2\t11/15/2019 12:00:01 PM\t\tN1-1 "x"-0',
        "3\tU2\t11/15/2019 12:00:01 AM\tN1\tN1-0",
    )
    nine, noon = 1_573_808_758, 1_573_819_201
    assert found.clicks == [("U1", "N-3", nine), ("U1", "N2", nine), ("U2", "N1", noon)]
    assert found.counts == {"impressions_not_clicked": 3, "history_entries_left_out": 3}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1\tU1\t2019-11-15\tN1\tN1-1", "timestamp in line 2 is '2019-11-15'; expected a time such as 11/15/2019"),
        ("1\tU1\t11/15/2019 9:05:58 AM\tN1\tN1 N2", "impressions in line 2 is 'N1'; expected an item and 0 or 1"),
        ("1\tU1\t11/15/2019 9:05:58 AM\tN1", "line 2 has 4 fields, 5 expected"),
    ],
)
def test_rows_of_mind_that_say_something_else_are_refused(row: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"behaviors\.tsv: .*" + message):
        mind(tmp_path, "1\tU1\t11/15/2019 9:05:58 AM\tN1\tN1-1", row)


def test_vectors_in_npy_files_follow_the_rows_of_the_catalogue(tmp_path: Path) -> None:
    pd.DataFrame({"user_id": ["u"], "item_id": ["b"]}).to_csv(tmp_path / "interactions.csv", index=False)
    items = pd.DataFrame({"item_id": ["b", "a"], "emb": ["1 2", "3 4"]})
    items.to_csv(tmp_path / "catalogue.csv", index=False)
    content = vectors(tmp_path, 2)
    found = read(tmp_path, modalities={"visual": "clip.npy", "textual": "emb"})
    assert list(found.content) == ["visual", "textual"]
    assert_array_equal(found.content["visual"], content)
    assert_array_equal(found.content["textual"], [[1, 2], [3, 4]])


def test_a_fortran_ordered_array_is_read_by_rows(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"0": [0]}))
    made = np.asfortranarray(np.arange(6, dtype=np.float64).reshape(3, 2))
    np.save(tmp_path / "clip.npy", made)
    assert_array_equal(read(tmp_path, format="mmssl", **NPY).content["visual"], made)


@pytest.mark.parametrize(
    ("files", "neighbours", "expected"),
    [
        ("movielens", ["u.data", "u.item"], ["clip.npy", "u.data", "u.item"]),
        ("movielens", ["u.data", "u.item", "catalogue.csv"], ["catalogue.csv", "clip.npy", "u.data"]),
        ("recbole", ["a.inter", "a.item"], ["a.inter", "a.item", "clip.npy"]),
        ("recbole", ["a.inter", "a.item", "catalogue.csv"], ["a.inter", "catalogue.csv", "clip.npy"]),
        ("lightgcn", ["train.txt", "test.txt"], ["clip.npy", "test.txt", "train.txt"]),
        ("mind", ["behaviors.tsv", "catalogue.csv"], ["behaviors.tsv", "catalogue.csv", "clip.npy"]),
        ("table", ["interactions.csv", "catalogue.csv"], ["catalogue.csv", "clip.npy", "interactions.csv"]),
    ],
)
def test_all_files_that_are_read_are_known_once(
    files: str, neighbours: list[str], expected: list[str], tmp_path: Path
) -> None:
    for name in neighbours:
        (tmp_path / name).write_text(
            "item_id\n7\n" if "catalogue" in name else "7|x\n" if name == "u.item" else "item_id:token\n7\n"
        )
    vectors(tmp_path, 1)
    config = DataConfig.model_validate({"format": files, "path": tmp_path, **NPY})
    assert [path.name for path in input_files(config)] == expected
