"""Stores chosen settings by the data on which they were chosen, where all runs of a folder can find them."""

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
"""Name of the folder of choices, in the folder of all runs."""
_READ = ("train.parquet", "val.parquet", "users.parquet", "content_")


def digest(prepared: Prepared) -> str:
    """Returns a SHA-256, in hex, of the clicks and content of a prepared folder, on which choices depend.

    The whole manifest is not used, because clusters, popularity bins and warm starts have no effect on choices.
    """
    read = {name: sha for name, sha in prepared.manifest["files"].items() if name.startswith(_READ)}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


class Stored:
    """The settings that were chosen on one set of prepared data.

    Args:
      runs: the folder of all runs.
      prepared: the prepared data.
      most_users: largest number of validation users; None takes all.
      seed: seed of draws and ties.
      weighted: whether clicks count by their weights; such choices have a folder of their own.
    """

    def __init__(
        self, runs: Path, prepared: Prepared, most_users: int | None, seed: int, weighted: bool = False
    ) -> None:
        self._folder = runs / FOLDER / f"{digest(prepared)[:16]}{'-weighted' if weighted else ''}"
        self._most_users, self._seed = most_users, seed

    def path(self, name: str) -> Path:
        """Returns the path of the stored choice of a baseline."""
        return self._folder / f"{name}.json"

    def read(self, name: str, grid: Sequence[Settings]) -> ChosenSettings | None:
        """Returns the stored choice of a baseline, or None if there is none for this grid and this kind of search."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            tree = parse_json(regular(self.path(name)).read_bytes())
            if tree["question"] == self._question(grid):
                return ChosenSettings(**tree["choice"])
        return None

    def write(self, name: str, grid: Sequence[Settings], choice: ChosenSettings) -> None:
        """Stores a choice."""
        write_json(self.path(name), {"question": self._question(grid), "choice": choice.to_json()})

    def _question(self, grid: Sequence[Settings]) -> dict[str, Any]:
        """Returns all that a choice depends on except the data, in the form in which JSON returns it."""
        question = {
            "users": self._most_users,
            "seed": self._seed,
            "draws": search.DRAWS,
            "draw_users": search.MOST_USERS,
        }
        return json.loads(json.dumps({**question, "grid": list(grid)}))
