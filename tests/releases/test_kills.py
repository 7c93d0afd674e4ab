"""kill -9 at random moments: readers find the old version or the new one, whole, and all that was acknowledged."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kills import acknowledge, acknowledged, killed_after

from m3csr_tf import columns
from m3csr_tf.config import Config, IndexConfig, RetrieveConfig

MOMENTS = int(os.environ.get("M3CSR_KILLS", "50"))
"""Kills in all; about a quarter of them for each kind of work."""
BATCH = 3
LISTS = RetrieveConfig(top_n=7, batch_size=10, shard_users=20)


def batch(number: int, widths: dict[str, int]) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The videos of one refresh."""
    rng = np.random.default_rng(number)
    content = {name: rng.normal(size=(BATCH, width)).astype(np.float32) for name, width in widths.items()}
    return pd.DataFrame({columns.ITEM_ID: [f"{number}/{place}" for place in range(BATCH)]}), content


def refreshing(begin: Callable[[], None], folder: Path, log: Path) -> None:
    """Refreshes without end, each time with other videos, which are the number of the refresh."""
    from m3csr_tf.releases.refresh import refresh
    from m3csr_tf.releases.release import open_release

    release = open_release(folder)
    release.item_vectors(release.items.catalogue(release.items.ids[:BATCH]))
    number = acknowledged(log) + 1
    begin()
    while True:
        refresh(release, *batch(number, release.modalities))
        acknowledge(log, number)
        number += 1


def compacting(begin: Callable[[], None], folder: Path) -> None:
    """Compacts without end."""
    from m3csr_tf.releases.compaction import compact

    begin()
    while True:
        compact(folder, IndexConfig())


def publishing(begin: Callable[[], None], tree: dict[str, Any]) -> None:
    """Publishes without end."""
    from m3csr_tf.prepare import prepare
    from m3csr_tf.releases.publish import publish
    from m3csr_tf.training.runs import TrainedRun, build_model

    config = Config.model_validate(tree)
    run = TrainedRun(config, prepare(config), build_model(config, prepare(config)), {})
    begin()
    while True:
        publish(run)


def retrieving(begin: Callable[[], None], folder: Path, users: Path, output: Path) -> None:
    """Makes the lists of a file of users."""
    from m3csr_tf.batch.retrieval import retrieve
    from m3csr_tf.batch.users import FileOfUsers
    from m3csr_tf.releases.release import open_release

    release = open_release(folder)
    release.index  # noqa: B018  The kill is for the job, not for what it needs.
    begin()
    retrieve(release, FileOfUsers(users), output, LISTS)
    while True:
        time.sleep(1)


@pytest.fixture
def folder(release: Any, tmp_path: Path) -> Path:
    """A copy of the release's folder, to change."""
    return Path(shutil.copytree(release.folder, tmp_path / "saved_models" / "small"))


def version_of(folder: Path) -> int:
    """The current version."""
    return int(json.loads((folder / columns.MANIFEST).read_text())["version"])


def whole(folder: Path) -> Any:
    """The release as a reader finds it, verified."""
    from m3csr_tf.releases.release import open_release
    from m3csr_tf.releases.verification import verify

    found = open_release(folder)
    verify(found, 20)
    return found


def test_a_killed_refresh_loses_nothing_that_it_acknowledged(folder: Path, tmp_path: Path) -> None:
    rng, log = np.random.default_rng(0), tmp_path / "log"
    for _ in range(MOMENTS // 4):
        killed_after(rng.uniform(0, 0.2), refreshing, folder, log)
        last = acknowledged(log)
        found = whole(folder)
        come = {item for item in found.index.ids if "/" in item}
        # The one that was under way when the process died is in, whole, or not at all; then it is done again.
        numbers = range(1, max([last, *(int(item.split("/")[0]) for item in come)]) + 1)
        assert len(numbers) in (last, last + 1)
        assert come == {f"{number}/{place}" for number in numbers for place in range(BATCH)}
    assert acknowledged(log) > 0


def test_a_killed_compaction_leaves_the_old_version_or_the_new_one(folder: Path) -> None:
    rng, seen = np.random.default_rng(1), set()
    once = killed_after(lambda: version_of(folder) > 1, compacting, folder)
    for _ in range(MOMENTS // 4):
        killed_after(rng.uniform(0, 2 * once), compacting, folder)
        seen.add(whole(folder).version)
    assert min(seen) > 1 and len(seen) > 1


def test_a_killed_publication_leaves_the_old_version_or_the_new_one(folder: Path, untrained_run: Any) -> None:
    from m3csr_tf.releases import versions
    from m3csr_tf.releases.refresh import refresh
    from m3csr_tf.releases.release import open_release

    rng, seen = np.random.default_rng(2), []
    first = open_release(folder)
    gone = str(first.items.ids[0])
    refresh(first, *batch(1, first.modalities), removed=[gone])
    tree = untrained_run.config.model_dump(mode="json")
    tree["run"]["release_folder"] = str(folder.parent)
    once = killed_after(lambda: version_of(folder) > 1, publishing, tree)
    for _ in range(MOMENTS // 4):
        killed_after(rng.uniform(0, 2 * once), publishing, tree)
        found = whole(folder)
        seen.append(found.version)
        assert {f"1/{place}" for place in range(BATCH)} <= set(found.index.ids) and gone not in found.index.ids
    assert seen == sorted(seen) and seen[0] > 1 and seen[-1] > seen[0]
    versions.prune(folder, 2)
    left = {path.name for part in ("item_tower", "index", "user_tower") for path in (folder / part).iterdir()}
    assert left == {str(one.version) for one in versions.listing(folder)} and len(left) == 2


def test_a_killed_batch_job_has_no_row_missing_or_doubled(folder: Path, tmp_path: Path) -> None:
    from m3csr_tf.batch.retrieval import retrieve
    from m3csr_tf.batch.users import FileOfUsers
    from m3csr_tf.releases.release import open_release

    release, rng = open_release(folder), np.random.default_rng(3)
    files, expected = [], []
    for number, count in enumerate((610, 350)):
        ids = [f"{number}/{user}" for user in range(count)]
        past = [list(rng.choice(release.items.ids, 3, replace=False)) for _ in ids]
        files.append(tmp_path / f"{number}.parquet")
        pd.DataFrame({columns.USER_ID: ids, columns.HISTORY: past}).to_parquet(files[-1])
        retrieve(release, FileOfUsers(files[-1]), tmp_path / f"whole {number}", LISTS)
        expected.append(pd.read_parquet(tmp_path / f"whole {number}"))
    output = tmp_path / "lists"
    for moment in range(MOMENTS - 3 * (MOMENTS // 4)):
        users = moment // 3 % 2  # The same job three times, then another one in its place.
        killed_after(rng.uniform(0, 0.4), retrieving, folder, files[users], output)
        if output.exists():
            found = pd.read_parquet(output)
            assert any(found.equals(lists) for lists in expected)
        if moment % 3 == 2:
            retrieve(release, FileOfUsers(files[users]), output, LISTS)
            pd.testing.assert_frame_equal(pd.read_parquet(output), expected[users])
            assert len(list(tmp_path.glob(".lists-*"))) == 1
    assert len(expected[0]) == 610 * LISTS.top_n
