"""Fresh videos in a live release: what is given is found, journaled, replayed, and carried into the next version."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from m3csr_tf import columns
from m3csr_tf.config import IndexConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import InputError, ReleaseError
from m3csr_tf.serving import inbox, takeover, verification, versions
from m3csr_tf.serving.compaction import compact
from m3csr_tf.serving.publish import publish
from m3csr_tf.serving.refresh import refresh
from m3csr_tf.serving.release import Release, is_current, open_release

Publish = Callable[[], Release]


@pytest.fixture
def folder(release: Release, tmp_path: Path) -> Path:
    """A copy of the release's folder, to change."""
    return Path(shutil.copytree(release.folder, tmp_path / "moved" / "small"))


@pytest.fixture
def again(folder: Path, untrained_run: Any) -> Publish:
    """Publishes the run once more, into the copy."""
    run = untrained_run.config.run.model_copy(update={"release_folder": folder.parent})
    config = untrained_run.config.model_copy(update={"run": run})
    return lambda: publish(type(untrained_run)(config, untrained_run.prepared, untrained_run.model))


def videos(release: Release, *ids: str, seed: int = 0) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """New videos with random content."""
    rng = np.random.default_rng(seed)
    content = {
        name: rng.normal(size=(len(ids), width)).astype(np.float32) for name, width in release.modalities.items()
    }
    return pd.DataFrame({columns.ITEM_ID: pd.Series(ids, dtype=object)}), content


def users(*histories: list[str]) -> pd.DataFrame:
    """Users whom no tower knows."""
    ids = [f"somebody {number}" for number in range(len(histories))]
    return pd.DataFrame({columns.USER_ID: ids, columns.HISTORY: pd.Series(list(histories), dtype=object)})


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


def test_the_next_version_takes_over_what_it_would_not_know(folder: Path, again: Publish) -> None:
    release = open_release(folder)
    known = release.items.ids[:2].astype(object).tolist()
    refresh(release, *videos(release, "new", "newer"))
    refresh(release, pd.DataFrame({columns.ITEM_ID: [known[0]], columns.VIEW_COUNT: [10**6]}), removed=[known[1]])
    refresh(release, removed=["newer"])
    second = again()
    assert second.version == 2 and second.position == 1
    assert "new" in second.index.ids and not {"newer", known[1]} & set(second.index.ids)
    # What the new training knows of its own items counts.
    assert second.items.views(np.array([known[0]], dtype=object)).tolist() == [-1]
    assert not is_current(release)
    with pytest.raises(ReleaseError, match="version 1 is not the current one"):
        refresh(release, *videos(release, "late"))
    assert again().items.removed == {known[1], "newer"}


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)


def test_what_came_and_went_survives_a_broken_manifest(folder: Path, again: Publish, caplog: Any) -> None:
    release = open_release(folder)
    known = str(release.items.ids[0])
    refresh(release, *videos(release, "new"), removed=[known])
    corrupt(folder / columns.MANIFEST)
    with pytest.raises(ReleaseError):
        open_release(folder)
    second = again()
    assert "new" in second.index.ids and known not in second.index.ids
    assert "does not say which version was current" in caplog.text
    (folder / columns.MANIFEST).unlink()
    assert versions.rollback(folder, 1)[0].version == 1


def test_what_can_still_be_read_of_a_broken_journal_is_taken_over(folder: Path, again: Publish, caplog: Any) -> None:
    again()
    release = open_release(folder)
    known = release.items.ids[:2].astype(object).tolist()
    for item, name in zip(known, ("lost", "kept"), strict=True):
        refresh(release, *videos(release, name), removed=[item])
    corrupt(min((folder / "journal" / "2").glob("0*")))
    back, taken = versions.rollback(folder)
    assert taken is not None and taken.removed == [known[1]]
    assert "kept" in back.index.ids and "lost" not in back.index.ids and known[1] not in back.index.ids
    assert "what it held is lost" in caplog.text


def test_a_release_without_its_journal_is_refused(folder: Path) -> None:
    refresh(open_release(folder), *videos(open_release(folder), "new"))
    shutil.rmtree(folder / "journal")
    with pytest.raises(ReleaseError, match="the journal is missing"):
        open_release(folder).index  # noqa: B018


def test_a_rollback_goes_to_the_version_that_was_current_before_not_to_one_that_was_left(
    folder: Path, again: Publish
) -> None:
    again()
    assert versions.rollback(folder)[0].version == 1  # Version 2 was bad.
    assert again().version == 3
    assert versions.rollback(folder)[0].version == 1
    assert versions.rollback(folder, 3)[0].version == 3
    assert versions.rollback(folder)[0].version == 1


def test_a_rollback_over_a_compaction_keeps_what_refreshes_changed_and_says_nothing_twice(folder: Path) -> None:
    release = open_release(folder)
    known = str(release.items.ids[0])
    refresh(release, pd.DataFrame({columns.ITEM_ID: [known], columns.VIEW_COUNT: [2000]}))
    compact(folder, IndexConfig())
    second = compact(folder, IndexConfig())
    refresh(second, pd.DataFrame({columns.ITEM_ID: [known], columns.VIEW_COUNT: [3000]}))
    third = compact(folder, IndexConfig())
    back, taken = versions.rollback(folder, 1)
    assert taken is not None and taken.items.frame[columns.ITEM_ID].tolist() == [known]
    assert back.items.views(np.array([known], dtype=object)).tolist() == [3000]
    for version in (third.version, 1):
        assert versions.rollback(folder, version)[1] is None


def test_items_of_another_trainings_catalogue_leave_with_the_next_one(release: Release) -> None:
    old, new = release.items_alone(), release.items_alone()
    frame, content = videos(release, "by refresh", "by rollback")
    given = Catalogue(frame.assign(view_count=-1), content)
    old.upsert(given, np.array([True, True]), np.array([True, False]))
    assert takeover.fresh_only(old, new).tolist() == ["by refresh"]


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


def test_a_folder_that_cannot_be_written_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, opened = open_release(folder), Path.open

    def refused(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.suffix == ".lock":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refused)
    for work in (
        lambda: refresh(release, *videos(release, "new")),
        lambda: versions.rollback(folder, 1),
        lambda: versions.prune(folder, 1),
        lambda: compact(folder, IndexConfig()),
    ):
        with pytest.raises(ReleaseError, match="cannot be written \\(Permission denied\\)"):
            work()


def test_a_rollback_keeps_what_came_and_went_since(folder: Path, again: Publish) -> None:
    first = open_release(folder)
    refresh(first, *videos(first, "came to version 1"))
    second = again()
    known = second.items.ids[:2].astype(object).tolist()
    refresh(second, *videos(second, "came to version 2", seed=1), removed=[known[1]])
    refresh(second, pd.DataFrame({columns.ITEM_ID: [known[0]], columns.VIEW_COUNT: [10**6]}))
    back, _ = versions.rollback(folder)
    assert back.version == 1 and open_release(folder).version == 1
    assert {"came to version 1", "came to version 2"} <= set(back.index.ids)
    assert known[1] not in back.index.ids
    assert back.items.views(np.array([known[0]], dtype=object)).tolist() == [10**6]
    assert versions.rollback(folder, 2)[0].version == 2
    with pytest.raises(ReleaseError, match="there is no version 7; there are: 1, 2"):
        versions.rollback(folder, 7)
    versions.rollback(folder, 1)
    with pytest.raises(ReleaseError, match="no complete version was current before 1"):
        versions.rollback(folder)


def test_tf_serving_is_told_of_the_version_before_as_well(folder: Path, again: Publish) -> None:
    again()
    assert (folder / "models.config").read_text().count("versions: 1") == 2
    again()
    text = (folder / "models.config").read_text()
    assert "versions: 1\n" not in text and text.count("versions: 2") == 2 and text.count("versions: 3") == 2
    versions.prune(folder, 2)
    assert (folder / "models.config").read_text().count("versions: 2") == 2
    versions.prune(folder, 1)
    assert "versions: 2" not in (folder / "models.config").read_text()


def test_compaction_builds_afresh_what_is_live_with_the_same_towers(folder: Path) -> None:
    release = open_release(folder)
    known = str(release.items.ids[0])
    refresh(release, *videos(release, "new"), removed=[known])
    expected = release.index.vectors(["new"])
    compacted = compact(folder, IndexConfig())
    assert compacted.version == 2 and compacted.position == 0 and is_current(compacted)
    assert sorted(compacted.index.ids) == sorted(release.index.ids)
    np.testing.assert_array_equal(compacted.index.vectors(["new"]), expected)
    assert compacted.items.removed == {known}
    assert compacted.manifest["parts"]["user_tower"] == release.manifest["parts"]["user_tower"]
    verification.verify(compacted, 200)
    # Its content came along: views alone can follow.
    refresh(compacted, pd.DataFrame({columns.ITEM_ID: ["new"], columns.VIEW_COUNT: [50]}))


def test_what_comes_while_an_index_is_compacted_is_taken_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = open_release(folder)
    refresh(release, *videos(release, "before"))
    gone = str(release.items.ids[1])
    from m3csr_tf.serving import compaction

    def busy(*args: Any) -> Any:
        monkeypatch.undo()
        refresh(release, *videos(release, "meanwhile", seed=1), removed=[gone])
        return compaction.build_index(*args)

    monkeypatch.setattr(compaction, "build_index", busy)
    compacted = compact(folder, IndexConfig())
    assert {"before", "meanwhile"} <= set(compacted.index.ids) and gone not in compacted.index.ids
    np.testing.assert_allclose(compacted.index.vectors(["meanwhile"]), release.index.vectors(["meanwhile"]), atol=1e-6)


def test_verify_recomputes_vectors_and_names_what_is_off(folder: Path) -> None:
    release = open_release(folder)
    refresh(release, *videos(release, "new"))
    done = verification.verify(release, 50)
    assert (done.items, done.users, done.segments) == (50, 50, 1) and done.recall == 1.0
    release.index.upsert(["new"], release.index.vectors(["new"]) + 0.1)
    with pytest.raises(ReleaseError, match=r"gives item 'new' a vector that differs .* \(1 of 50 items do\)"):
        verification.verify(release, 50)


def test_prune_keeps_the_latest_and_the_current_and_clears_what_a_kill_left(folder: Path, again: Publish) -> None:
    for _ in range(3):
        again()
    refresh(open_release(folder), *videos(open_release(folder), "new"))
    versions.rollback(folder, 2)
    (folder / "item_tower" / "9").mkdir()
    (folder / ".publishing").mkdir()
    assert versions.free_version(folder, None) == 10
    listed = {one.version: (one.current, one.complete, one.segments) for one in versions.listing(folder)}
    assert listed == {
        1: (False, True, 0),
        2: (True, True, 1),
        3: (False, True, 0),
        4: (False, True, 1),
        9: (False, False, 0),
    }
    assert versions.prune(folder, 2) == [1, 3, 9]
    assert [one.version for one in versions.listing(folder)] == [2, 4]
    assert not (folder / ".publishing").exists() and not list(folder.rglob(".pruning*"))
    assert versions.prune(folder, 1) == [4]
    assert open_release(folder).version == 2 and not (folder / "journal" / "4").exists()


def test_an_inbox_is_emptied_in_order_and_bad_files_are_put_aside(folder: Path, tmp_path: Path) -> None:
    release = open_release(folder)
    place = tmp_path / "inbox"
    with pytest.raises(InputError, match="no such folder"):
        inbox.waiting(place)
    place.mkdir()
    frame, content = videos(release, "a", "b")
    table = frame.assign(**{name: list(vectors) for name, vectors in content.items()})
    table.iloc[:1].to_parquet(place / "2.parquet")
    table.iloc[1:].assign(view_count=7).to_parquet(place / "1.parquet")
    pd.DataFrame({columns.ITEM_ID: ["a"], columns.REMOVED: [True]}).to_csv(place / "3.csv", index=False)
    (place / "0.csv").write_text("item_id\nnew without content\n")
    (place / "_unfinished.parquet").write_text("")
    files = inbox.waiting(place)
    assert [path.name for path in files] == ["0.csv", "1.parquet", "2.parquet", "3.csv"]
    done = [inbox.take_in_and_put_away(release, path) for path in files]
    assert [[(one.new, one.removed) for one in file] for file in done] == [[], [(1, 0)], [(1, 0)], [(0, 1)]]
    assert "b" in release.index.ids and "a" not in release.index.ids
    assert sorted(path.name for path in (place / "done").iterdir()) == ["1.parquet", "2.parquet", "3.csv"]
    assert "no content vector" in (place / "rejected" / "0.csv.error").read_text()
    assert inbox.waiting(place) == []
