"""Users and items become requests: which items count, which signature, which limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError
from m3csr_tf.export.requests import Request, item_requests, user_requests

KNOWN = pd.Index(["a", "b", "c", "d"], dtype=object)


class Shelf:
    """Content of a few items: of `x`, `y` and `z` in two modalities, of `bare` in none."""

    def __init__(self) -> None:
        self.ids = pd.Index(["x", "y", "z", "bare", "a"])
        nan = np.nan
        self._content = {
            "visual": np.array([[1, 2], [3, 4], [nan, nan], [nan, nan], [9, 9]], np.float32),
            "acoustic": np.array([[5], [nan], [7], [nan], [9]], np.float32),
        }

    def holds(self, ids: np.ndarray) -> np.ndarray:
        return self.ids.get_indexer(ids) >= 0

    def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        rows = self.ids.get_indexer(ids)
        assert (rows >= 0).all()
        return {name: vectors[rows] for name, vectors in self._content.items()}


def users(*histories: list[str]) -> pd.DataFrame:
    names = [f"u{position}" for position in range(len(histories))]
    return pd.DataFrame({columns.USER_ID: names, columns.HISTORY: pd.Series(histories, dtype=object)})


def requests(*histories: list[str], length: int = 3, items: Any = None, **limits: int) -> list[Request]:
    return list(user_requests(users(*histories), KNOWN, length, items, **{"batch": 100, "content_bytes": 999} | limits))


def test_the_last_different_items_of_the_table_count_oldest_first_behind_an_empty_slot() -> None:
    [request] = requests(["a", "b", "x", "a", "c", "", "d", "y"], [], ["b", "b", "c"])
    assert request.signature == columns.SERVING_DEFAULT
    assert request.rows.tolist() == [0, 1, 2]
    assert request.inputs[columns.USER_ID].tolist() == ["u0", "u1", "u2"]
    assert request.inputs[columns.HISTORY].tolist() == [["", "a", "c", "d"], [""] * 4, ["", "b", "c", ""]]


def test_items_with_content_count_too_and_their_users_go_to_with_content() -> None:
    first, second = requests(["a"], ["b", "x", "nobody", "y", "bare", "c"], ["x", "a", "b", "c"], ["z"], items=Shelf())
    # The third user's x is older than the last three.
    assert (first.signature, first.rows.tolist()) == (columns.SERVING_DEFAULT, [0, 2])
    assert first.inputs[columns.HISTORY].tolist() == [["", "a", "", ""], ["", "a", "b", "c"]]
    assert (second.signature, second.rows.tolist()) == (columns.WITH_CONTENT, [1, 3])
    assert second.inputs[columns.HISTORY].tolist() == [["", "x", "y", "c"], ["", "z", "", ""]]
    nan = np.nan
    np.testing.assert_array_equal(
        second.inputs["history_visual"], [[[0, 0], [1, 2], [3, 4], [0, 0]], [[0, 0], [nan, nan], [0, 0], [0, 0]]]
    )
    np.testing.assert_array_equal(second.inputs["history_acoustic"], [[[0], [5], [nan], [0]], [[0], [7], [0], [0]]])


def test_a_known_item_needs_no_content_even_where_there_is_some() -> None:
    [request] = requests(["a", "b"], items=Shelf())
    assert request.signature == columns.SERVING_DEFAULT


def test_the_first_entry_of_every_input_that_may_be_padded_means_nothing() -> None:
    # TF Serving pads the shorter of two merged requests with its first entry.
    for request in requests(["a", "b"], ["x"], ["z", "a"], [], items=Shelf()):
        assert request.inputs[columns.HISTORY].shape[1] > 0
        assert request.inputs[columns.HISTORY].flat[0] == ""
        for name in set(request.inputs) - {columns.USER_ID, columns.HISTORY}:
            assert request.inputs[name].flat[0] == 0


def test_no_users_are_one_empty_request() -> None:
    [request] = requests(items=Shelf())
    assert request.signature == columns.SERVING_DEFAULT
    assert request.inputs[columns.HISTORY].shape == (0, 1)


def test_users_of_like_histories_share_a_request_that_holds_no_more_slots_than_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("m3csr_tf.export.requests._SLOTS", 6)
    made = requests(["a", "b", "c"], ["a"], [], ["b"], ["c", "a", "b"])
    assert [request.rows.tolist() for request in made] == [[1, 2, 3], [0], [4]]
    assert [request.inputs[columns.HISTORY].shape for request in made] == [(3, 2), (1, 4), (1, 4)]


@pytest.mark.parametrize(("batch", "content_bytes"), [(2, 10_000), (100, 100), (100, 1), (3, 48)])
def test_limits_split_requests_and_lose_nobody(batch: int, content_bytes: int) -> None:
    rng = np.random.default_rng(0)
    pool = np.array([*"abcdxyz", "bare", "nobody"], dtype=object)
    histories = [pool[rng.integers(0, len(pool), rng.integers(0, 6))].tolist() for _ in range(40)]
    [*made] = requests(*histories, items=Shelf(), batch=batch, content_bytes=content_bytes)
    assert sorted(np.concatenate([request.rows for request in made]).tolist()) == list(range(40))
    whole = {name: line for request in requests(*histories, items=Shelf()) for name, line in _lines(request)}
    assert {name: line for request in made for name, line in _lines(request)} == whole
    for request in made:
        size = sum(values.nbytes for name, values in request.inputs.items() if values.dtype != object)
        assert 0 < len(request.rows) <= batch
        assert size <= content_bytes or len(request.rows) == 1


def _lines(request: Request) -> list[tuple[str, tuple]]:
    """Each user's name, and its history with what it says of each item's content."""
    names = [name for name in request.inputs if name not in (columns.USER_ID, columns.HISTORY)]
    lines = []
    for row, user in enumerate(request.inputs[columns.USER_ID]):
        history = request.inputs[columns.HISTORY][row]
        said = [
            (item, *(repr(request.inputs[name][row, slot].tolist()) for name in names))
            for slot, item in enumerate(history)
            if item
        ]
        lines.append((user, (request.signature, *said)))
    return lines


def test_requests_for_items_hold_what_the_limits_allow() -> None:
    frame = pd.DataFrame({columns.ITEM_ID: list("abcde"), columns.VIEW_COUNT: [1, 2, -1, 4, 5]})
    content = {"visual": np.arange(10, dtype=np.float32).reshape(5, 2)}
    made = list(item_requests(Catalogue(frame, content), batch=100, content_bytes=16))
    assert [request.rows.tolist() for request in made] == [[0, 1], [2, 3], [4]]
    assert made[1].inputs[columns.ITEM_ID].tolist() == ["c", "d"]
    assert made[1].inputs[columns.VIEW_COUNT].tolist() == [-1, 4]
    np.testing.assert_array_equal(made[1].inputs["visual"], [[4, 5], [6, 7]])
    assert [len(request.rows) for request in item_requests(Catalogue(frame, content), batch=4, content_bytes=999)] == [
        4,
        1,
    ]


def test_the_saved_user_tower_takes_fresh_items_as_its_signature_does(release: Any) -> None:
    import tensorflow as tf

    from m3csr_tf.export.towers import SavedUserTower, known_items

    folder = release.path(columns.USER_TOWER)
    known = known_items(folder)
    rng = np.random.default_rng(0)
    fresh = {name: rng.normal(size=(2, width)).astype(np.float32) for name, width in release.modalities.items()}

    class Fresh:
        def holds(self, ids: np.ndarray) -> np.ndarray:
            return np.isin(ids.astype(str), ["new", "newer"])

        def content(self, ids: np.ndarray) -> dict[str, np.ndarray]:
            rows = [["new", "newer"].index(one) for one in ids]
            return {name: vectors[rows] for name, vectors in fresh.items()}

    frame = users([known[3], "newer", known[4]], [known[3]], ["new", "new"], [])
    vectors = SavedUserTower(folder, release.manifest["history_length"]).vectors(frame, Fresh())
    history = np.array([[known[3], "newer", known[4]], [known[3], "", ""], ["new", "", ""], ["", "", ""]], dtype=object)
    content = {columns.history_feature(name): np.zeros([4, 3, raw.shape[1]], np.float32) for name, raw in fresh.items()}
    for name, raw in fresh.items():
        content[columns.history_feature(name)][0, 1], content[columns.history_feature(name)][2, 0] = raw[1], raw[0]
    expected = tf.saved_model.load(str(folder)).signatures[columns.WITH_CONTENT](
        user_id=tf.constant(frame[columns.USER_ID].tolist()),
        history=tf.constant(history, tf.string),
        **{name: tf.constant(values) for name, values in content.items()},
    )[columns.USER_VECTOR]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    without = SavedUserTower(folder, release.manifest["history_length"]).vectors(frame)
    assert np.abs(without - vectors).max(axis=1)[[0, 2]].min() > 1e-3
    np.testing.assert_allclose(without[[1, 3]], vectors[[1, 3]], atol=1e-6)


@pytest.mark.parametrize(
    ("user", "history", "message"),
    [(7, ["a"], "user_id holds 7"), ("u", ["a", None], "history holds None"), ("u", [3], "history holds 3")],
)
def test_ids_that_are_no_strings_are_refused(user: Any, history: list[Any], message: str) -> None:
    users = pd.DataFrame({columns.USER_ID: pd.Series([user], dtype=object), columns.HISTORY: [history]})
    with pytest.raises(InputError, match=message):
        list(user_requests(users, pd.Index(["a"], dtype=object), 5, batch=10, content_bytes=1000))
