from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.data.interactions import check_interactions
from m3csr_tf.errors import InputError


def clicks(**columns: list) -> pd.DataFrame:
    return pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"], **columns})


def test_clean_interactions_pass_unchanged_but_for_extra_columns() -> None:
    frame, counts = check_interactions(clicks(timestamp=[3, 1, 2], weight=[1, 2, 3], device=["x", "y", "z"]), "log")
    assert list(frame) == ["user_id", "item_id", "timestamp", "weight"]
    assert frame["timestamp"].tolist() == [3, 1, 2]
    assert counts == {"merged_duplicates": 0, "repeated_in_later_split": 0}


@pytest.mark.parametrize("ids", [[7, 7, 8], [7.0, 7.0, 8.0], pd.Categorical([7, 7, 8]), np.array([7, 7, 8], np.uint16)])
def test_whole_numbers_become_string_ids(ids) -> None:
    frame, _ = check_interactions(pd.DataFrame({"user_id": ids, "item_id": ["a", "b", "c"]}), "log")
    assert frame["user_id"].tolist() == ["7", "7", "8"]


def test_duplicates_are_merged_into_the_latest_time_and_the_sum_of_weights() -> None:
    doubled = pd.DataFrame(
        {"user_id": list("uvuu"), "item_id": list("aaab"), "timestamp": [5, 1, 9, 2], "weight": [1.0, 1, 2.5, 1]}
    )
    frame, counts = check_interactions(doubled, "log")
    assert frame.values.tolist() == [["u", "a", 9, 3.5], ["v", "a", 1, 1.0], ["u", "b", 2, 1.0]]
    assert counts["merged_duplicates"] == 1


def test_a_pair_in_several_splits_stays_in_the_earliest_with_its_own_time() -> None:
    repeated = pd.DataFrame(
        {
            "user_id": list("uuuv"),
            "item_id": list("aaab"),
            "split": ["test", "train", "train", "val"],
            "timestamp": [9, 1, 2, 3],
        }
    )
    frame, counts = check_interactions(repeated, "log")
    assert frame.values.tolist() == [["u", "a", 2, "train"], ["v", "b", 3, "val"]]
    assert counts == {"merged_duplicates": 1, "repeated_in_later_split": 1}


@pytest.mark.parametrize(
    "dates",
    [
        ["1970-01-01T00:01:00Z", "1970-01-01T01:00:02+01:00", "1970-01-01T00:00:03Z"],
        ["1970-01-01T00:01", "1970-01-01 00:00:02", "1970-01-01T00:00:03.0"],
        pd.to_datetime([60, 2, 3], unit="s"),
        pd.to_datetime([60, 2, 3], unit="s", utc=True).tz_convert("Asia/Tokyo"),
    ],
)
def test_dates_become_unix_seconds(dates) -> None:
    frame, _ = check_interactions(clicks(timestamp=dates), "log")
    assert frame["timestamp"].tolist() == [60, 2, 3]


def test_the_input_frame_is_not_changed() -> None:
    frame = clicks(timestamp=[1, 2, 3])
    before = frame.copy()
    check_interactions(frame, "log")
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"user_id": ["u"]}), "log: column item_id is missing; found user_id"),
        (clicks().iloc[:0], "log: no interactions"),
        (clicks(user_id=["u", None, "v"]), "log: user_id in data row 2 is nothing; expected an id"),
        (clicks(item_id=["a", "b", ""]), "log: item_id in data row 3 is nothing; expected an id"),
        (
            clicks(item_id=[1.0, 2.5, 3.0]),
            "log: item_id in data row 2 is 2.5; expected an id (strings or whole",
        ),
        (clicks(item_id=[True, False, True]), "log: item_id holds boolean values"),
        (
            clicks(item_id=["a", 2, True]),
            "log: item_id in data row 3 is True; expected an id (strings or whole",
        ),
        (clicks(timestamp=[1, None, 3]), "log: timestamp in data row 2 is nothing; expected a time in every row"),
        (clicks(timestamp=[1.0, np.inf, 3.0]), "log: timestamp in data row 2 is inf"),
        (
            clicks(timestamp=["2024-01-01", "soon", "later"]),
            "row 2 is 'soon'; expected a number or an ISO 8601 date of",
        ),
        (clicks(timestamp=["now", "2024-01-01", "2024-01-02"]), "log: timestamp in data row 1 is 'now'"),
        (
            clicks(timestamp=["2024-01-01T10:00Z", "2024-01-01", "2024-01-02"]),
            "row 2 is '2024-01-01'; expected a date wi",
        ),
        (clicks(timestamp=[True, False, True]), "log: timestamp holds booleans"),
        (clicks(weight=[1.0, 0.0, 2.0]), "log: weight in data row 2 is 0.0; expected a positive number"),
        (
            clicks(weight=[1.0, 1e300, 2.0]),
            "log: weight in data row 2 is 1e+300; expected a positive number, at most 1e+12",
        ),
        (clicks(weight=[1.0, np.nan, 2.0]), "log: weight in data row 2 is nothing; expected a positive number"),
        (clicks(weight=["1", "heavy", "2"]), "log: weight in data row 2 is 'heavy'; expected a positive number"),
        (clicks(split=["train", "dev", "test"]), "log: split in data row 2 is 'dev'; expected one of train, val, test"),
        (clicks(split=["train", None, "test"]), "log: split in data row 2 is nothing"),
    ],
)
def test_bad_interactions_are_refused_with_row_and_column(frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_interactions(frame, "log")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
