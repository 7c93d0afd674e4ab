"""The verbs release and refresh, as one types them night after night."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_logs import Logs
from test_nightly import SMALL

from m3csr_tf.serving.release import open_release


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
    assert "version 1 is current again, instead of 2" in logs.run("release", "rollback").output
    assert "version 1 is the current one already" in logs.run("release", "rollback", "--version", "1").output
    assert "versions removed: 2" in logs.run("release", "prune", "--keep", "1").output
    refused = logs.run("release", "rollback")
    assert refused.exit_code == 2 and "no complete version before 1" in refused.stderr


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


def cases() -> dict[str, tuple[str, str]]:
    return {
        "item_id\n": ("--items", "no items"),
        "item_id,view_count\nnew,3\n": ("--items", "item 'new' is new and has no content vector"),
        "item_id,view_count\ni0,-3\n": ("--items", "view_count of item 'i0' is -3"),
        "item_id,view_count\ni0,1\ni0,2\n": ("--items", "item 'i0' is listed twice"),
        "item_id,clip\nnew,1 2 3\n": ("--items", r"expected [1, 4]"),
        "item_id,clip\nnew,1 2 3 x\n": ("--items", "does not hold numbers"),
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
    before = logs.written()
    result = logs.run("refresh", option, str(tmp_path / "items.csv"))
    assert result.exit_code == 2 and message in result.stderr, result.output
    assert "items.csv" in result.stderr
    assert [name for name in logs.written() if not name.endswith(".lock")] == [
        name for name in before if not name.endswith(".lock")
    ]


def test_a_refresh_of_nothing_and_an_inbox_that_is_not_there_are_refused(logs: Logs, tmp_path: Path) -> None:
    result = logs.run("refresh")
    assert result.exit_code == 2 and "nothing to do" in result.stderr
    result = logs.run("refresh", "--follow", str(tmp_path / "nowhere"))
    assert result.exit_code == 2 and "no such folder" in result.stderr
