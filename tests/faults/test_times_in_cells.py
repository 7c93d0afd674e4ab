"""Faults of times: mixed units and forms, other types, dates that there are not, ties that leave a split empty."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_logs import Logs

from m3csr_tf.data.catalogue import check_catalogue
from m3csr_tf.data.times import EARLIEST, LATEST, UNITS, to_seconds
from m3csr_tf.errors import InputError

NOW = 1_793_491_200


def refused(values: Any) -> str:
    with pytest.raises(InputError) as caught:
        to_seconds(pd.Series(values, name="timestamp"), "log")
    return str(caught.value)


@pytest.mark.parametrize(("one", "other"), list(permutations(UNITS, 2)))
@pytest.mark.parametrize("written", [int, float, str])
def test_two_units_in_a_column_are_refused_naming_a_row_of_each(one: str, other: str, written: type) -> None:
    values = [written(NOW * UNITS[one]), written(NOW * UNITS[one]), written(NOW * UNITS[other])]
    message = refused(values)
    assert message.startswith("log: timestamp in data row 1 is ")
    assert f"({one}), and in data row 3 " in message and f"({other}); expected one form and one unit" in message


@given(
    st.lists(st.integers(EARLIEST, LATEST - 1), min_size=1, max_size=5),
    st.sampled_from([10**3, 10**6, 10**9]),
    st.integers(-(10**9), 10**9) | st.integers(5 * 10**12, 10**14) | st.integers(5 * 10**18, 2**63 - 1),
)
def test_a_number_in_no_unit_beside_milliseconds_and_finer_is_refused(times: list[int], unit: int, odd: int) -> None:
    assert "; expected one form and one unit in all rows" in refused([*(time * unit for time in times), odd])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["2026-02-30"], "row 1 is '2026-02-30'; expected a number or an ISO 8601 date"),
        (["2026-11-01", "2026-11-01T25:00"], "row 2 is '2026-11-01T25:00'"),
        (["2026-13-01"], "row 1 is '2026-13-01'"),
        (["9999-12-31"], "row 1 is '9999-12-31'; expected a number or an ISO 8601 date of the years 1678 to 2261"),
        (["0001-01-01"], "row 1 is '0001-01-01'"),
        (["01/11/2026"], "row 1 is '01/11/2026'"),
        (["2026/11/01 12h"], "row 1 is '2026/11/01 12h'"),
        (["1 Nov 2026"], "row 1 is '1 Nov 2026'"),
        (["today"], "row 1 is 'today'"),
        (["now"], "row 1 is 'now'"),
        (["NaT"], "row 1 is 'NaT'"),
        ([""], "row 1 is nothing"),
        (["2026-11-01 12:00:00 CET"], "row 1 is '2026-11-01 12:00:00 CET'"),
        (["2026-11-01 12:00:00 UTC", "2026-11-01 12:00:00"], "row 2 is '2026-11-01 12:00:00'; expected a date with a"),
        (["1793491200", "2026-11-01"], "row 2 is '2026-11-01'; expected a number, as others are"),
        (["2026-11-01", "1793491200"], "row 1 is '2026-11-01'; expected a number, as others are"),
        (["1793491200", "0x6AE5"], "row 2 is '0x6AE5'; expected a number, as others are"),
        (["1793491200", "1,793,491,200"], "row 2 is '1,793,491,200'"),
        (["9" * 400], "row 1 is '999"),
        ([float("inf")], "row 1 is inf"),
        ([2**63], "row 1 is 9223372036854775808; expected a number below 2^63"),
        ([1, 10**30], "row 2 is 1000000000000000000000000000000; expected a number below 2^63"),
        (np.array([1, 2**64 - 1], np.uint64), "row 2 is 18446744073709551615; expected a number below 2^63"),
        (pd.array([None, 2**63], dtype="UInt64"), "row 2 is 9223372036854775808; expected a number below 2^63"),
        ([True, False], "timestamp holds booleans"),
        ([True, None], "timestamp holds booleans"),
        (pd.Categorical([True, False]), "timestamp holds booleans"),
        ([b"2026-11-01"], "timestamp holds bytes values; expected numbers or dates"),
        (pd.to_timedelta([1], unit="s"), "timestamp holds timedelta64 values"),
        ([timedelta(1)], "timestamp holds timedelta64 values"),
        ([time(12)], "timestamp holds time values"),
        (pd.period_range("2026-01", periods=2, freq="M"), "timestamp holds period values"),
        ([1j], "timestamp holds complex values"),
        ([[1]], "timestamp holds values of several kinds"),
        ([{"a": 1}], "timestamp holds values of several kinds"),
        ([1, "2026-11-01"], "timestamp holds mixed-integer values"),
        ([date(9999, 1, 1)], "row 1 is datetime.date(9999, 1, 1); expected a number or an ISO 8601 date of the years"),
        ([datetime(1, 1, 1)], "row 1 is datetime.datetime(1, 1, 1, 0, 0)"),
        (pd.Categorical(["soon", "later"]), "row 1 is 'soon'"),
        (["2026-11-01\x1b[31m"], r"row 1 is '2026-11-01\x1b[31m'"),
    ],
)
def test_what_is_no_time_is_one_message(values: Any, says: str) -> None:
    assert says in refused(values)


def test_publish_times_are_read_by_the_same_rules() -> None:
    frame = pd.DataFrame({"item_id": ["a", "b"], "publish_time": [NOW, NOW * 1000]})
    with pytest.raises(InputError, match=r"list: publish_time in data row 1 is .* \(seconds\), and in data row 2 "):
        check_catalogue(frame, {}, "list")


def with_times(folder: Path, change: Any, streamed: bool) -> Logs:
    logs = Logs(folder)
    logs.overrides |= {"data.in_memory_rows": "0", "data.shard_clicks": "9"} if streamed else {}
    logs.overrides["split.kind"] = "time"
    logs.interactions["timestamp"] = change(logs.interactions["timestamp"])
    return logs


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_prepare_splits_by_time_whatever_the_unit(unit: str, streamed: bool, tmp_path: Path) -> None:
    logs = with_times(tmp_path, lambda steps: (NOW + steps) * UNITS[unit], streamed)
    logs.overrides["split.ratios"] = "[0.6, 0.2, 0.2]"
    result = logs.run()
    assert result.exit_code == 0, result.output
    train = pd.read_parquet(tmp_path / "runs" / "case" / "prepared" / "train.parquet")
    assert sorted(train["timestamp"].unique()) == [NOW + 1000 + step for step in range(3)]


@pytest.mark.parametrize("streamed", [False, True])
def test_prepare_refuses_seconds_beside_milliseconds(streamed: bool, tmp_path: Path) -> None:
    logs = with_times(tmp_path, lambda steps: (NOW + steps) * np.where(steps % 2 == 0, 1000, 1), streamed)
    result = logs.run()
    assert result.exit_code == 2 and logs.written() == []
    assert "timestamp in data row 1 is 1793492200000 (milliseconds), and in data row 2 1793492201 (seconds)" in (
        result.stderr
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_a_split_that_ties_leave_empty_says_so(streamed: bool, tmp_path: Path) -> None:
    # Three days with a third of the clicks each: both borders, at 80% and 90%, fall on the third.
    logs = with_times(tmp_path, lambda steps: [f"2026-11-0{1 + (step - 1000) // 2}" for step in steps], streamed)
    result = logs.run()
    assert result.exit_code == 2 and logs.written() == []
    assert "split val is empty (split.kind=time" in result.stderr
    assert "there are 3 distinct timestamps, 33% of the interactions share one" in result.stderr
    assert "give finer timestamps" in result.stderr and "split.kind=random" in result.stderr
