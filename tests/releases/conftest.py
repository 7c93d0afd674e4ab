"""What tests of live releases share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from m3csr_tf.releases.publish import publish
from m3csr_tf.releases.release import Release

Publish = Callable[[], Release]


@pytest.fixture
def folder(release: Release, tmp_path: Path) -> Path:
    """A copy of the release's folder, to change."""
    return Path(shutil.copytree(release.folder, tmp_path / "moved" / "small"))


@pytest.fixture
def again(folder: Path, untrained_run: Any) -> Publish:
    """Publishes the run once more, into the copy."""
    run = untrained_run.config.run.model_copy(update={"release_folder": folder.parent})
    config = untrained_run.config.model_copy(update={"run": run})
    return lambda: publish(type(untrained_run)(config, untrained_run.prepared, untrained_run.model))
