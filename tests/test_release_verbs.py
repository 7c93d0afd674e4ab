"""The verbs release and refresh, as one types them night after night."""

from __future__ import annotations

import fcntl
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_logs import Logs
from test_nightly import SMALL
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.releases import inbox
from m3csr_tf.releases.refresh import Refreshed
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.util import locks
from m3csr_tf.util.files import sha256
from m3csr_tf.util.locks import locked
from m3csr_tf.verbs import refresh


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which small logs were trained and released."""
    logs = Logs(tmp_path_factory.mktemp("release_verbs"))
    logs.overrides |= SMALL
    for verb in ("train", "release"):
        result = logs.run(verb)
        assert result.exit_code == 0, result.output
    return logs.root


@pytest.fixture
def logs(trained: Path, tmp_path: Path) -> Logs:
    """A copy of it."""
    for name in ("logs", "runs", "saved_models"):
        shutil.copytree(trained / name, tmp_path / "copy" / name)
    shutil.rmtree(tmp_path / "copy" / "logs")
    logs = Logs(tmp_path / "copy")
    logs.overrides |= SMALL | {"data.path": str(trained / "logs")}
    return logs


def in_one_line(output: str) -> str:
    """Without the breaks of lines that are too long for the terminal."""
    return " ".join(output.split())


def fresh(folder: Path, *ids: str, **columns: object) -> Path:
    """A file of videos with content."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"item_id": ids})
    frame["clip"] = list(random.normal(size=(len(ids), 4)).astype(np.float32))
    frame["sound"] = [None] * len(ids)
    frame.assign(**columns).to_parquet(folder / "fresh.parquet")
    return folder / "fresh.parquet"


def test_a_run_that_is_current_is_not_published_twice_unless_asked_to(logs: Logs) -> None:
    result = logs.run("release")
    assert result.exit_code == 0 and "version 1 is this run already" in result.output
    result = logs.run("release", "publish", "--again")
    assert result.exit_code == 0 and "released version 2" in result.output
    logs.overrides["index.recall"] = "0.9"
    assert "released version 3" in logs.run("release").output


def test_list_verify_rollback_and_prune_say_what_they_find_and_do(logs: Logs) -> None:
    assert logs.run("release", "--again").exit_code == 0
    listed = logs.run("release", "list")
    assert listed.exit_code == 0 and listed.output.count("case") == 2 and "current" in listed.output
    verified = logs.run("release", "verify", "--version", "1", "--sample", "5")
    assert verified.exit_code == 0, verified.output
    assert "version 1" in verified.output and "vectors of 5 items and 5 users" in verified.output
    assert "is current again, instead of 2" in in_one_line(logs.run("release", "rollback").output)
    assert "version 1 is the current one already" in logs.run("release", "rollback", "--version", "1").output
    assert "versions removed: 2" in logs.run("release", "prune", "--keep", "1").output
    refused = logs.run("release", "rollback")
    assert refused.exit_code == 2 and re.search("no complete version .*before 1", refused.stderr)


def plain(output: str) -> str:
    """The words of a help text or a message, without the frame and the line breaks that fit it to the terminal."""
    return in_one_line(output.replace("│", " "))


OPTIONS = {
    "publish": {"--again", "--anyway"},
    "list": set(),
    "verify": {"--version", "--sample"},
    "rollback": {"--version"},
    "prune": {"--keep"},
    "compare": {"--users", "--json"},
}
"""The options of each word of `release`, beside --config and --help."""


@pytest.mark.parametrize("word", OPTIONS)
def test_each_word_has_a_help_text_with_its_own_options(word: str) -> None:
    result = CliRunner().invoke(app, ["release", word, "--help"])
    assert result.exit_code == 0
    assert set(re.findall(r"--[a-z]+", plain(result.output))) == {"--config", "--help", *OPTIONS[word]}
    assert "SECTION.NAME=VALUE" in plain(result.output)


def test_the_help_text_of_release_names_its_words_and_the_one_that_may_be_left_out() -> None:
    result = CliRunner().invoke(app, ["release", "--help"])
    assert result.exit_code == 0 and "without a word, `publish`" in plain(result.output)
    for word in OPTIONS:
        assert re.search(rf"\b{word} +[A-Z]", plain(result.output)), word


@pytest.mark.parametrize("word", OPTIONS)
def test_an_option_that_a_word_does_not_take_is_refused(word: str) -> None:
    values = {"--again": [], "--anyway": [], "--version": ["1"], "--sample": ["7"], "--keep": ["3"]}
    for option in values.keys() - OPTIONS[word]:
        result = CliRunner().invoke(app, ["release", word, option, *values[option]])
        assert result.exit_code == 2 and f"No such option: {option}" in plain(result.stderr), option


def test_without_a_word_the_options_are_those_of_publish() -> None:
    result = CliRunner().invoke(app, ["release", "--sample", "7"])
    assert result.exit_code == 2
    assert "release publish" in plain(result.stderr) and "No such option: --sample" in plain(result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--config", "FILE", "run.name=nobody"],
        ["--config", "FILE", "list", "run.name=nobody"],
        ["-c", "FILE", "list", "run.name=nobody"],
        ["--config=FILE", "list", "run.name=nobody"],
    ],
)
def test_the_word_may_come_after_options(arguments: list[str], tmp_path: Path) -> None:
    # The file has the name of a word: the value of an option is not taken for the word.
    (tmp_path / "prune").write_text(f"run: {{release_folder: {tmp_path / 'releases'}}}\n")
    given = [one.replace("FILE", str(tmp_path / "prune")) for one in arguments]
    result = CliRunner().invoke(app, ["release", *given])
    assert result.exit_code == 2 and "no release here" in result.stderr, result.output


def test_a_word_after_a_setting_is_refused_instead_of_being_passed_over() -> None:
    result = CliRunner().invoke(app, ["release", "run.name=nobody", "list"])
    assert result.exit_code == 2 and "'list'" in result.stderr and "section.name=value" in result.stderr


def test_an_unknown_word_and_a_release_that_is_not_there_are_refused(logs: Logs) -> None:
    result = logs.run("release", "pubish")
    assert result.exit_code == 2 and "'pubish': expected publish, list, verify, rollback, prune" in result.stderr
    logs.overrides["run.name"] = "nobody"
    for word in ("list", "verify", "rollback", "prune"):
        result = logs.run("release", word)
        assert result.exit_code == 2 and "no release here" in result.stderr, word
    assert not (logs.root / "saved_models" / "nobody" / "manifest.json").exists()


def test_fresh_videos_come_change_and_go_by_file(logs: Logs, tmp_path: Path) -> None:
    place = logs.root / "saved_models" / "case"
    result = logs.run("refresh", "--items", str(fresh(tmp_path, "new 1", "new 2")))
    assert result.exit_code == 0, result.output
    assert "2 new, 0 changed, 0 removed" in result.output and "12 items" in result.output
    (tmp_path / "views.csv").write_text("item_id,view_count\nnew 1,5\ni0,\n")
    assert "0 new, 2 changed" in logs.run("refresh", "--items", str(tmp_path / "views.csv")).output
    (tmp_path / "gone.txt").write_text("i3\nnew 2\nnobody\n")
    result = logs.run("refresh", "--remove", str(tmp_path / "gone.txt"))
    assert "2 removed (1 to remove were not there)" in result.output
    release = open_release(place)
    assert "new 1" in release.index.ids and not {"i3", "new 2"} & set(release.index.ids)
    assert release.items.views(np.array(["new 1", "i0"], dtype=object)).tolist() == [5, -1]
    result = logs.run("refresh", "--compact")
    assert result.exit_code == 0 and "into version 2: 10 items" in result.output
    assert sorted(open_release(place).index.ids) == sorted(release.index.ids)
    assert logs.run("release", "verify").exit_code == 0


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file under a folder, locks aside."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def cases() -> dict[str, tuple[str, str]]:
    return {
        "item_id,view_count\n": ("--items", "no items"),
        "item_id,view_count\nnew,3\n": ("--items", "item 'new' is new and has no content vector"),
        "item_id,view_count\ni0,-3\n": ("--items", "view_count of item 'i0' is -3"),
        "item_id,view_count\ni0,1\ni0,2\n": ("--items", "item 'i0' is listed twice"),
        "item_id,clip\nnew,1 2 3\n": ("--items", r"expected [1, 4]"),
        "item_id,clip\nnew,1 2 3 x\n": ("--items", "cannot be read as a vector"),
        "item_id,removed\ni0,maybe\n": ("--items", "expected true or false"),
        "video\ni0\n": ("--items", "column item_id is missing"),
        "": ("--items", "cannot be read as csv"),
        "video,title\ni0,x\n": ("--remove", "column item_id is missing"),
        "item_id\n\n": ("--remove", "holds no item id"),
    }


@pytest.mark.parametrize("content", cases())
def test_bad_files_of_items_are_refused_and_nothing_changes(content: str, logs: Logs, tmp_path: Path) -> None:
    option, message = cases()[content]
    (tmp_path / "items.csv").write_text(content)
    before = contents(logs.root / "saved_models")
    assert len(before) > 10
    result = logs.run("refresh", option, str(tmp_path / "items.csv"))
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert "items.csv" in result.stderr
    assert contents(logs.root / "saved_models") == before


def test_a_refresh_of_nothing_and_an_inbox_that_is_not_there_are_refused(logs: Logs, tmp_path: Path) -> None:
    result = logs.run("refresh")
    assert result.exit_code == 2 and "nothing to do" in result.stderr
    result = logs.run("refresh", "--follow", str(tmp_path / "nowhere"))
    assert result.exit_code == 2 and "no such folder" in result.stderr


def test_an_inbox_is_followed_through_a_new_version_until_ctrl_c(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "inbox"
    place.mkdir()

    def some_come() -> None:
        fresh(place, "new 1").rename(place / "1.parquet")
        (place / "2.csv").write_text("item_id,view_count\nwithout content,1\n")

    def more_come_as_a_version_is_published() -> None:
        """Its turn in the loop has begun, so the file meets a version that is not current any more."""
        fresh(place, "new 2").rename(place / "3.parquet")
        take_in = inbox.take_in_and_put_away

        def late(release: Release, path: Path) -> list[Refreshed]:
            monkeypatch.setattr(inbox, "take_in_and_put_away", take_in)
            assert "released version 2" in logs.run("release", "--again").output
            return take_in(release, path)

        monkeypatch.setattr(inbox, "take_in_and_put_away", late)

    def another_follower_would_wait() -> None:
        with (place / ".follow.lock").open() as stream, pytest.raises(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def interrupt() -> None:
        raise KeyboardInterrupt

    steps = [some_come, more_come_as_a_version_is_published, another_follower_would_wait, interrupt]
    waiting: list[list[Path]] = []

    def sleep(_: float) -> None:
        waiting.append(inbox.pending_files(place))
        steps.pop(0)()

    monkeypatch.setattr(refresh, "time", SimpleNamespace(sleep=sleep))
    result = logs.run("refresh", "--follow", str(place))
    assert result.exit_code == 130 and "interrupted" in result.stderr, result.output
    assert waiting == [[]] * 4  # It sleeps only when nothing is left to take in.
    printed = [
        f"following {place} into version 1",
        "1.parquet: 1 new, 0 changed, 0 removed",
        "version 2 is current now",
        "3.parquet: 1 new, 0 changed, 0 removed",
    ]
    assert re.search(".*".join(map(re.escape, printed)), in_one_line(result.stdout)), result.stdout
    assert sorted(path.name for path in (place / "done").iterdir()) == ["1.parquet", "3.parquet"]
    assert "no content vector" in (place / "rejected" / "2.csv.error").read_text()
    release = open_release(logs.root / "saved_models" / "case")
    assert release.version == 2 and {"new 1", "new 2"} <= set(release.index.ids)


def test_a_second_follower_waits_for_the_first(logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []

    def interrupt(text: str, *arguments: object) -> None:
        printed.append(text % arguments)
        raise KeyboardInterrupt

    fresh(tmp_path, "new").rename(tmp_path / "1.parquet")
    monkeypatch.setattr(locks, "_PATIENCE", 0.01)
    monkeypatch.setattr(locks, "logger", SimpleNamespace(warning=interrupt))
    with locked(tmp_path / ".follow.lock"):
        result = logs.run("refresh", "--follow", str(tmp_path))
    assert result.exit_code == 130 and "following" not in result.output
    assert len(printed) == 1 and printed[0].endswith("holds it; waiting")
    assert inbox.pending_files(tmp_path) == [tmp_path / "1.parquet"]
