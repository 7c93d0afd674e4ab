"""Bad input of every kind: one clear message, exit code 2, no traceback, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_logs import Logs


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


def spoil_cell(table: str, column: str, value: object, row: int = 3) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        frame: pd.DataFrame = getattr(logs, table)
        if not isinstance(value, (int, float)) or value != value:
            frame[column] = frame[column].astype(object)
        frame.at[row, column] = value
        if isinstance(value, str):
            frame[column] = frame[column].astype(str)

    return spoil


def drop(table: str, column: str) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        setattr(logs, table, getattr(logs, table).drop(columns=column))

    return spoil


def write(name: str, content: bytes) -> Callable[[Logs], None]:
    return lambda logs: (logs.folder / name).write_bytes(content) and None


def override(**settings: str) -> Callable[[Logs], None]:
    return lambda logs: logs.overrides.update({key.replace("__", "."): value for key, value in settings.items()})


def without_split(logs: Logs, split: str) -> None:
    logs.interactions = logs.interactions[logs.interactions["split"] != split]


def twice(logs: Logs) -> None:
    logs.catalogue = pd.concat([logs.catalogue, logs.catalogue.iloc[[2]]])


def empty(logs: Logs) -> None:
    logs.interactions = logs.interactions.iloc[:0]


def as_mmssl(logs: Logs, visual: np.ndarray, train: object = None) -> None:
    """The same logs in the MMSSL layout."""
    for split in ("train", "val", "test"):
        (logs.folder / f"{split}.json").write_text(json.dumps({"0": [0, 1], "1": [2]} if train is None else train))
    np.save(logs.folder / "visual.npy", visual, allow_pickle=True)
    logs.overrides |= {"data.format": "mmssl", "data.modalities": "{visual: visual.npy}"}


def cold_file(content: str) -> Callable[[Logs], None]:
    def spoil(logs: Logs) -> None:
        (logs.root / "cold.json").write_text(content)
        logs.overrides["split.cold_file"] = str(logs.root / "cold.json")

    return spoil


CASES: dict[str, tuple[Callable[[Logs], None], list[str]]] = {
    "a folder that is not there": (override(data__path="/nowhere/at/all"), ["/nowhere/at/all", "data.path"]),
    "an unknown setting": (override(training__larning_rate="1"), ["training.larning_rate"]),
    "a setting of the wrong type": (override(model__dim="wide"), ["model.dim", "wide"]),
    "settings that contradict each other": (override(model__dim="7", model__heads="2"), ["model.heads"]),
    "an override without a value": (lambda logs: logs.overrides.update({"run": "x"}), ["run"]),
    "no column user_id": (drop("interactions", "user_id"), ["user_id", "interactions"]),
    "a user without an id": (spoil_cell("interactions", "user_id", None), ["user_id"]),
    "an empty item id": (spoil_cell("interactions", "item_id", ""), ["item_id"]),
    "an item that the catalogue lacks": (spoil_cell("interactions", "item_id", "i77"), ["i77", "catalogue"]),
    "a weight of minus one": (spoil_cell("interactions", "weight", -1.0), ["weight"]),
    "a timestamp that is no time": (spoil_cell("interactions", "timestamp", "soon"), ["timestamp"]),
    "a split of an unknown name": (spoil_cell("interactions", "split", "holdout"), ["split", "holdout"]),
    "no interactions": (empty, ["interactions"]),
    "an empty validation split": (lambda logs: without_split(logs, "val"), ["val"]),
    "an empty training split": (lambda logs: without_split(logs, "train"), ["train"]),
    "a split by time without timestamps": (
        lambda logs: (override(split__kind="time")(logs), drop("interactions", "timestamp")(logs)) and None,
        ["timestamp"],
    ),
    "a vector with a NaN in it": (
        spoil_cell("catalogue", "clip", np.array([1, np.nan, 0, 0], np.float32)),
        ["i3", "visual"],
    ),
    "a vector with an infinity in it": (
        spoil_cell("catalogue", "sound", np.array([1, np.inf, 0], np.float32)),
        ["i3", "acoustic"],
    ),
    "a vector of another width": (spoil_cell("catalogue", "clip", np.ones(5, np.float32)), ["clip"]),
    "a negative view count": (spoil_cell("catalogue", "view_count", -5), ["view_count", "-5"]),
    "an item that is in the catalogue twice": (twice, ["i2"]),
    "vectors without entries": (
        lambda logs: logs.catalogue.__setitem__("clip", [np.empty(0, np.float32)] * len(logs.catalogue)),
        ["clip", "empty"],
    ),
    "one column for two modalities": (override(data__modalities="{visual: clip, acoustic: clip}"), ["clip"]),
    "a modality in the column of the ids": (override(data__modalities="{visual: item_id}"), ["item_id"]),
    "a modality whose name TensorFlow cannot take": (override(data__modalities="{visuél: clip}"), ["visuél"]),
    "an id with a line break": (spoil_cell("interactions", "user_id", "u\n1"), ["user_id", "line break"]),
    "more views than there are numbers": (
        lambda logs: logs.catalogue.__setitem__("view_count", np.arange(len(logs.catalogue)) * 1e30),
        ["view_count"],
    ),
    "a modality whose column is missing": (drop("catalogue", "sound"), ["sound", "acoustic"]),
    "a file that is no parquet": (write("interactions.parquet", b"not parquet at all"), ["interactions.parquet"]),
    "both CSV and parquet": (write("catalogue.csv", b"item_id\ni0\n"), ["catalogue"]),
    "pickled vectors": (lambda logs: as_mmssl(logs, np.array([{"a": 1}], object)), ["visual.npy"]),
    "fewer vectors than items": (lambda logs: as_mmssl(logs, np.ones((2, 3), np.float32)), ["2"]),
    "a split file that is no mapping": (lambda logs: as_mmssl(logs, np.ones((3, 3)), train=[1, 2]), ["train.json"]),
    "a cold file that is not there": (override(split__cold_file="/nowhere/cold.json"), ["/nowhere/cold.json"]),
    "a cold file that is no list": (cold_file('{"i1": true}'), ["cold.json"]),
    "a cold item that nobody knows": (cold_file('["i1", "i99"]'), ["i99"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gives_one_message_and_leaves_nothing_behind(case: str, logs: Logs) -> None:
    spoil, named = CASES[case]
    spoil(logs)
    result = logs.run()
    assert result.exit_code == 2, result.output + str(result.exception)
    message = result.stderr.strip()
    assert message.startswith("error: ")
    assert "\n" not in message and "Traceback" not in result.output
    assert all(word in message for word in named), message
    assert logs.written() == []


def test_good_input_is_accepted(logs: Logs) -> None:
    result = logs.run()
    assert result.exit_code == 0, result.output
    assert "runs/case/prepared/manifest.json" in logs.written()


def test_a_configuration_file_that_is_not_there_is_named(logs: Logs) -> None:
    result = logs.run("prepare", "--config", "/nowhere/config.yaml")
    assert result.exit_code == 2
    assert "/nowhere/config.yaml" in result.stderr


def test_a_configuration_file_that_is_no_yaml_is_named(logs: Logs) -> None:
    (logs.root / "broken.yaml").write_text("run: {name: [")
    result = logs.run("prepare", "--config", str(logs.root / "broken.yaml"))
    assert result.exit_code == 2
    assert "broken.yaml" in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["evaluate", "release", "retrieve"])
def test_a_verb_before_its_turn_says_which_comes_first(verb: str, logs: Logs) -> None:
    result = logs.run(verb)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert ("pipelines/release.py" if verb == "retrieve" else "pipelines/train.py") in result.stderr
    assert logs.written() == []


def test_another_configuration_under_the_same_name_is_refused_and_the_first_is_kept(logs: Logs) -> None:
    assert logs.run().exit_code == 0
    before = logs.written()
    logs.overrides["training.learning_rate"] = "0.5"
    result = logs.run()
    assert result.exit_code == 2
    assert "training.learning_rate" in result.stderr and "run.overwrite=true" in result.stderr
    assert logs.written() == before
