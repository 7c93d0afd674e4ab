"""A folder of small, good logs in the layout "table", and the command line that reads it in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from m3csr_tf.cli import app

USERS, ITEMS = 12, 10


def interactions() -> pd.DataFrame:
    """Every user clicks six of the ten items; the first four are train, then val and test."""
    rows = [
        (f"u{user}", f"i{(user + step) % ITEMS}", 1_000 + step, 1.0, "train" if step < 4 else ("val", "test")[step - 4])
        for user in range(USERS)
        for step in range(6)
    ]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp", "weight", "split"])


def catalogue() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(ITEMS)],
            "view_count": np.arange(ITEMS),
            "clip": list(random.normal(size=(ITEMS, 4)).astype(np.float32)),
            "sound": list(random.normal(size=(ITEMS, 3)).astype(np.float32)),
        }
    )


class Logs:
    """A folder of good logs that a case spoils, and the command line that reads it."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "logs"
        self.folder.mkdir()
        self.overrides = {
            "data.format": "table",
            "data.path": str(self.folder),
            "data.modalities": "{visual: clip, acoustic: sound}",
            "split.kind": "given",
            "clusters.count": "2",
            "run.folder": str(root / "runs"),
            "run.release_folder": str(root / "saved_models"),
            "run.name": "case",
        }
        self.interactions, self.catalogue = interactions(), catalogue()

    def run(self, verb: str = "prepare", *arguments: str) -> Any:
        """Writes the logs and runs a verb in this process."""
        if not (self.folder / "interactions.parquet").exists():
            self.interactions.to_parquet(self.folder / "interactions.parquet")
        if not (self.folder / "catalogue.parquet").exists():
            self.catalogue.to_parquet(self.folder / "catalogue.parquet")
        overrides = [f"{key}={value}" for key, value in self.overrides.items()]
        return CliRunner().invoke(app, [verb, *arguments, *overrides])

    def refused(self, *named: str, verb: str = "prepare") -> str:
        """The one message that the verb ends in, of which `named` are parts; nothing is written."""
        result = self.run(verb)
        assert result.exit_code == 2, result.output + str(result.exception)
        message = result.stderr.strip()
        assert message.startswith("error: ") and "\n" not in message, message
        assert all(word in message for word in named), message
        assert self.written() == []
        return message

    def written(self) -> list[str]:
        """What is under the runs and releases folders."""
        folders = (self.root / "runs", self.root / "saved_models")
        return sorted(str(path.relative_to(self.root)) for folder in folders for path in folder.rglob("*"))
