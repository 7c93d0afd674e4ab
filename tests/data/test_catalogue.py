from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from m3csr_tf.data.catalogue import UNKNOWN_VIEWS, check_catalogue
from m3csr_tf.data.raw import check_items_known
from m3csr_tf.errors import InputError

VECTORS = {"visual": np.array([[1, 2], [np.nan, np.nan], [5, 6]])}


def items(**columns: list) -> pd.DataFrame:
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
        (items(view_count=["1", "many", "3"]), VECTORS, "list: view_count of item 'b' is many"),
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
