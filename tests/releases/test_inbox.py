"""A folder that fresh videos arrive in: where its files end, whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.errors import ReleaseError
from m3csr_tf.releases import inbox
from m3csr_tf.releases.release import Release


def video(path: Path, item: str, release: Release) -> Path:
    """A file of one new video."""
    content = {name: [np.ones(width, np.float32)] for name, width in release.modalities.items()}
    pd.DataFrame({columns.ITEM_ID: [item], **content}).to_parquet(path)
    return path


def failing(error: Exception) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_a_file_that_meets_an_unforeseen_error_is_rejected_and_the_next_is_taken_in(
    live: Release, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = video(place / "1.parquet", "bad", live), video(place / "2.parquet", "good", live)
    with monkeypatch.context() as patch:
        patch.setattr(inbox, "refresh", failing(OverflowError("int too large")))
        assert inbox.take_in_and_put_away(live, bad) == []
    assert (place / "rejected" / "1.parquet.error").read_text() == "OverflowError: int too large\n"
    assert (place / "rejected" / "1.parquet").exists() and not bad.exists()
    assert "1.parquet: rejected (OverflowError: int too large)" in caplog.text and "Traceback" in caplog.text
    [done] = inbox.take_in_and_put_away(live, good)
    assert done.new == 1 and "good" in live.index.ids and "bad" not in live.index.ids


@pytest.mark.parametrize("error", [ReleaseError("not current"), OSError(28, "No space left on device")])
def test_what_is_no_fault_of_the_file_is_raised_and_the_file_stays(
    error: Exception, live: Release, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(place / "1.parquet", "new", live)
    monkeypatch.setattr(inbox, "refresh", failing(error))
    with pytest.raises(type(error)) as caught:
        inbox.take_in_and_put_away(live, path)
    assert caught.value is error and inbox.pending_files(place) == [path]


def test_neither_is_a_journal_that_cannot_be_followed(
    live: Release, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(place / "1.parquet", "new", live)
    monkeypatch.setattr(Release, "catch_up", failing(ValueError("odd segment")))
    with pytest.raises(ValueError, match="odd segment"):
        inbox.take_in_and_put_away(live, path)
    assert inbox.pending_files(place) == [path]


def test_a_file_put_away_never_replaces_an_earlier_one_of_its_name(live: Release, place: Path) -> None:
    for item in ("a", "b", "c"):
        inbox.take_in_and_put_away(live, video(place / "night.parquet", item, live))
    done = {path.name: pd.read_parquet(path)[columns.ITEM_ID].tolist() for path in (place / "done").iterdir()}
    assert done == {"night.parquet": ["a"], "night.2.parquet": ["b"], "night.3.parquet": ["c"]}
    for item in ("x", "y"):
        (place / "night.csv").write_text(f"item_id,view_count\n{item},1\n")
        inbox.take_in_and_put_away(live, place / "night.csv")
    rejected = {path.name: path.read_text() for path in (place / "rejected").iterdir()}
    assert set(rejected) == {"night.csv", "night.csv.error", "night.2.csv", "night.2.csv.error"}
    assert "item 'x' is new" in rejected["night.csv.error"] and "item 'y' is new" in rejected["night.2.csv.error"]
