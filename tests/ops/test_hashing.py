"""Hashed tables: ids share rows, and training, a released tower and a warm start agree on which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf import columns
from m3csr_tf.ids import FIRST_ROW, UNKNOWN_ROW
from m3csr_tf.ops.hashing import hashed_rows, hashed_table

HASHED = {"dim": 8, "user_hash_rows": 40, "item_hash_rows": 30}


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    return make_run(tmp_path_factory.mktemp("hashed"), model=HASHED)


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 50))
@settings(deadline=None)
def test_an_id_has_the_same_row_alone_and_among_others(ids: list[str], rows: int) -> None:
    together = hashed_table(pa.array(ids, pa.large_string()), rows)
    assert together[:FIRST_ROW].tolist() == list(range(FIRST_ROW))
    for one, row in zip(ids, together[FIRST_ROW:], strict=True):
        assert FIRST_ROW <= row < rows + FIRST_ROW
        assert hashed_rows(tf.constant(one), rows).numpy() == row


def test_the_empty_id_is_unknown() -> None:
    assert hashed_rows(tf.constant([""]), 10).numpy().tolist() == [UNKNOWN_ROW]


def test_tables_have_the_rows_that_were_asked_for_whatever_the_number_of_ids(run: Any) -> None:
    assert run.model.user_tower.user_embedding.shape == (42, 8)
    assert run.model.encoder.id_embedding.shape == (32, run.config.model.id_width)


def test_clicked_items_read_their_hashed_row_and_others_the_unknown_one(run: Any) -> None:
    read = run.model.encoder.id_rows.numpy()
    clicked = run.prepared.train_clicks > 0
    expected = hashed_rows(tf.constant(run.prepared.items.known, tf.string), 30).numpy()
    np.testing.assert_array_equal(read[clicked], expected[clicked[FIRST_ROW:]])
    assert (read[FIRST_ROW:][~clicked[FIRST_ROW:]] == UNKNOWN_ROW).all()
    assert (~clicked[FIRST_ROW:]).any()


def test_training_moves_the_rows_that_users_hash_to(run: Any) -> None:
    from m3csr_tf.models.m3csr.collation import Collator
    from m3csr_tf.sampling.training_data import TrainingData
    from m3csr_tf.training.steps import make_optimizer, take_steps
    from m3csr_tf.training.streams import ExampleStream

    config = run.config.model_copy(update={"training": run.config.training.model_copy(update={"user_id_dropout": 0.0})})
    data = TrainingData.of(run.prepared, config)
    stream = ExampleStream(data, config, Collator(data, config))
    run.model.compile(optimizer=make_optimizer(config.training, run.model, 400))
    before = run.model.user_tower.user_embedding.numpy()
    users = stream.batch(tf.constant(0, tf.int64))["query_user"].numpy()
    take_steps(run.model, iter(stream.dataset(0, 1)), tf.constant(1))
    moved = (run.model.user_tower.user_embedding.numpy() != before).any(axis=1)
    assert set(np.flatnonzero(moved)) == set(hashed_table(run.prepared.users.strings, 40)[users])


def test_a_released_tower_reads_the_rows_of_training_and_needs_no_vocabulary_of_users(run: Any) -> None:
    from m3csr_tf.releases.publish import publish
    from m3csr_tf.sampling.training_data import item_features
    from m3csr_tf.training.vectors import VectorEncoder

    released = publish(run)
    assets = sorted(path.name for path in (released.path(columns.USER_TOWER) / "assets").iterdir())
    assert assets == ["items.txt"]
    slots = np.array([[5, 9, 2, 0, 0, 0], [2, 3, 4, 5, 6, 7]], np.int32)
    users = run.prepared.users.known[:2]
    frame = pd.DataFrame({columns.USER_ID: users})
    frame[columns.HISTORY] = [run.prepared.items.ids(line[line > 0]) for line in slots]
    encoder = VectorEncoder(run.model, item_features(run.prepared))
    expected = encoder.users(run.prepared.users.rows(users), slots)
    np.testing.assert_allclose(released.user_vectors(frame), expected, atol=1e-5)
    items = released.index.vectors(run.prepared.items.known)
    np.testing.assert_allclose(items, encoder.items()[FIRST_ROW:], atol=1e-5)


def test_a_user_never_seen_reads_the_row_that_her_id_hashes_to(run: Any) -> None:
    from m3csr_tf.export.signatures import UserServing

    def vector(user: str) -> np.ndarray:
        frame = {
            columns.USER_ID: tf.constant([user]),
            columns.HISTORY: tf.constant([list(run.prepared.items.known[:3])]),
        }
        return serving.traced()[columns.SERVING_DEFAULT](**frame)[columns.USER_VECTOR].numpy()

    folder = Path(run.prepared.folder).parent / "vocabularies"
    folder.mkdir(exist_ok=True)
    serving = UserServing(run.model, run.prepared, folder)
    known = run.prepared.users.known[0]
    row = hashed_rows(tf.constant(known), 40).numpy()
    twin = next(name for k in range(1000) if hashed_rows(tf.constant(name := f"new {k}"), 40).numpy() == row)
    np.testing.assert_array_equal(vector(twin), vector(known))
