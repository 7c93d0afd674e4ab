"""The prepared tables and arrays fit together as docs/data.md says, and categories are a modality like any other."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.prepare import prepare

CATEGORIES = {f"i{item}": np.eye(3)[item % 3] for item in range(9)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Nine items of three categories, one-hot, and one item without any."""
    folder = tmp_path_factory.mktemp("logs")
    pairs = [(f"u{user}", f"i{(user + step) % 9}", step) for user in range(20) for step in range(6)]
    pd.DataFrame(pairs, columns=["user_id", "item_id", "timestamp"]).to_parquet(folder / "interactions.parquet")
    ids = [*reversed(CATEGORIES), "i9"]
    items = pd.DataFrame({"item_id": ids, "category": [*(CATEGORIES[item] for item in ids[:-1]), None]})
    items.to_parquet(folder / "catalogue.parquet")
    data = {"format": "table", "path": folder, "modalities": {"category": "category"}}
    tree = {"run": {"folder": folder}, "data": data, "split": {"kind": "time"}, "clusters": {"count": 3}}
    return prepare(Config.model_validate(tree))


def test_items_of_one_category_share_a_cluster_and_others_do_not(prepared: Prepared) -> None:
    clusters = pd.Series(prepared.cluster_ids[2:, 0], index=prepared.items.known)
    assert clusters["i9"] == 0
    by_category = [{clusters[f"i{item}"] for item in range(first, 9, 3)} for first in range(3)]
    assert all(len(shared) == 1 for shared in by_category) and len(set.union(*by_category)) == 3


def test_the_lines_of_the_documentation_join_clicks_items_and_vectors(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(items = .*?)```", text, flags=re.DOTALL)
    monkeypatch.chdir(prepared.folder)
    found: dict = {"numpy": np, "pandas": pd}
    exec(code.replace("content_visual", "content_category"), found)
    for item, vector in zip(found["clicks"]["item_id"], found["vectors"], strict=True):
        np.testing.assert_array_equal(vector, CATEGORIES[item])
    assert len(found["vectors"]) == prepared.manifest["counts"]["train_interactions"]
