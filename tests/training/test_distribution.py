"""What replicas share of a batch, and who may train together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small_clicks import item_rows, stream, training_data, users_of
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.ids import PADDING_ROW
from m3csr_tf.training import distribution, run_files
from m3csr_tf.training.distribution import Distribution
from m3csr_tf.training.fit import fit


@pytest.mark.parametrize("kind", ["uniform", "shared", "in_batch"])
def test_the_replicas_parts_put_together_are_the_batch_of_one(kind: str) -> None:
    data = training_data(users=30, items=40, clicks=200)
    settings: dict[str, Any] = {"batch_size": 24, "item_id_dropout": 0.3, "user_id_dropout": 0.3, "dropout": 0.5}
    if kind != "in_batch":
        settings["walk_positives"] = 0.5
    negatives = {"kind": kind, "count": 9}
    whole = tf.nest.map_structure(np.asarray, stream(data, negatives, **settings).batch(tf.constant(5, tf.int64)))
    of_three = stream(data, negatives, replicas=3, **settings)
    parts = [
        tf.nest.map_structure(np.asarray, of_three.batch(tf.constant(5, tf.int64), tf.constant(place, tf.int64)))
        for place in range(3)
    ]

    def together(of: Callable[[Any], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(part) for part in parts])

    np.testing.assert_array_equal(together(users_of), users_of(whole))
    np.testing.assert_array_equal(together(lambda part: part["positive_id_dropped"]), whole["positive_id_dropped"])
    for which in ("positive", "negative")[: 1 if kind == "in_batch" else 2]:
        rows = together(lambda part, which=which: item_rows(part, which))
        np.testing.assert_array_equal(rows, item_rows(whole, which))
    slots = together(lambda part: item_rows(part, "query_slots")[part["query"]])
    np.testing.assert_array_equal(slots, item_rows(whole, "query_slots")[whole["query"]])
    if kind == "in_batch":  # Each begins with its own: turned back, the columns are those of the whole.
        for name in ("allowed", "positive_probability"):
            turned = [np.roll(part[name], 8 * place, axis=-1) for place, part in enumerate(parts)]
            whole_of = np.concatenate(turned) if name == "allowed" else turned[1]
            np.testing.assert_array_equal(whole_of, whole[name])
    else:
        np.testing.assert_array_equal(together(lambda part: part["negative_id_dropped"]), whole["negative_id_dropped"])
        np.testing.assert_array_equal(together(lambda part: part["allowed"]), whole["allowed"])


@pytest.mark.parametrize("replicas", [2, 3, 5])
def test_replicas_take_parts_of_a_whole_pool_filled_up_with_padding_that_never_counts(replicas: int) -> None:
    data = training_data(users=30, items=40, clicks=200)
    pool = np.unique(data.clicks.indices)
    missing = -len(pool) % replicas
    settings: dict[str, Any] = {"batch_size": 30, "item_id_dropout": 0.3}
    negatives = {"kind": "shared", "whole_pool": len(pool)}
    alone = tf.nest.map_structure(np.asarray, stream(data, negatives, **settings).batch(tf.constant(5, tf.int64)))
    shared = stream(data, negatives, replicas=replicas, **settings)
    parts = [
        tf.nest.map_structure(np.asarray, shared.batch(tf.constant(5, tf.int64), tf.constant(place, tf.int64)))
        for place in range(replicas)
    ]
    filled = np.concatenate([item_rows(part, "negative") for part in parts])
    np.testing.assert_array_equal(filled, [*pool, *[PADDING_ROW] * missing])
    assert len({len(part["negative"]) for part in parts}) == 1
    id_dropped = np.concatenate([part["negative_id_dropped"] for part in parts])
    np.testing.assert_array_equal(id_dropped[: len(pool)], alone["negative_id_dropped"])
    allowed = np.concatenate([part["allowed"] for part in parts])
    np.testing.assert_array_equal(allowed[:, : len(pool)], alone["allowed"])
    assert allowed.shape == (30, len(pool) + missing) and not allowed[:, len(pool) :].any()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_workers_that_nobody_has_named_are_asked_for(
    text: str, make_config: Callable[..., Config], easy_world: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ConfigError, match="TF_CONFIG must name all workers"):
        fit(make_config(tmp_path, run={"strategy": "multi_worker"}), easy_world)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [({"training": {"batch_size": 65}}, r"training\.batch_size=65"), ({"negatives": {"count": 7}}, r"count=7")],
)
def test_a_batch_that_the_replicas_cannot_share_evenly_is_refused(
    sizes: dict[str, Any], message: str, make_config: Callable[..., Config], tmp_path: Path
) -> None:
    class TwoReplicas:
        num_replicas_in_sync = 2

    with pytest.raises(ConfigError, match=f"{message} is shared by 2 replicas.*give a multiple of 2"):
        Distribution(TwoReplicas()).check(make_config(tmp_path, **sizes))  # type: ignore[arg-type]


@pytest.mark.parametrize("verb", ["run_all", "seeds", "ablations"])
def test_verbs_that_do_more_than_train_are_refused_on_many_workers(verb: str) -> None:
    ran = CliRunner().invoke(app, [verb, "run.strategy=multi_worker"])
    assert ran.exit_code == 2 and "run pipelines/train.py on all of them" in " ".join(ran.stderr.split())


def test_one_device_is_the_default_and_one_replica_of_several_is_the_same(make_config: Any, tmp_path: Path) -> None:
    plain = distribution.open_distribution(make_config(tmp_path).run)
    assert (plain.replicas, plain.is_chief, plain.workers) == (1, True, 1)
    assert plain.strategy is tf.distribute.get_strategy()


def test_strategies_do_not_make_another_run(make_config: Callable[..., Config], tmp_path: Path) -> None:
    one = make_config(tmp_path)
    other = make_config(tmp_path, run={"strategy": "mirrored", "replicas": 2})
    assert run_files.differences(one, other) == [] and one.fingerprint() == other.fingerprint()
