"""A run, its release and an inbox, made once of random weights, to be spoiled and mended; a small run to be made."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from product import Product

from m3csr_tf import columns

STEP = 1


@pytest.fixture(scope="session")
def made(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The product, whole: do not change it."""
    from m3csr_tf.releases.publish import publish
    from m3csr_tf.releases.refresh import refresh
    from m3csr_tf.training import finished, run_files, runs

    root = tmp_path_factory.mktemp("product")
    run = make_run(root)
    folder = run_files.open_run(run.config)
    weights = runs.best_weights(folder, STEP)
    runs.weights_checkpoint(run.model).write(str(weights))
    facts = {"best_step": STEP, "steps": STEP, "recall@20": 0.25, "ndcg@20": 0.125, "training_seconds": 0.5}
    facts["prepared"] = run_files.data_digest(run.prepared)
    finished.write(folder, facts, run.config.fingerprint(), weights)
    release = publish(run)
    frame, content = _videos(release.modalities, "fresh 1", "fresh 2")
    refresh(release, frame, content, removed=[str(release.items.ids[0])])
    refresh(release, frame.iloc[:1], {name: vectors[:1] for name, vectors in content.items()})
    (root / "inbox").mkdir()
    frame = frame.assign(**{name: list(vectors) for name, vectors in content.items()}, view_count=[3, 4])
    frame.to_parquet(root / "inbox" / "items.parquet", index=False)
    texts = {name: [" ".join(f"{one:.4f}" for one in vector) for vector in frame[name]] for name in content}
    frame.assign(**texts).to_csv(root / "inbox" / "items.csv", index=False)
    frame[[columns.ITEM_ID]].assign(view_count=[1, 2]).to_csv(root / "inbox" / "views.csv", index=False)
    frame = pd.DataFrame({columns.USER_ID: ["u0001", "nobody"], columns.HISTORY: [["v0003", "fresh 1"], []]})
    frame.to_parquet(root / "users.parquet", index=False)
    (root / "config.yaml").write_text(run.config.to_yaml())
    return Product(root)


@pytest.fixture(scope="session")
def product(made: Product, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """A copy, to spoil and to mend again."""
    root = tmp_path_factory.mktemp("spoilt") / "product"
    shutil.copytree(made.root, root, symlinks=True)
    return Product(root)


@pytest.fixture
def mended(made: Product, product: Product) -> Iterator[Product]:
    """The copy, which is made anew of the original after the test."""
    yield product
    shutil.rmtree(product.root)
    shutil.copytree(made.root, product.root, symlinks=True)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The configuration of a run that takes a few seconds, in a folder of its own."""
    tree = {
        "data": {"world": {"users": 60, "items": 50, "clicks": 600, "modalities": {"visual": 6, "acoustic": 4}}},
        "clusters": {"count": 3},
        "history": {"length": 4},
        "model": {"dim": 4, "id_initialisation": "xavier"},
        "training": {"max_steps": 12, "evaluate_every": 4, "batch_size": 32, "cross_fit": 0},
        "retrieve": {"top_n": 5, "shard_users": 10},
        "run": {"name": "tiny", "folder": str(tmp_path / "runs"), "release_folder": str(tmp_path / "saved_models")},
    }
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def _videos(modalities: dict[str, int], *ids: str) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    content = {name: rng.normal(size=(len(ids), width)).astype(np.float32) for name, width in modalities.items()}
    return pd.DataFrame({columns.ITEM_ID: pd.Series(ids, dtype=object)}), content
