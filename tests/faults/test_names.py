"""Names: what is typed is the name, and no name leads out of its folder or is longer than file systems take."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import load
from m3csr_tf.errors import ConfigError
from m3csr_tf.experiments.sweep.space import load_space
from m3csr_tf.util.names import LONGEST_NAME, check_room, is_plain
from m3csr_tf.verbs.suite_file import read_suite

TYPED = [
    "0701",
    "1.10",
    "1.1",
    "1:30",
    "2026-11-24",
    "2026-02-30",
    "true",
    "False",
    "null",
    "1e3",
    "007",
    "0x1F",
    "yes",
]
BAD = {
    "a way out": "../../../victim",
    "a folder below": "a/b",
    "an absolute path": "/etc",
    "the folder itself": ".",
    "hidden": ".hidden",
    "an option": "-rf",
    "nothing": "''",
    "blank": "a b",
    "a line break": '"a\\nb"',
    "a NUL": '"a\\0b"',
    "half a surrogate pair": '"a\\ud800"',
    "an escape sequence": '"\\e[31m"',
    "letters that are not of ASCII": "ünï",
    "a list": "[a]",
    "a mapping": "{a: 1}",
    "300 letters": "x" * 300,
    "one letter too many": "x" * (LONGEST_NAME + 1),
}


@pytest.mark.parametrize("name", TYPED)
def test_what_is_typed_is_the_name(name: str, tmp_path: Path) -> None:
    assert load(None, [f"run.name={name}"]).run_folder == Path("runs") / name
    assert load(None, [f'run.name="{name}"']).run.name == name
    assert load(None, [f"training.warm_start={name}"]).training.warm_start == (None if name == "null" else name)
    path = tmp_path / "config.yaml"
    path.write_text(load(None, [f"run.name={name}"]).to_yaml())
    assert load(path).run.name == name


@pytest.mark.parametrize("name", [name for name in TYPED if name not in ("true", "False", "null")])
def test_what_is_written_in_a_file_is_the_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"run: {{name: {name}, release_name: {name}, folder: {name}}}\n")
    config = load(path)
    assert (config.run.name, config.run.release_name, config.run.folder) == (name, name, Path(name))


@pytest.mark.parametrize("word", ["true", "null"])
def test_a_word_that_is_no_text_in_a_file_is_refused_as_a_name(word: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"run: {{name: {word}}}\n")
    with pytest.raises(ConfigError, match=r"run\.name: Input should be a valid string, got (True|None)"):
        load(tmp_path / "config.yaml")


@pytest.mark.parametrize("setting", ["run.name", "run.release_name", "training.warm_start", "clusters.frozen_from"])
@pytest.mark.parametrize("case", BAD)
def test_a_name_that_can_be_no_folders_is_refused(case: str, setting: str) -> None:
    with pytest.raises(ConfigError, match=setting) as error:
        load(None, [f"{setting}={BAD[case]}"])
    message = str(error.value)
    assert message.isprintable() and len(message) < 400


@pytest.mark.parametrize("case", BAD)
def test_a_task_of_a_sweep_and_a_member_of_a_suite_are_names_too(case: str, tmp_path: Path) -> None:
    name = BAD[case]
    if case in ("a list", "a mapping"):
        name = f"? {name}\n    "
    task = "{metric: all/recall@20}"
    space, suite = tmp_path / "space.yaml", tmp_path / "suite.yaml"
    settings = "settings: {model.dim: {values: [4, 8]}}\n"
    space.write_text(f"name: tiny\ntasks:\n  {name}: {task}\n{settings}")
    with pytest.raises(ConfigError, match=r"space\.yaml: "):
        load_space(space, load(None))
    space.write_text(f"name: {BAD[case]}\ntasks: {{warm: {task}}}\n{settings}")
    with pytest.raises(ConfigError, match=r"space\.yaml: name: "):
        load_space(space, load(None))
    suite.write_text(f"members:\n  {name}: {{}}\n")
    with pytest.raises(ConfigError, match=r"suite\.yaml: "):
        read_suite(suite)


def test_tasks_and_members_keep_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("members: {0701: {}, 1.10: {}, 1:30: {}}\n")
    assert list(read_suite(path).members) == ["0701", "1.10", "1:30"]


@pytest.mark.parametrize("name", ["a/b", "../x", "x" * 300, "user_row", "two words", "_x", "visuél", "class.x"])
def test_a_modality_whose_name_can_be_no_files_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot name a modality"):
        load(None, [f"data.world.modalities={{{yaml.safe_dump(name).splitlines()[0]}: 3}}"])


@given(st.text(max_size=12))
def test_a_plain_name_is_one_part_of_a_path(text: str) -> None:
    if is_plain(text):
        assert Path(text).name == text and not text.startswith(".") and text.isascii()


ROOMS = {
    "seeds": (["seeds", "--count", "11"], len("-seed10")),
    "ablations": (["ablations", "--count", "2"], len("-orthogonality-seed1")),
}


@pytest.mark.parametrize("verb", ROOMS)
def test_a_name_that_its_runs_have_no_room_for_is_refused_before_anything_is_done(verb: str, tmp_path: Path) -> None:
    words, added = ROOMS[verb]
    most = LONGEST_NAME - added
    name = "x" * (most + 1)
    result = CliRunner().invoke(app, [*words, f"run.name={name}", f"run.folder={tmp_path / 'runs'}"])
    assert result.exit_code == 2 and f"run.name: got {most + 1} letters, expected at most {most}," in result.stderr
    assert list(tmp_path.iterdir()) == []
    check_room("run.name", most, "x" * LONGEST_NAME)


def test_a_task_that_its_trials_have_no_room_for_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    name = "x" * 92
    space = tmp_path / "space.yaml"
    tasks = f"tasks:\n  {name}: {{metric: all/recall@20}}\n"
    space.write_text(f"name: tiny\n{tasks}settings: {{model.dim: {{values: [4, 8]}}}}\n")
    words = ["sweep", "--space", str(space), "--trials", "11", f"run.folder={tmp_path / 'runs'}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2 and f"tasks.{name}: got 92 letters, expected at most 91, since" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["space.yaml"]


def test_a_member_that_its_runs_have_no_room_for_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    name, path = "x" * 60, tmp_path / "suite.yaml"
    path.write_text(f"name: {'y' * 40}\nseeds: 1\nmembers:\n  short: {{}}\n  {name}: {{}}\n")
    result = CliRunner().invoke(app, ["suite", "--config", str(path), f"run.folder={tmp_path / 'runs'}"])
    said = f"suite.yaml: the suite's name and that of members.{name} together: got 100 letters, expected at most 93,"
    assert result.exit_code == 2 and said in result.stderr, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["suite.yaml"]
