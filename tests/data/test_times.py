"""Times become Unix seconds: of any unit, of dates and of text; counters stay what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.data.times import EARLIEST, LATEST, UNITS, UnitFinder, in_seconds, read_times, to_seconds
from m3csr_tf.errors import InputError

SECONDS = st.lists(st.integers(EARLIEST, LATEST - 1), min_size=1, max_size=20)


def seconds(values: Any) -> list[float]:
    return to_seconds(pd.Series(values, name="timestamp"), "log").tolist()


@given(SECONDS, st.sampled_from(list(UNITS)), st.integers(0, 999))
def test_numbers_of_any_unit_become_seconds(times: list[int], unit: str, rest: int) -> None:
    per = UNITS[unit]
    part = rest if per > 1 else 0
    exact = [time + part / per for time in times]
    numbers = [time * per + part for time in times]
    assert seconds(numbers) == exact
    assert seconds([str(number) for number in numbers]) == pytest.approx(exact, abs=1e-6)
    assert seconds(np.array(numbers, np.float64)) == pytest.approx(exact, abs=1e-6)
    assert seconds(pd.array([*numbers, None], dtype="Int64"))[:-1] == pytest.approx(exact, abs=1e-6)


@given(SECONDS)
def test_dates_and_text_of_dates_become_seconds(times: list[int]) -> None:
    dates = [datetime.fromtimestamp(time, UTC) for time in times]
    assert seconds(dates) == times
    assert seconds([date.replace(tzinfo=None) for date in dates]) == times
    assert seconds([f"{date:%Y-%m-%d %H:%M:%S} UTC" for date in dates]) == times
    assert seconds([f"{date:%Y-%m-%dT%H:%M:%SZ}" for date in dates]) == times
    assert seconds([f"{date:%Y-%m-%d %H:%M:%S.000000+00:00}" for date in dates]) == times
    for resolution in ("s", "ms", "us", "ns"):
        assert seconds(np.array(times, "datetime64[s]").astype(f"datetime64[{resolution}]")) == times


@given(st.lists(st.integers(-1000, EARLIEST - 1), min_size=1))
def test_small_counters_stay_plain_numbers(numbers: list[int]) -> None:
    assert seconds(numbers) == numbers
    # Beside seconds too: a 0 that stands for nothing hurts no order.
    assert seconds([*numbers, EARLIEST]) == [*numbers, EARLIEST]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([2024, 2025], [2024, 2025]),
        ([20261101, 20261102], [20261101, 20261102]),
        (["20261101", "20261102"], [1793491200, 1793577600]),
        (["2026-11-01", "2026-11-02"], [1793491200, 1793577600]),
        (pd.Categorical(["2026-11-01", "2026-11-02"]), [1793491200, 1793577600]),
        (pd.Categorical([1793491200123, 1793577600000]), [1793491200.123, 1793577600]),
        (["1793491200.5", "1793577600"], [1793491200.5, 1793577600]),
        (["2026-11-01 00:00:00.5 UTC", None], [1793491200.5, np.nan]),
        (np.array(["9999-12-31", "1500-01-01"], "datetime64[ms]"), [253402214400, -14831769600]),
        ([1793491200000, None], [1793491200, np.nan]),
        ([-5, -4], [-5, -4]),
        ([0.25, 0.5], [0.25, 0.5]),
    ],
)
def test_times_are_what_is_meant(values: Any, expected: list[float]) -> None:
    np.testing.assert_array_equal(seconds(values), expected)


def test_whole_seconds_stay_whole() -> None:
    assert to_seconds(pd.Series([EARLIEST, LATEST - 1], name="timestamp"), "log").dtype == np.int64


def test_the_unit_is_said_if_it_is_not_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    seconds([1793491200])
    assert not capsys.readouterr().err
    seconds([1793491200000])
    assert capsys.readouterr().err == "log: timestamp is in milliseconds since 1970, and becomes seconds\n"


@given(st.lists(st.integers(EARLIEST * 10**9, LATEST * 10**9 - 1), min_size=2, max_size=30))
def test_nanoseconds_keep_their_order(times: list[int]) -> None:
    ordered = seconds(sorted(times))
    assert ordered == sorted(ordered)


@given(SECONDS, st.sampled_from(list(UNITS.values())), st.integers(1, 20))
def test_in_blocks_the_unit_is_that_of_the_whole_log(times: list[int], unit: int, size: int) -> None:
    column = pd.Series(times, name="timestamp") * unit
    finder = UnitFinder("timestamp", "log")
    for start in range(0, len(column), size):
        finder.see(read_times(column[start : start + size], "log"))
    assert in_seconds(column, finder.found()).tolist() == times


def test_blocks_of_different_units_are_refused_naming_a_row_of_each() -> None:
    finder = UnitFinder("timestamp", "log")
    finder.see(read_times(pd.Series([1793491200] * 3, index=range(3)), "log"))
    finder.see(read_times(pd.Series([1793491200000] * 3, index=range(3, 6)), "log"))
    expected = r"row 1 is 1793491200 \(seconds\), and in data row 4 1793491200000 \(milliseconds\); expected one form"
    with pytest.raises(InputError, match=expected):
        finder.found()


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (["1793491200"], ["2026-11-01"], "1793491200.0 (seconds), and in data row 2 a date without a time zone"),
        (
            ["2026-11-01"],
            ["2026-11-01T00:00Z"],
            "a date without a time zone, and in data row 2 a date with a time",
        ),
    ],
)
def test_blocks_of_different_forms_are_refused(one: list[str], other: list[str], says: str) -> None:
    finder = UnitFinder("timestamp", "log")
    finder.see(read_times(pd.Series(one), "log"))
    finder.see(read_times(pd.Series(other, index=[1]), "log"))
    with pytest.raises(InputError) as caught:
        finder.found()
    assert says in str(caught.value)
