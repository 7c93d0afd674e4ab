"""Users of the same history and another taste: what the user's id, which acts through attention alone, is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.config import load
from m3csr_tf.data.audience import Audience
from m3csr_tf.evaluation.report import evaluate_split
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.models.m3csr.zeroed import uniform_attention
from m3csr_tf.prepare import prepare
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.fit import fit
from m3csr_tf.training.runs import TrainedRun, load_trained
from m3csr_tf.training.vectors import UnknownUserVectors, UserVectors, VectorEncoder

PAIRS, TOPIC = 40, 40
"""Pairs of users, and items of each of the two topics."""
EARLIER, SHARED, LATER = 12, 2, 4
"""Clicks on the user's own topic before her history begins; on each topic in the history; in validation and in test."""


def interactions() -> pd.DataFrame:
    """The two users of a pair have clicked the same four items last, and only those are read; each likes one topic."""
    random = np.random.default_rng(0)
    rows: list[tuple[str, str, int, str]] = []
    for pair in range(PAIRS):
        history = [(topic, item) for topic in (0, 1) for item in random.choice(TOPIC, SHARED, replace=False)]
        random.shuffle(history)
        for taste in (0, 1):
            user = f"u{pair}-{taste}"
            taken = {item for topic, item in history if topic == taste}
            own = [f"i{taste}-{item}" for item in random.permutation(TOPIC) if item not in taken]
            clicks = [*own[:EARLIER], *(f"i{topic}-{item}" for topic, item in history)]
            rows += [(user, item, time, "train") for time, item in enumerate(clicks)]
            rows += [(user, item, 100, "val") for item in own[EARLIER : EARLIER + LATER]]
            rows += [(user, item, 101, "test") for item in own[EARLIER + LATER : EARLIER + 2 * LATER]]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "split"])


def catalogue() -> pd.DataFrame:
    """Content says the topic, with noise."""
    topics = np.repeat(np.array([[2, 0, 0, 0], [0, 2, 0, 0]], float), TOPIC, axis=0)
    content = (topics + np.random.default_rng(1).normal(0, 0.5, topics.shape)).astype(np.float32)
    ids = [f"i{topic}-{item}" for topic in (0, 1) for item in range(TOPIC)]
    return pd.DataFrame({"item_id": ids, "clip": list(content)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    # Each user is shown as herself.
    return train(tmp_path_factory.mktemp("tastes"), "training.user_id_dropout=0", "training.max_steps=600")


def train(root: Path, *settings: str) -> TrainedRun:
    interactions().to_parquet(root / "interactions.parquet")
    catalogue().to_parquet(root / "catalogue.parquet")
    overrides = [
        f"run.folder={root}",
        f"data.path={root}",
        "data.format=table",
        "data.modalities={visual: clip}",
        "split.kind=given",
        "clusters.count=2",
        f"history.length={2 * SHARED}",
        "model.dim=8",
        "model.id_dim=16",
    ]
    config = load(None, [*overrides, *settings])
    fit(config, prepare(config, config.run_folder / "prepared"))
    return load_trained(config.run_folder)


def users_of(trained: TrainedRun) -> UserVectors:
    encoder = VectorEncoder(trained.model, item_features(trained.prepared))
    return UserVectors(encoder, Audience(trained.prepared, trained.config, (columns.TRAIN,)))


def recall(trained: TrainedRun, users: Any, items: np.ndarray) -> float:
    settings = trained.config.evaluation.model_copy(update={"bootstrap": 0})
    return evaluate_split(trained.prepared, users, items, columns.TEST, settings)["all"].mean("recall@20")


def test_the_two_users_of_a_pair_have_one_history(trained: TrainedRun) -> None:
    users = trained.prepared.users
    first, second = (users.rows([f"u{pair}-{taste}" for pair in range(PAIRS)]) for taste in (0, 1))
    every = Audience(trained.prepared, trained.config, (columns.TRAIN,)).histories(np.arange(len(users)))
    np.testing.assert_array_equal(every[first], every[second])


def test_the_user_id_tells_apart_users_of_one_history_and_attention_carries_it(trained: TrainedRun) -> None:
    # A user has clicked 16 of 80 items. Whoever knows her topic alone ranks its 26 others: 20 of 26 are listed, 0.77.
    # Whoever does not, ranks 64: 20 of 64, 0.31.
    users = users_of(trained)
    items = users.encoder.items()
    known, unknown = recall(trained, users, items), recall(trained, UnknownUserVectors(users), items)
    assert known > 0.65 and unknown < 0.45
    with uniform_attention(trained.model):
        uniform = recall(trained, users, items)
    assert uniform < 0.45
    assert recall(trained, users, items) == known  # The weights are as they were.


def test_with_uniform_attention_a_user_is_as_if_unknown(trained: TrainedRun) -> None:
    users = users_of(trained)
    rows = np.arange(FIRST_ROW, len(trained.prepared.users), dtype=np.int32)
    unknown = UnknownUserVectors(users)
    assert np.abs(users[rows] - unknown[rows]).max() > 0.1
    with uniform_attention(trained.model):
        np.testing.assert_allclose(users[rows], unknown[rows], atol=1e-5)
