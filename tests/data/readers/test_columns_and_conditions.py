"""Columns under the names of the files, and conditions that choose rows."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from both_paths import read
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.config import Config
from m3csr_tf.data.conditions import Condition
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.prepare import prepare

LOG = pd.DataFrame(
    {
        "userId": ["a", "a", "b", "b", "c", "c"],
        "movieId": ["1", "2", "1", "2", "1", "2"],
        "ts": [10, 20, 30, 40, 50, 60],
        "rating": [5.0, 3.5, 4.0, None, 4.5, 1.0],
        "is_click": [1, 1, 0, 1, 1, 0],
        "kind": ["film", "film", "clip", "clip", "film", "film"],
        "liked": [True, False, True, True, False, True],
    }
)
MAPPED = {"user_id": "userId", "item_id": "movieId", "timestamp": "ts"}
ALL = [("a", "1", 10), ("a", "2", 20), ("b", "1", 30), ("b", "2", 40), ("c", "1", 50), ("c", "2", 60)]


def write(folder: Path, ending: str = "csv", item: str = "movieId") -> Path:
    items = pd.DataFrame({item: ["1", "2"], "clip": ["1 2", "3 4"]})
    for name, frame in {"interactions": LOG, "catalogue": items}.items():
        path = folder / f"{name}.{ending}"
        if ending == "csv":
            frame.to_csv(path, index=False)
        elif ending == "parquet":
            frame.to_parquet(path)
        else:
            frame.to_json(path, orient="records", lines=True)
    return folder


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("item", ["movieId", "item_id"])
def test_columns_have_the_names_that_the_files_give_them(ending: str, item: str, tmp_path: Path) -> None:
    found = read(write(tmp_path, ending, item), columns=MAPPED)
    assert found.clicks == ALL and found.items == ["1", "2"] and found.counts == {}


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ({"is_click": 1}, [0, 1, 3, 4]),
        ({"is_click": "1"}, [0, 1, 3, 4]),
        ({"is_click": True, "kind": "film"}, [0, 1, 4]),
        ({"rating": ">=4"}, [0, 2, 4]),
        ({"rating": ">= 4.0", "is_click": 1}, [0, 4]),
        ({"rating": "!=3.5"}, [0, 2, 4, 5]),
        ({"rating": 3.5}, [1]),
        ({"ts": "<25"}, [0, 1]),
        ({"ts": ">24.5", "kind": "!=film"}, [2, 3]),
        ({"liked": True}, [0, 2, 3, 5]),
        ({"liked": "false"}, [1, 4]),
        ({"liked": 1, "userId": "b"}, [2, 3]),
        ({"kind": "==clip"}, [2, 3]),
        ({"movieId": "=2"}, [1, 3, 5]),
    ],
)
def test_rows_that_satisfy_all_conditions_are_kept_and_the_others_counted(
    where: dict[str, Any], kept: list[int], ending: str, tmp_path: Path
) -> None:
    found = read(write(tmp_path, ending), columns=MAPPED, where=where)
    assert found.clicks == [ALL[row] for row in kept]
    assert found.counts == {"left_out_by_where": len(ALL) - len(kept)}


@given(
    st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=30),
    st.integers(-(10**6), 10**6),
    st.sampled_from(
        [(">=", "__ge__"), ("<=", "__le__"), ("!=", "__ne__"), ("==", "__eq__"), (">", "__gt__"), ("<", "__lt__")]
    ),
)
def test_comparisons_are_those_of_numbers(values: list[int], bound: int, comparison: tuple[str, str]) -> None:
    sign, method = comparison
    expected = [bool(getattr(value, method)(bound)) for value in values]
    condition = Condition("x", f"{sign}{bound}", Path("log"))
    for cells in (pa.array(values), pa.array(values, pa.float64()), pa.array([str(value) for value in values])):
        assert condition.holds(pa.chunked_array([cells])).to_pylist() == expected


DAYS = [datetime(2026, 1, 1), datetime(2026, 2, 1)]


@pytest.mark.parametrize(
    ("cells", "condition", "expected"),
    [
        (pa.array([Decimal("1.50"), Decimal("4.00")]), ">=4", [False, True]),
        (pa.array(DAYS), ">2026-01-15", [False, True]),
        (pa.array(DAYS).cast(pa.timestamp("us", "UTC")), "<=2026-01-01", [True, False]),
        (pa.array(DAYS).cast(pa.timestamp("ns", "UTC")), "2026-02-01T01:00:00+01:00", [False, True]),
        (pa.array(DAYS).cast(pa.date32()), "2026-02-01", [False, True]),
        (pa.array(["a", "b"]).dictionary_encode(), "!=a", [False, True]),
        (pa.array([1, 200], pa.uint8()), "<1000", [True, True]),
        (pa.array([1, 2**63 + 5], pa.uint64()), ">3", [False, True]),
        (pa.array([2**53 + 1, 2**53]), 2**53 + 1, [True, False]),
        (pa.array([2**53 + 1, 2**53]), f"=={2**53 + 1}", [True, False]),
        (pa.array([4, 5]), "==4.0", [True, False]),
        (pa.array([4, 5]), "=4.5", [False, False]),
        (pa.array([1.0, 0.0]), True, [True, False]),
        (pa.array(["9", "10"]), ">=10", [False, True]),
        (pa.array(["09", "9"]), "=9", [False, True]),
        (pa.array(["9", "true"]), "true", [False, True]),
        (pa.nulls(2), 1, [False, False]),
    ],
)
def test_a_condition_compares_values_of_every_type(cells: pa.Array, condition: Any, expected: list[bool]) -> None:
    assert Condition("x", condition, Path("log")).holds(pa.chunked_array([cells])).to_pylist() == expected


@pytest.mark.parametrize("in_memory_rows", [100, 0])
def test_what_was_left_out_is_in_the_prepared_counts(in_memory_rows: int, tmp_path: Path) -> None:
    write(tmp_path)
    tree = {
        "run": {"folder": tmp_path / "runs"},
        "data": {
            "format": "table",
            "path": tmp_path,
            "modalities": {"visual": "clip"},
            "columns": MAPPED | {"split": "kind"},
            "where": {"ts": "<=40"},
            "in_memory_rows": in_memory_rows,
        },
        "split": {"kind": "given"},
        "clusters": {"count": 1},
    }
    LOG.assign(kind=["train", "val", "test", "train", "x", "x"]).to_csv(tmp_path / "interactions.csv", index=False)
    prepared: Prepared = prepare(Config.model_validate(tree))
    assert prepared.manifest["counts"]["left_out_by_where"] == 2
    assert prepared.manifest["counts"]["train_interactions"] == 2


def test_rows_in_messages_are_those_that_are_kept(tmp_path: Path) -> None:
    write(tmp_path)
    LOG.assign(ts=["x", "1", "y", "4", "5", "6"]).to_csv(tmp_path / "interactions.csv", index=False)
    with pytest.raises(
        InputError, match=r"interactions\.csv \(the rows that data\.where keeps\): timestamp in data row 1 is 'y'"
    ):
        read(
            tmp_path,
            columns=MAPPED,
            where={"userId": "b"} | {"is_click": "<=1"} | {"kind": "!=film"} | {"movieId": "!=9"},
        )


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_clicks_that_share_a_cell_are_taken_apart(form: str, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "interactions.csv").unlink()
    if form == "csv":
        (tmp_path / "interactions.csv").write_text("user_id,item_id,timestamp\nu,1 2,10\nv,,20\nw, 2 ,30\n")
    else:
        lists = pd.DataFrame(
            {"user_id": ["u", "v", "w"], "item_id": [["1", "2"], [], ["2"]], "timestamp": [10, 20, 30]}
        )
        lists.to_parquet(tmp_path / "interactions.parquet")
    items = pd.DataFrame({"item_id": ["1", "2"], "clip": ["1 2", "3 4"]})
    items.to_csv(tmp_path / "catalogue.csv", index=False)
    found = read(tmp_path, item_lists=form == "csv")
    assert found.clicks == [("u", "1", 10), ("u", "2", 10), ("w", "2", 30)]
    assert found.counts == {"rows_without_items": 1}


@pytest.mark.parametrize(("value", "users"), [("007", ["a"]), ("7", ["b"]), (7, ["a", "b"])])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_digits_in_quotes_are_text_and_a_number_is_any_way_to_write_it(
    value: str | int, users: list[str], form: str, tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / "interactions.csv").unlink()
    rows = [("a", "007"), ("b", "7"), ("c", "8")]
    if form == "csv":
        lines = ["user_id,item_id,c", *(f"{user},1,{code}" for user, code in rows)]
    else:
        lines = [f'{{"user_id": "{user}", "item_id": "1", "c": "{code}"}}' for user, code in rows]
    (tmp_path / f"interactions.{form}").write_text("\n".join(lines) + "\n")
    pd.DataFrame({"item_id": ["1"], "clip": ["1 2"]}).to_csv(tmp_path / "catalogue.csv", index=False)
    assert [click[0] for click in read(tmp_path, where={"c": value}).clicks] == users
