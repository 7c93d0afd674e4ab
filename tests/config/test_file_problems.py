"""What is said of a file that lists runs or settings and is malformed: the same words whichever verb reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel

from m3csr_tf.config import load
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.comparison.settings import read_experiment
from m3csr_tf.experiments.sweep.space import load_space
from m3csr_tf.simulation.plan import read_plan
from m3csr_tf.verbs.suite_file import read_suite

READERS = {
    "experiment": read_experiment,
    "space": lambda path: load_space(path, load(None)),
    "simulation": read_plan,
    "suite": read_suite,
}


@pytest.mark.parametrize("kind", READERS)
def test_an_entry_that_is_unknown_and_one_that_is_missing_are_named(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yaml"
    file.write_text("frobnicate: 3\n")
    read: Callable[[Path], BaseModel] = READERS[kind]
    with pytest.raises(ConfigError) as refused:
        read(file)
    said = str(refused.value)
    assert said.startswith(f"{file}: ") and "\n" not in said
    assert "unknown entry frobnicate" in said and " is missing" in said
    assert "Field required" not in said and "Extra inputs" not in said


def test_a_file_is_not_blamed_for_a_setting_that_was_overridden(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training: {epochs: 3}\n")
    with pytest.raises(ConfigError, match=r"^training\.epochs: .*got -1$"):
        load(file, ["training.epochs=-1"])
    file.write_text("training: {epochs: -2}\n")
    with pytest.raises(ConfigError, match=r"run\.yaml: training\.epochs: .*got -2$"):
        load(file)
    with pytest.raises(ConfigError, match=r"^model\.dim: .*got -3; .*run\.yaml: training\.epochs: .*got -2$"):
        load(file, ["model.dim=-3"])
