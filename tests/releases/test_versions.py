"""Versions of a release: what is carried over, rolled back to, compacted, verified and pruned."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from live import corrupt, videos

from m3csr_tf import columns
from m3csr_tf.config import IndexConfig
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ReleaseError
from m3csr_tf.releases import carry_over as takeover
from m3csr_tf.releases import verification, versions
from m3csr_tf.releases.compaction import compact
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release, is_current, open_release
from m3csr_tf.util import locks

Publish = Callable[[], Release]


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
    assert takeover.new_by_refresh(old, new).tolist() == ["by refresh"]


def test_a_folder_that_cannot_be_written_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = open_release(folder)

    def refused(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(locks, "_lock", refused)
    for work in (
        lambda: refresh(release, *videos(release, "new")),
        lambda: versions.rollback(folder, 1),
        lambda: versions.prune(folder, 1),
        lambda: compact(folder, IndexConfig()),
    ):
        with pytest.raises(ReleaseError, match=r"cannot be written: .*\(Permission denied\): check the rights"):
            work()


def test_a_lock_that_is_a_link_is_to_be_removed_and_nothing_else_is_advised(folder: Path, tmp_path: Path) -> None:
    lock = folder / ".switch.lock"
    lock.unlink(missing_ok=True)
    lock.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseError) as error:
        refresh(open_release(folder), *videos(open_release(folder), "new"))
    assert str(error.value) == f"{lock}: cannot be written: it is a link, and a lock is none; remove it"


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
    from m3csr_tf.releases import compaction

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
