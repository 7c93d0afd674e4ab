"""A run of random weights, its release with a journal, and an inbox: where they lie, and how verbs read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from m3csr_tf.cli import app


@dataclass(frozen=True)
class Product:
    """Where everything lies, and the command line that reads it in this process."""

    root: Path
    overrides: tuple[str, ...] = ()

    @property
    def run_folder(self) -> Path:
        return self.root / "runs" / "small"

    @property
    def prepared(self) -> Path:
        return self.run_folder / "prepared"

    @property
    def release(self) -> Path:
        return self.root / "saved_models" / "small"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    def run(self, *words: str) -> Any:
        places = [f"run.folder={self.root / 'runs'}", f"run.release_folder={self.root / 'saved_models'}"]
        few = ["evaluation.bootstrap=10", "evaluation.baselines=[popularity]"]
        config = str(self.root / "config.yaml")
        return CliRunner().invoke(app, [*words, "--config", config, *places, *few, *self.overrides])
