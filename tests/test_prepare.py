from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from m3csr_tf import prepare as module
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.data.world import make_world
from m3csr_tf.errors import ConfigError, InputError, ResourceError, RunError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.prepare import prepare, summary
from m3csr_tf.util.files import sha256

WORLD = {"users": 80, "items": 60, "clicks": 900, "modalities": {"visual": 6, "acoustic": 3}, "missing": 0.1}


def config(**sections: Any) -> Config:
    tree = {"data": {"world": WORLD}, "split": {"kind": "random", "cold_share": 0.2}, "clusters": {"count": 5}}
    return Config.model_validate({**tree, **sections})


def write_mmssl(folder: Path) -> Config:
    """Forty users click six of ten items each, four of them in training."""
    folder.mkdir()
    for name, steps in {"train": range(4), "val": [4], "test": [5]}.items():
        lists = {str(user): [(user + step) % 10 for step in steps] for user in range(40)}
        (folder / f"{name}.json").write_text(json.dumps(lists))
    np.save(folder / "image_feat.npy", np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))
    data = {"format": "mmssl", "path": folder, "modalities": {"visual": "image_feat.npy"}}
    return config(data=data, split={"kind": "given"})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(config(), tmp_path_factory.mktemp("world") / "prepared")


def state(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [path for path in folder.iterdir() if path.name != "digests.json"]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_arrays_lie_by_item_row_with_the_reserved_rows_empty(prepared: Prepared) -> None:
    rows = len(prepared.items)
    assert rows == 60 + FIRST_ROW
    assert all(len(vectors) == rows and np.isnan(vectors[:FIRST_ROW]).all() for vectors in prepared.content.values())
    assert prepared.cluster_ids.shape == (rows, 2) and prepared.cluster_ids.dtype == np.int32
    assert (prepared.cluster_ids[:FIRST_ROW] == 0).all()
    assert prepared.bins.shape == (rows,) and (prepared.bins[:FIRST_ROW] == 0).all()
    absent = np.stack([np.isnan(vectors).all(axis=1) for vectors in prepared.content.values()], axis=1)
    assert_array_equal(prepared.cluster_ids == 0, absent)


def test_splits_hold_rows_sorted_by_user_and_together_all_interactions(prepared: Prepared) -> None:
    frames = [prepared.split(name) for name in ("train", "val", "test")]
    assert sum(map(len, frames)) == len(make_world(config().data.world).interactions)
    for frame in frames:
        assert list(frame) == ["user_row", "item_row", "timestamp"]
        assert frame["user_row"].is_monotonic_increasing
        assert frame["user_row"].min() >= FIRST_ROW and frame["item_row"].min() >= FIRST_ROW
        assert frame["user_row"].dtype == np.int32 and frame["item_row"].dtype == np.int32


def test_the_catalogue_says_which_items_are_cold(prepared: Prepared) -> None:
    catalogue = prepared.catalogue
    clicks = np.bincount(prepared.split("train")["item_row"], minlength=len(prepared.items))
    assert_array_equal(prepared.train_clicks, clicks)
    assert_array_equal(catalogue["is_cold"], clicks[FIRST_ROW:] == 0)
    assert catalogue["is_strictly_cold"].sum() == prepared.manifest["counts"]["strictly_cold_items"] > 0
    assert catalogue.loc[catalogue["is_strictly_cold"], "is_cold"].all()
    assert (catalogue.loc[catalogue["is_cold"], "popularity_bin"] == 0).all()


def test_the_truth_lies_in_row_order(prepared: Prepared) -> None:
    raw, truth = make_world(config().data.world), prepared.truth()
    users = pd.Index(raw.truth["user_id"]).get_indexer(prepared.users.known)
    assert_array_equal(truth["intensities"], raw.truth["intensities"][users])
    assert_array_equal(truth["user_utilities"], raw.truth["user_utilities"][users])
    assert_array_equal(truth["item_utilities"], raw.truth["item_utilities"])


def test_strictly_cold_items_leave_no_trace_in_what_is_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prepare(config(), tmp_path / "before")
    strictly_cold = before.catalogue["is_strictly_cold"].to_numpy()
    raw = make_world(config().data.world)
    for vectors in raw.catalogue.content.values():
        vectors[strictly_cold] *= 1000
    monkeypatch.setattr(module.formats, "make_world", lambda *_: raw)
    after = prepare(config(), tmp_path / "after")
    for name in before.modalities:
        assert_array_equal(before.scaler.scale[name], after.scaler.scale[name])
        assert_array_equal(before.clusters.centres[name], after.clusters.centres[name])


def test_the_manifest_tells_counts_seed_versions_and_checksums(prepared: Prepared) -> None:
    manifest = prepared.manifest
    assert manifest["modalities"] == ["visual", "acoustic"] and manifest["seed"] == 0
    assert {"m3csr_tf", "python", "numpy", "scikit-learn"} <= set(manifest["versions"])
    counts = manifest["counts"]
    assert counts["users"] == 80 and counts["items"] == 60 and counts["merged_duplicates"] == 0
    assert counts["train_interactions"] == len(prepared.split("train"))
    assert counts["items_without_visual"] == np.isnan(prepared.content["visual"][FIRST_ROW:, 0]).sum()
    others = {path.name for path in prepared.folder.iterdir()} - {"manifest.json", "digests.json"}
    assert set(manifest["files"]) == others
    assert all(sha256(prepared.folder / name) == digest for name, digest in manifest["files"].items())


def test_the_summary_lists_the_counts(prepared: Prepared) -> None:
    table = summary(prepared)
    rows = dict(zip(*(column.cells for column in table.columns), strict=True))
    assert rows["visual width"] == "6"
    assert rows["train interactions"] == f"{len(prepared.split('train')):,}"


def test_the_same_settings_reuse_the_folder(tmp_path: Path) -> None:
    prepare(config(), tmp_path / "prepared")
    before = state(tmp_path / "prepared")
    prepare(config(run={"seed": 5}, model={"dim": 8}), tmp_path / "prepared")
    assert state(tmp_path / "prepared") == before


def test_other_settings_rebuild_the_folder(tmp_path: Path) -> None:
    first = prepare(config(), tmp_path / "prepared")
    second = prepare(config(clusters={"count": 6}), tmp_path / "prepared")
    assert first.clusters.counts["visual"] == 5 and second.clusters.counts["visual"] == 6
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_changed_input_rebuilds_the_folder(tmp_path: Path) -> None:
    settings = write_mmssl(tmp_path / "logs")
    prepare(settings, tmp_path / "prepared")
    vectors = np.load(tmp_path / "logs" / "image_feat.npy")
    np.save(tmp_path / "logs" / "image_feat.npy", vectors + 1)
    again = prepare(settings, tmp_path / "prepared")
    assert_array_equal(again.content["visual"][FIRST_ROW:], vectors + 1)


def test_a_file_that_keeps_its_size_and_time_is_read_again_when_it_changes(tmp_path: Path) -> None:
    settings = write_mmssl(tmp_path / "logs")
    prepare(settings, tmp_path / "prepared")
    path = tmp_path / "logs" / "image_feat.npy"
    vectors, before = np.load(path), path.stat()
    np.save(path, vectors + 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert_array_equal(prepare(settings, tmp_path / "prepared").content["visual"][FIRST_ROW:], vectors + 1)


def test_a_folder_that_cannot_be_written_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(config(), tmp_path / "prepared").folder
    (folder / "digests.json").unlink()

    def fail(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr("m3csr_tf.util.digests.write_json", fail)
    before = state(folder)
    prepare(config(), folder)
    assert state(folder) == before and not (folder / "digests.json").exists()


@pytest.mark.parametrize("damage", ["changed", "deleted", "no manifest entry"])
def test_a_damaged_folder_is_rebuilt(damage: str, tmp_path: Path) -> None:
    folder = prepare(config(), tmp_path / "prepared").folder
    if damage == "changed":
        (folder / "popularity.json").write_text("{}")
    elif damage == "deleted":
        (folder / "clusters.npy").unlink()
    else:
        (folder / "manifest.json").write_text("{}")
    assert prepare(config(), folder).popularity.count > 1


def test_two_builds_are_equal(tmp_path: Path, prepared: Prepared) -> None:
    again = prepare(config(), tmp_path / "prepared")
    assert again.manifest["files"].keys() == prepared.manifest["files"].keys()
    for name in ("users.parquet", "items.parquet", "train.parquet", "clusters.npy", "content_visual.npy"):
        assert again.manifest["files"][name] == prepared.manifest["files"][name]


def test_bad_input_leaves_nothing_behind_not_even_the_parent(tmp_path: Path) -> None:
    settings = write_mmssl(tmp_path / "logs")
    (tmp_path / "logs" / "val.json").write_text("{}")
    with pytest.raises(InputError):
        prepare(settings, tmp_path / "runs" / "demo" / "prepared")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("moment", ["while writing", "while renaming"])
def test_a_failure_keeps_the_old_folder_whole(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepare(config(), tmp_path / "prepared").folder
    before = state(folder)

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    if moment == "while writing":
        monkeypatch.setattr(module, "write_json", fail)
    else:
        rename = Path.rename
        monkeypatch.setattr(
            Path, "rename", lambda self, to: fail() if self.name.endswith(".building") else rename(self, to)
        )
    with pytest.raises(ResourceError, match="cannot write the prepared data: the disk is full"):
        prepare(config(clusters={"count": 6}), folder)
    monkeypatch.undo()
    assert state(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something other than prepared data"):
        prepare(config(), tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_view_counts_that_nobody_knows_cannot_be_binned(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"popularity\.source=view_count, but no item"):
        prepare(config(popularity={"source": "view_count"}), tmp_path / "prepared")


def test_an_unprepared_folder_is_refused_when_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no prepared data here"):
        Prepared.open(tmp_path)


def test_a_prepared_folder_without_one_of_its_files_is_refused_when_opened(tmp_path: Path) -> None:
    folder = prepare(config(), tmp_path / "prepared").folder
    (folder / "scaling.npz").unlink()
    with pytest.raises(InputError, match=r"scaling\.npz: it is missing; put it back, or run pipelines/prepare\.py"):
        Prepared.open(folder)


def test_the_default_folder_is_inside_the_run(tmp_path: Path) -> None:
    opened = prepare(config(run={"name": "small", "folder": tmp_path}))
    assert opened.folder == tmp_path / "small" / "prepared"


def day(folder: Path, name: str, frozen_from: str | None = None, **sections: Any) -> Config:
    """A run on a world of its own, as each day's is."""
    tree = {
        "run": {"folder": folder, "name": name},
        "data": {"world": {**WORLD, "seed": len(name)}},
        "clusters": {"count": 5, "frozen_from": frozen_from},
    }
    return config(**{**tree, **sections})


def test_with_frozen_centres_a_new_day_is_only_assigned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(day(tmp_path, "monday"))
    for fitted in (module.ContentScaler, module.Clusters, module.PopularityBins):
        monkeypatch.setattr(fitted, "fit", lambda *_, **__: pytest.fail("fitted again"))
    second = prepare(day(tmp_path, "tuesdays", "monday"))
    assert first.manifest["centres"] == second.manifest["centres"] == first.clusters.digest
    assert second.manifest["frozen"]["centres"] == first.clusters.digest and first.manifest["frozen"] is None
    assert (first.content["visual"][FIRST_ROW:] != second.content["visual"][FIRST_ROW:]).any()
    scaled = {name: first.scaler.transform(name, vectors) for name, vectors in second.content.items()}
    present = {name: ~np.isnan(vectors).any(axis=1) for name, vectors in second.content.items()}
    assert_array_equal(second.cluster_ids, first.clusters.assign(scaled, present))
    assert_array_equal(second.popularity.edges, first.popularity.edges)
    third = prepare(day(tmp_path, "wednesdays", "tuesdays"))
    assert third.manifest["centres"] == first.manifest["centres"]


def test_a_folder_of_frozen_centres_is_current_until_they_change(tmp_path: Path) -> None:
    prepare(day(tmp_path, "monday"))
    second = day(tmp_path, "tuesdays", "monday")
    folder = prepare(second).folder
    assert module.is_current(second, folder)
    prepare(day(tmp_path, "monday", split={"kind": "random", "cold_share": 0.2, "seed": 9}))
    assert not module.is_current(second, folder)
    assert not module.is_current(day(tmp_path, "tuesdays"), folder)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"clusters": {"count": 5, "frozen_from": "sunday"}}, r"clusters\.frozen_from=sunday: .*no prepared data here"),
        (
            {"clusters": {"count": 6, "frozen_from": "monday"}},
            r"clusters\.frozen_from=monday: .*\(clusters\.count: 5 -> 6\).*let this run fit its own centres",
        ),
        (
            {"data": {"world": {**WORLD, "modalities": {"visual": 7, "acoustic": 3}}}},
            r"clusters\.frozen_from=monday: that run's visual vectors have width 6, the catalogue's 7",
        ),
        (
            {"data": {"world": {**WORLD, "modalities": {"visual": 6}}}},
            r"clusters\.frozen_from=monday: that run has the modalities visual, acoustic, this one visual ",
        ),
    ],
)
def test_centres_that_do_not_fit_are_refused(sections: dict, message: str, tmp_path: Path) -> None:
    prepare(day(tmp_path, "monday"))
    with pytest.raises(RunError, match=message):
        prepare(day(tmp_path, "tuesdays", "monday", **sections))
    assert not (tmp_path / "tuesdays").exists()


@pytest.mark.parametrize("sections", [{"clusters": {"frozen_from": "run"}}, {"training": {"warm_start": "a"}}])
def test_centres_are_frozen_from_one_other_run(sections: dict) -> None:
    with pytest.raises(ValueError, match=r"clusters\.frozen_from"):
        Config.model_validate({"clusters": {"frozen_from": "b"}, **sections})
