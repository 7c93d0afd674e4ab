"""What tests of several kinds of faults share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """The configuration of a run that takes a few seconds, in a folder of its own."""
    tree = {
        "data": {"world": {"users": 60, "items": 50, "clicks": 600, "modalities": {"visual": 6, "acoustic": 4}}},
        "clusters": {"count": 3},
        "history": {"length": 4},
        "model": {"dim": 4, "id_start": "xavier"},
        "training": {"max_steps": 12, "evaluate_every": 4, "batch_size": 32, "cross_fit": 0},
        "retrieve": {"top_n": 5, "shard_users": 10},
        "run": {"name": "tiny", "folder": str(tmp_path / "runs"), "release_folder": str(tmp_path / "saved_models")},
    }
    path = tmp_path / "world.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path
