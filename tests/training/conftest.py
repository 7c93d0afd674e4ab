"""A synthetic world that is easy to learn, and a run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from easy_world import WORLD

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.prepare import prepare

TRAINING = {
    "batch_size": 64,
    "learning_rate": 0.01,
    "max_steps": 120,
    "evaluate_every": 20,
    "patience": 120,
    "averaging": 0.9,
    "item_id_dropout": 0.2,
    "id_rate": 1.0,
}


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Config]:
    """`make_config(folder, name="small", training={...}, run={...}, ...)`: settings on the easy world."""

    def make(folder: Path, name: str = "small", **sections: dict[str, Any]) -> Config:
        tree = {
            "run": {"name": name, "folder": folder},
            "data": {"world": WORLD},
            "split": {"kind": "random"},
            "clusters": {"count": 4},
            "history": {"length": 8},
            "model": {"dim": 8, "id_dim": None},
            "negatives": {"count": 32, "whole_pool": 0},
            "training": TRAINING,
        }
        return Config.model_validate({key: tree.get(key, {}) | sections.get(key, {}) for key in tree | sections})

    return make


@pytest.fixture(scope="session")
def easy_world(make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The prepared world, shared: do not change it."""
    return prepare(make_config(tmp_path_factory.mktemp("world")))


@pytest.fixture(scope="session")
def trained_config(make_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The settings of a finished run, shared: do not change its folder."""
    from m3csr_tf.training.fit import fit

    config = make_config(tmp_path_factory.mktemp("trained"))
    fit(config, prepare(config))
    return config
