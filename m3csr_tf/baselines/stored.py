"""Choices of settings, remembered by the data that they were made on, where all runs of a folder find them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from m3csr_tf.baselines import search
from m3csr_tf.baselines.log import Settings
from m3csr_tf.baselines.search import ChosenSettings
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.util.documents import parse_json
from m3csr_tf.util.files import regular, write_json

FOLDER = ".baselines"
"""In the folder of all runs."""
_READ = ("train.parquet", "val.parquet", "users.parquet", "content_")


def digest(prepared: Prepared) -> str:
    """What the choices depend on: SHA-256, hex, of the clicks and content of a prepared folder.

    Not of its whole manifest: clusters, popularity bins and the night before change nothing here.
    """
    read = {name: sha for name, sha in prepared.manifest["files"].items() if name.startswith(_READ)}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


class Stored:
    """The choices made on one prepared data.

    Args:
      runs: the folder of all runs.
      prepared: the data.
      most_users: users of validation, at most.
      seed: of draws and ties.
    """

    def __init__(self, runs: Path, prepared: Prepared, most_users: int | None, seed: int) -> None:
        self._folder = runs / FOLDER / digest(prepared)[:16]
        self._most_users, self._seed = most_users, seed

    def path(self, name: str) -> Path:
        """Where the choice of a baseline lies."""
        return self._folder / f"{name}.json"

    def read(self, name: str, grid: Sequence[Settings]) -> ChosenSettings | None:
        """The choice of a baseline from this grid; None if there is none, or one that another question has found."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            tree = parse_json(regular(self.path(name)).read_bytes())
            if tree["question"] == self._question(grid):
                return ChosenSettings(**tree["choice"])
        return None

    def write(self, name: str, grid: Sequence[Settings], choice: ChosenSettings) -> None:
        """Remembers a choice."""
        write_json(self.path(name), {"question": self._question(grid), "choice": choice.to_json()})

    def _question(self, grid: Sequence[Settings]) -> dict[str, Any]:
        """All but the data that an answer depends on, as JSON gives it back."""
        question = {
            "users": self._most_users,
            "seed": self._seed,
            "draws": search.DRAWS,
            "draw_users": search.MOST_USERS,
        }
        return json.loads(json.dumps({**question, "grid": list(grid)}))
