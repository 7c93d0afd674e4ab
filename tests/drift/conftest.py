"""A run that has been trained in name, with its release of two versions: one of it, one of other weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from runs_in_name import finish
from typer.testing import CliRunner

from m3csr_tf.cli import app


@dataclass(frozen=True)
class TwoVersions:
    """Where they lie, and the command line that reads them in this process."""

    root: Path
    run: Any

    @property
    def release(self) -> Path:
        return self.root / "saved_models" / "small"

    def release_verb(self, *words: str) -> Any:
        places = [f"run.folder={self.root / 'runs'}", f"run.release_folder={self.root / 'saved_models'}"]
        return CliRunner().invoke(app, ["release", *words, "--config", str(self.root / "config.yaml"), *places])


@pytest.fixture(scope="module")
def two(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> TwoVersions:
    """Version 1 has other random weights; version 2 is the run's, with a video that came by refresh."""
    import numpy as np
    import pandas as pd

    from m3csr_tf.releases.publish import publish
    from m3csr_tf.releases.refresh import refresh

    root = tmp_path_factory.mktemp("two")
    run = make_run(root, exposure={"cold_share": "trained"}, evaluation={"bootstrap": 0})
    kept = [weight.numpy() for weight in run.model.trainable_variables]
    random = np.random.default_rng(7)
    for weight in run.model.trainable_variables:
        weight.assign(random.normal(scale=0.3, size=weight.shape))
    publish(run)
    for weight, value in zip(run.model.trainable_variables, kept, strict=True):
        weight.assign(value)
    finish(run)
    release = publish(run)
    frame = pd.DataFrame({"item_id": pd.Series(["fresh"], dtype=object)})
    refresh(release, frame, {name: np.ones((1, width), np.float32) for name, width in release.modalities.items()})
    (root / "config.yaml").write_text(run.config.to_yaml())
    return TwoVersions(root, run)
