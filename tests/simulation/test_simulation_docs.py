"""docs/simulation.md names every setting of a simulation, with its default."""

from __future__ import annotations

import json
from pathlib import Path

from m3csr_tf.simulation.settings import SimulationConfig, SystemConfig

DOCS = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    defaults = SimulationConfig().model_dump(mode="json")
    for name, field in SimulationConfig.model_fields.items():
        assert f"| `simulation.{name}` | `{json.dumps(defaults[name])}` | {field.description} |" in DOCS
    for name in SystemConfig.model_fields:
        assert f"| `systems.NAME.{name}` |" in DOCS
