"""Who is cold at a time, and how old items are."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf.config import ColdConfig, RetrieveConfig, load
from m3csr_tf.data.cold import DAY, HOUR, ages, is_cold
from m3csr_tf.errors import ConfigError

NOW = 1_700_000_000.0


def test_an_age_is_the_time_since_publishing_unknown_where_that_is_and_never_below_0() -> None:
    published = np.array([NOW - 60, NOW, NOW + 3 * DAY, np.nan, 0])
    np.testing.assert_array_equal(ages(published, NOW), [60, 0, 0, np.nan, np.nan])


def test_a_cold_item_of_the_paper_is_a_day_old_at_most_and_has_fewer_than_4000_views() -> None:
    age = np.array([0, 24 * HOUR, 24 * HOUR + 1, HOUR, np.nan, HOUR])
    views = np.array([0, 3999, 0, 4000, 0, 0])
    clicked = np.zeros(6, bool)
    rule = ColdConfig(max_age_hours=24, max_views=4000)
    assert is_cold(rule, age, views, clicked).tolist() == [True, True, False, False, False, True]
    by_age, by_views = ColdConfig(max_age_hours=24), ColdConfig(max_views=4000)
    assert is_cold(by_age, age, views, clicked).tolist() == [True, True, False, True, False, True]
    assert is_cold(by_views, age, views, clicked).tolist() == [True, True, True, False, True, True]


@given(st.lists(st.tuples(st.floats(0, 1e7) | st.just(np.nan), st.integers(0, 9000), st.booleans()), min_size=1))
def test_with_neither_setting_the_items_without_a_click_are_cold(items: list[tuple[float, int, bool]]) -> None:
    age, views, clickless = (np.array(column) for column in zip(*items, strict=True))
    assert is_cold(ColdConfig(), age, views, clickless).tolist() == clickless.tolist()


@pytest.mark.parametrize(
    "value", ["2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00", "2023-11-14 22:13:20", 1_700_000_000, "1.7e9"]
)
def test_a_time_is_iso_or_seconds_and_utc_without_a_zone(value: str | int) -> None:
    assert RetrieveConfig(now=value).now == NOW  # type: ignore[arg-type]
    assert load(None, [f"retrieve.now={value}"]).retrieve.now == NOW
    assert load(None, ["similar.now=2023-11-14"]).similar.now == datetime(2023, 11, 14, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrieve.now=yesterday", r"retrieve\.now must be an ISO 8601 time.*, got .*yesterday"),
        ("retrieve.now=1700000000000", r"retrieve\.now must be .* seconds since 1970, of the years 1980 to 2099, got "),
        ("similar.now=12", r"similar\.now must be .*, got .*12"),
        ("retrieve.now=2023-13-01", r"retrieve\.now must be an ISO 8601 time"),
        ("retrieve.now=true", r"retrieve\.now"),
        ("cold.max_age_hours=0", r"cold\.max_age_hours.*greater than 0"),
        ("cold.max_age_hours=a day", r"cold\.max_age_hours.*a day"),
        ("cold.max_views=0", r"cold\.max_views.*greater than or equal to 1"),
        ("cold.max_views=2.5", r"cold\.max_views"),
        ("cold.max_age=24", r"cold\.max_age"),
        ("retrieve.max_age_days=-1", r"retrieve\.max_age_days.*greater than 0"),
        ("retrieve.max_age_hours=24", r"retrieve\.max_age_hours"),
    ],
)
def test_what_no_age_time_or_count_can_be_is_one_message(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        load(None, [override])
    assert "\n" not in str(refused.value)
