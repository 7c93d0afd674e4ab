"""Faults of numbers: what pandas would turn into numbers without a word, what wraps, and what loses its last digit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_logs import Logs

from m3csr_tf.config.events import LARGEST_WEIGHT
from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, check_catalogue
from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.errors import InputError


def weighed(values: Any) -> list[float]:
    size = len(values)
    frame = pd.DataFrame({"user_id": [f"u{row}" for row in range(size)], "item_id": "i"}).assign(weight=values)
    return check_interactions(frame, "log")[0]["weight"].tolist()


def viewed(values: Any) -> list[int]:
    frame = pd.DataFrame({"item_id": [f"i{row}" for row in range(len(values))]}).assign(view_count=values)
    return check_catalogue(frame, {}, "list").frame["view_count"].tolist()


NO_NUMBERS: dict[str, Any] = {
    "booleans": [True, False, True],
    "nullable booleans": pd.array([True, None, True], dtype="boolean"),
    "bytes": [b"1", b"2", b"3"],
    "dates": [date(2026, 11, 1)] * 3,
    "moments": [datetime(2026, 11, 1)] * 3,
    "timestamps": pd.to_datetime(["2026-11-01"] * 3),
    "timestamps with a zone": pd.to_datetime(["2026-11-01"] * 3, utc=True),
    "durations": pd.to_timedelta([1, 2, 3], unit="s"),
    "Python's durations": [timedelta(1)] * 3,
    "times of day": [time(12)] * 3,
    "periods": pd.period_range("2026-01", periods=3, freq="M"),
    "complex numbers": [1j, 2j, 3j],
    "categories of text": pd.Categorical(["a", "b", "c"]),
    "categories of booleans": pd.Categorical([True, False, True]),
    "categories of dates": pd.Categorical(pd.to_datetime(["2026-11-01"] * 3)),
    "lists": [[1], [2], [3]],
    "mappings": [{"a": 1}, {}, {}],
    "one boolean among numbers": [1, True, 2],
    "one list among numbers": [1, [2], 3],
    "one date among numbers": [1, date(2026, 11, 1), 2],
    "bytes among numbers": [1, b"2", 3],
}
NO_NUMBER_TEXTS = ["0x10", "1_000", "1,5", "1,000", "five", "1e", "--1", "1 2", "\u0661", "inf", "1e999", "\xbd", "+"]


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_what_is_no_number_is_no_weight(case: str) -> None:
    with pytest.raises(InputError, match=r"^log: weight (holds .* values|in data row \d is .*); expected a positive"):
        weighed(NO_NUMBERS[case])


@pytest.mark.parametrize("case", NO_NUMBERS)
def test_what_is_no_number_is_no_view_count(case: str) -> None:
    with pytest.raises(InputError, match=r"^list: view_count (holds .* values|of item 'i\d' is .*); expected"):
        viewed(NO_NUMBERS[case])


@pytest.mark.parametrize("text", NO_NUMBER_TEXTS)
def test_text_that_is_no_number_is_neither_weight_nor_view_count(text: str) -> None:
    with pytest.raises(InputError, match=r"^log: weight in data row 2 is "):
        weighed(["1", text])
    with pytest.raises(InputError, match=r"^list: view_count of item 'i1' is "):
        viewed(["1", text])


WRONG_WEIGHTS = [0, -1, -0.0, np.nan, np.inf, -np.inf, None, "0", "-2", Decimal("0"), Decimal("-1"), 1.1e12, "1e300"]


@pytest.mark.parametrize("weight", WRONG_WEIGHTS)
def test_weights_that_are_not_above_0_or_far_too_large_are_refused(weight: Any) -> None:
    with pytest.raises(InputError, match=r"^log: weight in data row 2 is .*; expected a positive number"):
        weighed(pd.Series([1, weight], dtype=object))


WRONG_COUNTS = [-1, 2.5, -0.5, 2**63, 2**64, 10**30, 2.0**53 + 2, 1e19, np.inf, Decimal("2.5"), Decimal(2**63)]
WRONG_COUNT_TEXTS = ["-1", "2.5", "1e3", "9223372036854775808", "9" * 5000]


@pytest.mark.parametrize("count", [*WRONG_COUNTS, *WRONG_COUNT_TEXTS])
def test_view_counts_that_are_no_whole_numbers_or_too_large_are_refused(count: Any) -> None:
    with pytest.raises(InputError, match=r"^list: view_count of item 'i1' is .*; expected a whole number from 0") as at:
        viewed(pd.Series([1, count, None], dtype=object))
    assert len(str(at.value)) < 300


@given(st.lists(st.none() | st.integers(0, 2**63 - 1), min_size=1))
def test_view_counts_are_exact_beside_missing_ones(counts: list[int | None]) -> None:
    read = [UNKNOWN_VIEWS if count is None else count for count in counts]
    assert viewed(pd.Series(counts, dtype=object)) == read
    assert viewed(pd.array(counts, dtype="Int64")) == read
    assert viewed([None if count is None else str(count) for count in counts]) == read
    assert viewed([None if count is None else Decimal(count) for count in counts]) == read


@given(st.lists(st.floats(1e-300, LARGEST_WEIGHT), min_size=1))
def test_weights_are_the_numbers_that_were_given(weights: list[float]) -> None:
    assert weighed(weights) == weights
    assert weighed([repr(weight) for weight in weights]) == weights


def write_views(logs: Logs, views: pa.Array) -> None:
    table = pa.Table.from_pandas(logs.catalogue).drop_columns("view_count").append_column("view_count", views)
    pq.write_table(table, logs.folder / "catalogue.parquet")


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.decimal128(20, 0)])
def test_a_view_count_of_2_to_the_53rd_and_1_keeps_its_1_in_a_file_with_missing_ones(
    kind: pa.DataType, tmp_path: Path
) -> None:
    logs = Logs(tmp_path)
    write_views(logs, pa.array([2**53 + 1, None, *range(8)], kind))
    assert logs.run().exit_code == 0
    items = pd.read_parquet(tmp_path / "runs" / "case" / "prepared" / "items.parquet")
    assert items["view_count"].tolist() == [2**53 + 1, UNKNOWN_VIEWS, *range(8)]


def of_log(name: str, change: Callable[[pd.DataFrame], Any]) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        logs.interactions = logs.interactions.assign(**{name: change(logs.interactions)})

    return spoil


def of_views(values: Any, kind: pa.DataType) -> Callable[[Logs], None]:
    return lambda logs: write_views(logs, pa.array([values] * len(logs.catalogue), kind))


CASES: dict[str, tuple[Callable[[Logs], None], str]] = {
    "dates as weights": (
        of_log("weight", lambda log: pd.to_datetime(log["timestamp"], unit="s")),
        "weight holds datetime64 values",
    ),
    "durations as weights": (
        of_log("weight", lambda log: pd.to_timedelta(log["timestamp"], unit="s")),
        "weight holds timedelta64 values",
    ),
    "booleans as weights": (of_log("weight", lambda log: log["timestamp"] > 0), "weight holds boolean values"),
    "bytes as weights": (of_log("weight", lambda log: [b"1"] * len(log)), "weight holds bytes values"),
    "lists as weights": (of_log("weight", lambda log: [[1.0]] * len(log)), "weight in data row 1 is [1.0]"),
    "text as weights": (of_log("weight", lambda log: ["1,5"] * len(log)), "weight in data row 1 is '1,5'"),
    "timestamps beyond 2^63": (
        of_log("timestamp", lambda log: log["timestamp"].astype(np.uint64) + np.uint64(2**63)),
        "timestamp in data row 1 is 9223372036854776808; expected a number below 2^63",
    ),
    "floats beyond 2^63 as timestamps": (
        of_log("timestamp", lambda log: log["timestamp"] + 1e19),
        "timestamp in data row 1 is 1e+19; expected a number below 2^63",
    ),
    "lists as splits": (
        of_log("split", lambda log: [[one] for one in log["split"]]),
        "split in data row 1 is ['train']; expected one of train, val, test",
    ),
    "bytes as splits": (
        of_log("split", lambda log: [one.encode() for one in log["split"]]),
        "split in data row 1 is b'train'; expected one of train, val, test",
    ),
    "numbers as splits": (of_log("split", lambda log: 0), "split in data row 1 is 0; expected one of train, val, test"),
    "splits in capitals": (of_log("split", lambda log: log["split"].str.upper()), "split in data row 1 is 'TRAIN'"),
    "bytes as view counts": (of_views(b"5", pa.binary()), "view_count holds bytes values"),
    "dates as view counts": (of_views(date(2026, 11, 1), pa.date32()), "view_count holds datetime64 values"),
    "durations as view counts": (of_views(5, pa.duration("s")), "view_count holds timedelta64 values"),
    "times as view counts": (of_views(time(12), pa.time64("us")), "view_count holds time values"),
    "booleans as view counts": (of_views(True, pa.bool_()), "view_count holds boolean values"),
    "view counts beyond 2^63": (of_views(2**63, pa.uint64()), "view_count of item 'i0' is 9223372036854775808"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_prepare_refuses_such_numbers_in_one_message(case: str, streamed: bool, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"} if streamed else {}
    spoil, says = CASES[case]
    spoil(logs)
    logs.refused(says)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "weights", [np.ones(72, np.float16), np.full(72, 1e12), np.full(72, 5, np.uint8), ["2.5"] * 72]
)
def test_prepare_takes_weights_of_any_type_of_number(weights: Any, streamed: bool, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"} if streamed else {}
    logs.interactions["weight"] = weights
    result = logs.run()
    assert result.exit_code == 0, result.output
    train = pd.read_parquet(tmp_path / "runs" / "case" / "prepared" / "train.parquet")
    assert (train["weight"] == float(weights[0])).all()
