"""Two users and three items, so few that what a model makes of them is derived by hand.

User u clicked items a and b, user v item a; nobody clicked item c in training. Degrees are u 2, v 1, a 2, b 1, so
that D^-1/2 A D^-1/2 has 1/2 between u and a, and 1/sqrt 2 between u and b and between v and a. The content of a is
(1, 0), of b (0.6, 0.8), of c (0, 1): cosines are 0.6 of a and b, 0.8 of b and c, 0 of a and c.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from m3csr_tf import columns
from m3csr_tf.config import Config
from m3csr_tf.ids import UNKNOWN_ROW
from m3csr_tf.models.registry import build_model
from m3csr_tf.prepare import prepare
from m3csr_tf.sampling.training_data import item_features

CLICKS = [("u", "a", "train"), ("u", "b", "train"), ("v", "a", "train"), ("v", "b", "val"), ("v", "c", "test")]
CONTENT = {"a": (1.0, 0.0), "b": (0.6, 0.8), "c": (0.0, 1.0)}


class HandWorld:
    """A model of the world.

    Args:
      folder: an empty one.
      model: settings of section model.
      sections: other settings.

    Attributes:
      config, prepared, model: as the registry builds them.
      u, v, a, b, c: rows.
    """

    def __init__(self, folder: Path, model: dict[str, Any], **sections: Any) -> None:
        logs = folder / "logs"
        logs.mkdir()
        pd.DataFrame(CLICKS, columns=["user_id", "item_id", "split"]).to_parquet(logs / "interactions.parquet")
        catalogue = {"item_id": list(CONTENT), "clip": [np.float32(one) for one in CONTENT.values()]}
        pd.DataFrame(catalogue).to_parquet(logs / "catalogue.parquet")
        tree = {
            "run": {"name": "hand", "folder": folder / "runs", "release_folder": folder / "saved_models"},
            "data": {"format": "table", "path": logs, "modalities": {"visual": "clip"}},
            "split": {"kind": "given"},
            "content": {"scaling": "none"},
            "clusters": {"count": 1},
            "model": model,
        }
        self.config = Config.model_validate(tree | sections)
        self.prepared = prepare(self.config)
        self.model = build_model(self.config, self.prepared)
        self.u, self.v = (int(row) for row in self.prepared.users.rows(["u", "v"]))
        self.a, self.b, self.c = (int(row) for row in self.prepared.items.rows(["a", "b", "c"]))

    def put(self, table: tf.Variable, rows: dict[int, list[float]]) -> None:
        """Sets rows of a table, and zeros elsewhere."""
        values = np.zeros(table.shape, np.float32)
        for row, value in rows.items():
            values[row] = value
        table.assign(values)

    def new_item(self, content: tuple[float, float]) -> np.ndarray:
        """The item tower's vector of an unknown item, by its content."""
        self.model.before_ranking()
        features = {
            columns.ITEM_ROW: tf.constant([UNKNOWN_ROW]),
            columns.CLUSTER_IDS: tf.zeros([1, 1], tf.int32),
            columns.POPULARITY_BIN: tf.zeros([1], tf.int32),
            "visual": tf.constant([content], tf.float32),
        }
        return self.model.item_tower(features).numpy()[0]

    def items(self) -> np.ndarray:
        """The item tower's vectors by row, float32 [items, D]."""
        self.model.before_ranking()
        return self.model.item_tower(item_features(self.prepared)).numpy()
