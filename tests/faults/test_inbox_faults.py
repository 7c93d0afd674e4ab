"""A folder that strangers write: nothing in it leads elsewhere, and nothing in it stops the process that follows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.releases import inbox
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.verbs import refresh


@pytest.fixture
def follow(live: Release, place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Release]:
    """`follow(polls)` follows the inbox until it has been empty so many times; returns the release of then."""

    def following(polls: int) -> Release:
        left = [polls]

        def sleep(_: float) -> None:
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        monkeypatch.setattr(refresh, "time", SimpleNamespace(sleep=sleep))
        config: Any = SimpleNamespace(release_folder=live.folder)
        with pytest.raises(KeyboardInterrupt):
            refresh._follow(config, place)
        return open_release(live.folder)

    return following


def video(path: Path, item: str, release: Release) -> Path:
    """A file of one new video; without content it is at fault."""
    content = {name: [np.ones(width, np.float32)] for name, width in release.modalities.items()}
    if item.startswith("bad"):
        content = {}
    frame = pd.DataFrame({columns.ITEM_ID: [item], **content})
    path.write_bytes(frame.to_parquet())
    return path


@pytest.mark.parametrize("what", ["a link elsewhere", "a link to nothing", "a file", "a pipe"])
@pytest.mark.parametrize("name", ["done", "rejected"])
def test_files_go_beside_what_has_taken_the_name_of_their_folder(
    name: str,
    what: str,
    follow: Callable[[int], Release],
    place: Path,
    tmp_path: Path,
    live: Release,
    caplog: pytest.LogCaptureFixture,
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    {
        "a link elsewhere": lambda path: path.symlink_to(elsewhere),
        "a link to nothing": lambda path: path.symlink_to(tmp_path / "nothing"),
        "a file": lambda path: path.write_text("mine"),
        "a pipe": os.mkfifo,
    }[what](place / name)
    video(place / "1.parquet", "new" if name == "done" else "bad", live)
    video(place / "2.parquet", "next", live)
    video(place / "3.parquet", "third" if name == "done" else "bad too", live)
    index = follow(1).index
    assert "next" in index.ids and inbox.pending_files(place) == []
    assert (place / f"{name}.2" / "1.parquet").exists()
    assert sum(f"{name}: is no folder; files go to {name}.2" in message for message in caplog.messages) == 1
    assert list(elsewhere.iterdir()) == [] and not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("length", [249, 250, 254, 255])
@pytest.mark.parametrize("letter", ["a", "é"])
@pytest.mark.parametrize("item", ["new", "bad"])
def test_a_name_as_long_as_names_can_be_is_put_away_under_a_shorter_one(
    item: str, letter: str, length: int, live: Release, place: Path
) -> None:
    size = len(letter.encode())
    stem = letter * ((length - len(".parquet")) // size)
    stem += "x" * (length - len(".parquet") - len(stem.encode()))
    for _ in range(2):
        inbox.take_in_and_put_away(live, video(place / f"{stem}.parquet", item, live))
    assert inbox.pending_files(place) == []
    there = {path.name for path in (place / ("done" if item == "new" else "rejected")).iterdir()}
    files = sorted(name for name in there if name.endswith(".parquet"))
    assert len(files) == 2 and all(name[0] == letter for name in files)
    if item == "bad":
        assert there == {*files, *(f"{name}.error" for name in files)}


def test_what_is_no_file_is_ignored_said_once_and_left_alone(
    follow: Callable[[int], Release], place: Path, tmp_path: Path, live: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = video(tmp_path / "secret.parquet", "secret", live)
    (place / "1.parquet").symlink_to(secret)
    os.mkfifo(place / "2.csv")
    (place / "3.csv").symlink_to("/dev/zero")
    (place / "4.parquet").mkdir()
    (place / "5.parquet").symlink_to(tmp_path / "nothing")
    video(place / "6.parquet", "new", live)
    ids = set(follow(5).index.ids)
    assert "new" in ids and "secret" not in ids and secret.exists()
    printed = capsys.readouterr().out
    assert [printed.count(f"{path}: is passed over") for path in sorted(place.glob("[1-5].*"))] == [1] * 5
    assert [path.name for path in inbox.ignored_entries(place)] == [
        "1.parquet",
        "2.csv",
        "3.csv",
        "4.parquet",
        "5.parquet",
    ]


def test_a_file_that_cannot_be_moved_is_taken_in_once_and_the_next_one_after_it(
    follow: Callable[[int], Release],
    place: Path,
    live: Release,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(inbox.os, "rename", refused)
    for number in range(2):
        video(place / f"{number}.parquet", f"new {number}", live)
    assert {"new 0", "new 1"} <= set(follow(4).index.ids)
    assert len(inbox.pending_files(place)) == 2
    assert sum("cannot be put into done (Permission denied)" in message for message in caplog.messages) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_file_that_may_not_be_read_is_rejected(live: Release, place: Path) -> None:
    video(place / "1.parquet", "new", live).chmod(0)
    assert inbox.take_in_and_put_away(live, place / "1.parquet") == []
    assert "cannot be read" in (place / "rejected" / "1.parquet.error").read_text()


def test_a_file_that_would_remove_every_item_is_rejected_and_does_not_end_the_follower(
    follow: Callable[[int], Release], place: Path, live: Release
) -> None:
    pd.DataFrame({columns.ITEM_ID: live.index.ids, columns.REMOVED: True}).to_parquet(place / "1.parquet")
    video(place / "2.parquet", "new", live)
    assert "new" in follow(1).index.ids
    assert "no item would be left" in (place / "rejected" / "1.parquet.error").read_text()


@pytest.mark.parametrize("name", [b"\xff\xfe.csv", b"\x1b[31mred.csv", b"[bold]b.csv", b"a\nb.csv"])
def test_names_that_are_no_text_or_that_a_terminal_obeys_are_written_out(
    name: bytes, follow: Callable[[int], Release], place: Path, live: Release, caplog: pytest.LogCaptureFixture
) -> None:
    path = place / os.fsdecode(name)
    path.write_text("item_id\nnew\n")
    follow(1)
    rejected = sorted(one.name for one in (place / "rejected").iterdir())
    assert inbox.pending_files(place) == [] and rejected == [path.name, f"{path.name}.error"]
    assert "rejected" in caplog.text and "\x1b" not in caplog.text and "Traceback" not in caplog.text
    assert [message for message in caplog.messages if "\n" in message] == []
    assert (place / "rejected" / f"{path.name}.error").read_text().count("\n") == 1
    caplog.text.encode()


def test_a_name_with_a_line_break_forges_no_line(
    follow: Callable[[int], Release], place: Path, live: Release, capsys: pytest.CaptureFixture[str]
) -> None:
    video(place / "a\nrecall@100 1.0000.parquet", "new", live)
    os.mkfifo(place / "b\nversion 9 is current now.csv")
    assert "new" in follow(1).index.ids
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.startswith(("following ", str(place))) for line in lines), lines


def test_a_name_that_is_no_utf8_is_rejected_with_a_reason(
    follow: Callable[[int], Release], place: Path, live: Release, caplog: pytest.LogCaptureFixture
) -> None:
    for ending in (b".csv", b".parquet"):
        video(place / os.fsdecode(b"u\xff" + ending), "new", live)
    follow(1)
    assert sum("the path is no UTF-8; rename" in message for message in caplog.messages) == 2
    assert "Traceback" not in caplog.text


def test_a_lock_of_the_follower_that_is_a_link_empties_nothing(
    live: Release, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "victim").write_text("kept")
    (place / ".follow.lock").symlink_to(tmp_path / "victim")
    config: Any = SimpleNamespace(release_folder=live.folder)
    with pytest.raises(OSError, match="it is a link"):
        refresh._follow(config, place)
    assert (tmp_path / "victim").read_text() == "kept"
