"""A model of one's own, as docs/your_own_model.md has it, goes through the verbs as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_logs import CliRunner, app

from m3csr_tf.config import load
from m3csr_tf.errors import ConfigError
from m3csr_tf.models.registry import model_class
from m3csr_tf.training import run_files

PAGE = (Path(__file__).parents[2] / "docs" / "your_own_model.md").read_text(encoding="utf-8")
SMALL = [
    "data.world.users=300",
    "data.world.items=120",
    "data.world.clicks=6000",
    "data.world.modalities={visual: 12, acoustic: 5}",
    # Content that tells tastes plainly, and people who follow them.
    "data.world.noise=0.1",
    "data.world.nuisance=0",
    "data.world.missing=0",
    "data.world.scale=20",
    "data.world.topics=4",
    "split.kind=random",
    "clusters.count=7",
    "model.dim=8",
    "training.max_steps=100",
    "training.batch_size=256",
    "training.learning_rate=0.03",
    "evaluation.bootstrap=0",
    "retrieve.top_n=5",
]


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """The model of the page, in a file."""
    [code] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    path = tmp_path / "content_factorisation.py"
    path.write_text(code, encoding="utf-8")
    return path


def run(verb: str, *settings: str) -> Any:
    return CliRunner().invoke(app, [verb, *settings])


def test_the_page_s_model_has_fewer_than_sixty_lines(own_file: Path) -> None:
    assert len(own_file.read_text(encoding="utf-8").splitlines()) < 60


def test_the_page_s_model_is_trained_evaluated_released_and_listed_by_the_verbs(own_file: Path, tmp_path: Path) -> None:
    kind = f"model.kind={own_file}:ContentFactorisation"
    places = [f"run.folder={tmp_path / 'runs'}", f"run.release_folder={tmp_path / 'saved_models'}", "run.name=own"]
    done = run("run_all", kind, *SMALL, *places)
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "runs" / "own" / "metrics.json").read_text())
    # 20 of 120 items at random hold a sixth of anybody's clicks.
    assert figures["test"]["all"]["recall@20"] > 0.5
    assert "intensity" not in figures
    manifest = json.loads((tmp_path / "saved_models" / "own" / "manifest.json").read_text())
    assert manifest["layout"] == {"content": [0, 8]} and manifest["places_new_items"] is False
    assert any((tmp_path / "runs" / "own" / "top_n").glob("part-*"))


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere.py:Model", "there is no file nowhere.py"),
        ("no_such_package.module:Model", "cannot import no_such_package.module"),
        ("{own}:Nothing", "has no Nothing"),
        ("{own}:Weights", "is no subclass of"),
        ("numpy:ndarray", "is no subclass of"),
    ],
)
def test_a_place_without_a_model_is_refused_in_one_message(
    place: str, says: str, own_file: Path, tmp_path: Path
) -> None:
    kind = place.replace("{own}", str(own_file))
    done = run("train", f"model.kind={kind}", *SMALL, f"run.folder={tmp_path / 'runs'}")
    assert done.exit_code == 2 and says in " ".join(done.output.split())
    assert "Traceback" not in done.output


BROKEN = {
    # Third line: a name that is defined nowhere.
    "import numpy\n\nx = undefined_name\n": "NameError: name 'undefined_name' is not defined, line 3",
    "import numpy\nx = numpy.no_such_thing\n": "no_such_thing', line 2",
    "class Model(:\n": "cannot import",
    "from m3csr_tf.models.pairwise import PairwiseRecommender\n\nclass Model(PairwiseRecommender):\n    kind = 'x'\n": (
        "Model lacks all_vectors, from_prepared, layout, table_entries, which a model must have"
    ),
}


@pytest.mark.parametrize("code", BROKEN)
def test_a_file_that_cannot_be_a_model_is_refused_in_one_message_that_says_where(code: str, tmp_path: Path) -> None:
    own = tmp_path / "broken.py"
    own.write_text(code)
    done = run("train", f"model.kind={own}:Model", *SMALL, f"run.folder={tmp_path / 'runs'}")
    assert done.exit_code == 2 and BROKEN[code] in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_an_edited_file_is_another_model_than_that_of_its_run(own_file: Path, tmp_path: Path) -> None:
    kind = f"model.kind={own_file}:ContentFactorisation"
    before = load(None, [kind])
    again = load(None, [kind])
    assert before == again and before.fingerprint() == again.fingerprint()
    own_file.write_text(own_file.read_text() + "\n# Another line.\n")
    edited = load(None, [kind])
    [difference] = run_files.differences(before, edited)
    assert difference.startswith("model.code: ")
    # The settings of the run name the old file; the weights that they are of do not fit the new one.
    with pytest.raises(ConfigError, match=r"content_factorisation\.py has changed since"):
        model_class(before.model)
    assert model_class(edited.model).title == "content factorisation"


@pytest.mark.parametrize("kind", ["model:", ":Model", "a b:Model", "model", "model.py:", "model:1"])
def test_what_is_neither_a_kind_nor_a_place_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.kind: expected one of m3csr.*file\.py:Class"):
        load(None, [f"model.kind={json.dumps(kind)}"])


def test_settings_of_ones_own_are_kept_as_they_are_typed() -> None:
    config = load(None, ["model.kind=package.module:Model", "model.settings.layers=2", "model.settings.name=x"])
    assert config.model.settings == {"layers": 2, "name": "x"}  # type: ignore[union-attr]
    assert config.training.loss == "bpr"
    again = type(config).model_validate(config.model_dump(mode="json"))
    assert again == config and np.isclose(again.training.beta, 1e-4)
