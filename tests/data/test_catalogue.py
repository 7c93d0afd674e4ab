from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from m3csr_tf.data.catalogue import LARGEST_ENTRY, UNKNOWN_VIEWS, check_catalogue
from m3csr_tf.data.raw import check_items_known
from m3csr_tf.errors import InputError

VECTORS = {"visual": np.array([[1, 2], [np.nan, np.nan], [5, 6]])}


def items(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"item_id": ["a", "b", "c"], **columns})


def test_a_row_of_nan_is_an_absent_vector() -> None:
    catalogue = check_catalogue(items(), VECTORS, "list")
    assert catalogue.content["visual"].dtype == np.float32
    assert_array_equal(catalogue.content["visual"], VECTORS["visual"])


def test_view_counts_may_be_missing_here_and_there_or_altogether() -> None:
    some = check_catalogue(items(view_count=[5, None, 0]), VECTORS, "list").frame
    none = check_catalogue(items(), VECTORS, "list").frame
    assert some["view_count"].tolist() == [5, UNKNOWN_VIEWS, 0]
    assert none["view_count"].tolist() == [UNKNOWN_VIEWS] * 3


@pytest.mark.parametrize(
    ("views", "read"),
    [
        (["5", None, "0"], [5, UNKNOWN_VIEWS, 0]),
        (pd.Categorical([5, 1, 0]), [5, 1, 0]),
        (pd.array([5, None, 0], dtype="Int64"), [5, UNKNOWN_VIEWS, 0]),
        (np.array([5, 1, 2**63 - 1], np.uint64), [5, 1, 2**63 - 1]),
    ],
)
def test_view_counts_may_be_whole_numbers_of_any_type(views: Any, read: list[int]) -> None:
    assert check_catalogue(items(view_count=views), VECTORS, "list").frame["view_count"].tolist() == read


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([True, False, True], "view_count holds boolean values; expected whole numbers from 0 up"),
        ([None, False, True], "view_count holds boolean values"),
        (pd.array([True, None, False], dtype="boolean"), "view_count holds boolean values"),
        (pd.to_datetime(["2024-01-01", None, "2024-01-02"]), "view_count holds datetime64 values"),
        ([date(2024, 1, 1)] * 3, "view_count holds date values"),
        (pd.to_timedelta([1, 2, 3], unit="s"), "view_count holds timedelta64 values"),
        ([1j, 2j, 3j], "view_count holds complex values"),
        ([[1], [2], [3]], r"view_count of item 'a' is \[1\]"),
        ([{"a": 1}, None, None], "view_count of item 'a' is {'a': 1}"),
        (np.array([1, 2**63, 3], np.uint64), "view_count of item 'b' is 9223372036854775808"),
    ],
)
def test_view_counts_of_other_types_are_refused(views: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"list: {message}"):
        check_catalogue(items(view_count=views), VECTORS, "list")


@pytest.mark.parametrize(("entry", "written"), [(1.001e12, r"1\.001e\+12"), (-3e38, r"-3e\+38"), (1e19, r"1e\+19")])
def test_a_vector_whose_norm_may_overflow_is_refused(entry: float, written: str) -> None:
    vectors = {"visual": np.array([[1, 2], [np.nan, np.nan], [3, entry]])}
    with pytest.raises(
        InputError, match=rf"entry 1 of the visual vector of item 'c' is {written}.*up to 1e\+12 in abs"
    ):
        check_catalogue(items(), vectors, "list")


def test_the_norm_of_the_largest_vectors_is_finite_in_float32() -> None:
    vectors = np.full((3, 100_000), -LARGEST_ENTRY)
    checked = check_catalogue(items(), {"visual": vectors}, "list").content["visual"]
    # sqrt(1e5 entries of 1e24) = 3.16e14.
    assert_allclose(np.linalg.norm(checked[0]), np.sqrt(1e5) * 1e12, rtol=1e-5)
    assert np.linalg.norm(checked[0]).dtype == np.float32


def test_publish_times_are_seconds_and_may_be_missing() -> None:
    times = ["1970-01-01T00:00:10", None, "1970-01-02"]
    frame = check_catalogue(items(publish_time=times), VECTORS, "list").frame
    assert_array_equal(frame["publish_time"], [10, np.nan, 86_400])


@pytest.mark.parametrize(
    ("frame", "vectors", "message"),
    [
        (pd.DataFrame({"id": ["a"]}), {}, "list: column item_id is missing; found id"),
        (items().iloc[:0], {}, "list: no items"),
        (items(item_id=["a", "b", "a"]), VECTORS, "list: item 'a' is listed twice"),
        (items(view_count=[1, -1, 3]), VECTORS, "list: view_count of item 'b' is -1; expected a whole number from 0"),
        (items(view_count=[1, 2.5, 3]), VECTORS, "list: view_count of item 'b' is 2.5"),
        (items(view_count=["1", "many", "3"]), VECTORS, "list: view_count of item 'b' is 'many'"),
        (items(publish_time=["now", "2024-01-01", None]), VECTORS, "list: publish_time in data row 1 is 'now'"),
        (
            items(),
            {"visual": np.array([[1, np.nan], [1, 2], [3, 4]])},
            "entry 1 of the visual vector of item 'a' is nan",
        ),
        (
            items(),
            {"visual": np.array([[1, 2], [-np.inf, 2], [3, 4]])},
            "entry 0 of the visual vector of item 'b' is -inf",
        ),
        (items(), {"visual": np.array([[1, 2], [1, 1e39], [3, 4]])}, "entry 1 of the visual vector of item 'b' is inf"),
        (items(), {"visual": np.empty((3, 0))}, "list: visual vectors have no entries"),
    ],
)
def test_bad_catalogues_are_refused_with_the_item_named(frame: pd.DataFrame, vectors: dict, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_catalogue(frame, vectors, "list")
    assert message in str(caught.value)


def test_interactions_with_unknown_items_are_refused_with_count_and_example() -> None:
    catalogue = check_catalogue(items(), VECTORS, "list")
    clicks = pd.DataFrame({"user_id": ["u", "u", "v"], "item_id": ["a", "z", "z"]})
    with pytest.raises(InputError, match=r"2 interactions are with items that the catalogue lacks, e\.g\. 'z'"):
        check_items_known(clicks, catalogue, "log")


def test_titles_pictures_and_addresses_are_kept_as_text_and_never_refused() -> None:
    frame = pd.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "title": ["A film", None, 1984],
            "url": ["x" * 1000, "half \ud800", float("nan")],
            "other": [1, 2, 3],
        }
    )
    found = check_catalogue(frame, {}, "test").frame
    assert found["title"].tolist() == ["A film", "", "1984"]
    assert found["url"].tolist() == ["x" * 500, "half \\ud800", ""]
    assert list(found) == ["item_id", "view_count", "title", "url"]
