"""Fresh videos in a live release: what is given is found, journaled and replayed, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from live import users, videos

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError, ReleaseError
from m3csr_tf.releases import inbox
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, open_release


def exact_order(release: Release, user_vector: np.ndarray) -> list[str]:
    """All items by score, from the item tower itself."""
    ids = release.items.ids
    scores = release.item_vectors(release.items.catalogue(ids)) @ user_vector
    return ids[np.argsort(-scores, kind="stable")].tolist()


def test_a_new_video_is_found_at_once_at_the_rank_of_exact_scoring(folder: Path) -> None:
    release = open_release(folder)
    done = refresh(release, *videos(release, "new 1", "new 2", "new 3"))
    assert (done.new, done.changed, done.removed, done.position) == (3, 0, 0, 1)
    [vector] = release.user_vectors(users([str(release.items.ids[0])]))
    found, _ = release.index.search(vector[np.newaxis], len(release.index))
    assert found[0].tolist() == exact_order(release, vector)


def test_another_process_finds_it_by_catching_up_and_so_does_one_that_opens_later(folder: Path) -> None:
    reader, writer = open_release(folder), open_release(folder)
    assert reader.position == 0
    frame, content = videos(reader, "new")
    refresh(writer, frame, content)
    assert "new" not in reader.index.ids
    assert reader.catch_up() == 1 and reader.position == 1 and reader.catch_up() == 0
    later = open_release(folder)
    for one in (reader, later):
        np.testing.assert_array_equal(one.index.vectors(["new"]), writer.index.vectors(["new"]))
        np.testing.assert_array_equal(one.items.content(np.array(["new"], dtype=object))["visual"], content["visual"])
    earlier = open_release(folder, until=0)
    assert "new" not in earlier.index.ids and earlier.position == 0


def test_a_reader_says_so_when_the_journal_has_become_shorter_than_what_it_has_read(folder: Path) -> None:
    reader, writer = open_release(folder), open_release(folder)
    assert reader.position == 0
    refresh(writer, *videos(writer, "first"))
    head = (reader.journal.folder / "head.json").read_bytes()
    refresh(writer, *videos(writer, "second"))
    assert reader.catch_up() == 2
    # A backup of the journal is put back, in which the second segment does not exist yet.
    next(reader.journal.folder.glob("00000002-*")).unlink()
    (reader.journal.folder / "head.json").write_bytes(head)
    with pytest.raises(ReleaseError, match="holds 1 segments, and 2 were read before"):
        reader.catch_up()


def test_a_reader_goes_on_where_only_the_head_of_the_journal_is_behind(folder: Path) -> None:
    reader, writer = open_release(folder), open_release(folder)
    assert reader.position == 0
    head = (reader.journal.folder / "head.json").read_bytes()
    refresh(writer, *videos(writer, "first"))
    assert reader.catch_up() == 1
    (reader.journal.folder / "head.json").write_bytes(head)  # As if it could not be written after the segment.
    assert reader.catch_up() == 0 and reader.position == 1


def test_a_journal_that_the_system_does_not_show_is_one_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_release(folder)
    assert reader.position == 0

    def refused(path: Path, **how: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(ReleaseError, match="Permission denied"):
        reader.catch_up()


def test_views_move_the_gate_and_the_content_is_remembered(folder: Path) -> None:
    release = open_release(folder)
    known = str(release.items.ids[3])
    [before] = release.index.vectors([known])
    refresh(release, *videos(release, "new"))
    views = pd.DataFrame({columns.ITEM_ID: [known, "new"], columns.VIEW_COUNT: [10**6, 10**6]})
    done = refresh(release, views)
    assert (done.new, done.changed) == (0, 2)
    _, content = videos(release, "new")
    expected = release.item_vectors(
        Catalogue(pd.DataFrame({columns.ITEM_ID: ["new"], columns.VIEW_COUNT: [10**6]}), content)
    )
    np.testing.assert_allclose(release.index.vectors(["new"]), expected, atol=1e-6)
    assert not np.allclose(release.index.vectors([known])[0], before)
    assert (
        release.items.bins(np.array([known, "new"], dtype=object)).tolist()
        == [len(release.manifest["popularity_edges"])] * 2
    )
    # -1 says that nothing is known: the item of the training goes back to the bin of its training.
    refresh(release, views.assign(view_count=-1))
    np.testing.assert_allclose(release.index.vectors([known])[0], before, atol=1e-6)
    assert release.items.is_cold(np.array(["new"], dtype=object)).tolist() == [True]


def test_a_click_on_a_fresh_video_counts_in_the_next_list(folder: Path) -> None:
    release = open_release(folder)
    nothing = release.user_vectors(users([]))
    np.testing.assert_array_equal(release.user_vectors(users(["new"])), nothing)
    refresh(release, *videos(release, "new"))
    assert np.abs(release.user_vectors(users(["new"])) - nothing).max() > 1e-3


def test_removed_videos_are_gone_and_can_come_again(folder: Path) -> None:
    release = open_release(folder)
    known = str(release.items.ids[0])
    refresh(release, *videos(release, "new"))
    done = refresh(release, removed=[known, "new", "never there"])
    assert (done.removed, done.absent) == (2, 1)
    for one in (release, open_release(folder)):
        assert not {known, "new"} & set(one.index.ids)
        assert sorted(one.index.ids) == sorted(one.items.ids)
    refresh(release, *videos(release, "new"))
    assert "new" in release.index.ids and known not in release.index.ids


def wrong(release: Release, case: str) -> tuple[Any, ...]:
    frame, content = videos(release, "new", "newer")
    name = next(iter(content))
    return {
        "no content": (frame, {}),
        "only NaN": (frame, {name: np.full_like(content[name], np.nan)}),
        "another width": (frame, content | {name: content[name][:, 1:]}),
        "unknown modality": (frame, {"smell": content[name]}),
        "given and removed": (frame, content, ["new"]),
        "nothing left": (None, None, list(release.items.ids)),
    }[case]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("no content", "item 'new' is new and has no content vector"),
        ("only NaN", r"\(2 such items\)"),
        ("another width", r"visual vectors have shape \[2, 11\], expected \[2, 12\]"),
        ("unknown modality", "knows no modality smell; expected visual, acoustic"),
        ("given and removed", "item 'new' is given and removed at once"),
        ("nothing left", "no item would be left"),
    ],
)
def test_what_cannot_be_taken_in_is_refused_and_nothing_changes(case: str, message: str, folder: Path) -> None:
    release = open_release(folder)
    with pytest.raises((InputError, ReleaseError), match=message):
        refresh(release, *wrong(release, case))
    assert release.position == 0 and open_release(folder).position == 0
    assert "new" not in release.index.ids


@pytest.mark.parametrize("harm", ["edit", "remove", "foreign"])
def test_a_journal_that_is_not_what_was_written_is_refused(harm: str, folder: Path) -> None:
    release = open_release(folder)
    for name in ("one", "two", "three"):
        refresh(release, *videos(release, name))
    segments = sorted((folder / "journal" / "1").glob("0*"))
    if harm == "edit":
        content = bytearray(segments[1].read_bytes())
        content[100] ^= 1
        segments[1].write_bytes(content)
    elif harm == "remove":
        segments[2].unlink()
    else:
        manifest = json.loads((folder / columns.MANIFEST).read_text())
        other = Release(folder, {**manifest, "fingerprint": "f" * 64}).journal
        other.folder = folder / "journal" / "2"
        other.begin()
        for _, segment in release.journal.read():
            other.append(segment)
        shutil.rmtree(folder / "journal" / "1")
        other.folder.rename(folder / "journal" / "1")
    message = {"edit": "was changed", "remove": "segment 3 of 3 is missing", "foreign": "segment 1 of release ffff"}
    with pytest.raises(ReleaseError, match=message[harm]):
        open_release(folder).index  # noqa: B018


def test_a_vector_that_is_not_finite_is_refused_before_the_journal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = open_release(folder)
    vectors = release.item_vectors

    def broken(items: Catalogue) -> np.ndarray:
        return np.where(np.arange(len(items.frame))[:, np.newaxis] == 1, np.nan, vectors(items))

    monkeypatch.setattr(release, "item_vectors", broken)
    with pytest.raises(InputError, match=r"gives item 'bad' a vector that is not finite \(1 such items\)"):
        refresh(release, *videos(release, "good", "bad"))
    assert open_release(folder).position == 0


def test_a_popularity_update_leaves_the_content_out_of_the_journal(folder: Path) -> None:
    release = open_release(folder)
    refresh(release, *videos(release, "new"))
    refresh(release, pd.DataFrame({columns.ITEM_ID: ["new"], columns.VIEW_COUNT: [9]}))
    first, second = sorted((folder / "journal" / "1").glob("0*"))
    counts = [[pd.read_parquet(path)[name].isna().sum() for name in release.modalities] for path in (first, second)]
    assert counts == [[0, 0], [1, 1]]
    again = open_release(folder)
    for name, vectors in videos(release, "new")[1].items():
        np.testing.assert_array_equal(again.items.content(np.array(["new"], dtype=object))[name], vectors)


def test_content_can_be_taken_from_a_video_only_if_something_is_left_that_places_it(folder: Path) -> None:
    release = open_release(folder)
    known = str(release.items.ids[0])
    frame, content = videos(release, "new")
    refresh(release, frame, content)
    nothing = {name: np.full_like(vectors, np.nan) for name, vectors in content.items()}
    with pytest.raises(InputError, match="item 'new' is new and has no content vector"):
        refresh(release, frame, nothing)
    refresh(release, frame, {"visual": nothing["visual"]})
    with pytest.raises(InputError, match="item 'new' is new and has no content vector"):
        refresh(release, frame, {"acoustic": nothing["acoustic"]})
    refresh(release, pd.DataFrame({columns.ITEM_ID: [known]}), nothing)


def test_an_inbox_is_emptied_in_order_and_bad_files_are_put_aside(folder: Path, tmp_path: Path) -> None:
    release = open_release(folder)
    place = tmp_path / "inbox"
    with pytest.raises(InputError, match="no such folder"):
        inbox.pending_files(place)
    place.mkdir()
    frame, content = videos(release, "a", "b")
    table = frame.assign(**{name: list(vectors) for name, vectors in content.items()})
    table.iloc[:1].to_parquet(place / "2.parquet")
    table.iloc[1:].assign(view_count=7).to_parquet(place / "1.parquet")
    pd.DataFrame({columns.ITEM_ID: ["a"], columns.REMOVED: [True]}).to_csv(place / "3.csv", index=False)
    (place / "0.csv").write_text("item_id,view_count\nnew without content,1\n")
    (place / "_unfinished.parquet").write_text("")
    files = inbox.pending_files(place)
    assert [path.name for path in files] == ["0.csv", "1.parquet", "2.parquet", "3.csv"]
    done = [inbox.take_in_and_put_away(release, path) for path in files]
    assert [[(one.new, one.removed) for one in file] for file in done] == [[], [(1, 0)], [(1, 0)], [(0, 1)]]
    assert "b" in release.index.ids and "a" not in release.index.ids
    assert sorted(path.name for path in (place / "done").iterdir()) == ["1.parquet", "2.parquet", "3.csv"]
    assert "is new and has no content vector" in (place / "rejected" / "0.csv.error").read_text()
    assert inbox.pending_files(place) == []


def test_a_new_item_that_was_there_in_another_spelling_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    release = open_release(folder)
    known = release.index.ids[0]
    other = known.swapcase()
    frame, content = videos(release, other)
    assert refresh(release, frame, content, source="new.csv").new == 1
    assert f"new.csv: item {other!r} is new to the release, which has {known!r}" in caplog.text
    caplog.clear()
    refresh(release, frame, content)
    assert not caplog.messages
