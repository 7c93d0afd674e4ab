"""A release is one thing: its parts are published together, and refused when they do not belong together."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.errors import ReleaseError
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.releases.publish import publish
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.sampling.training_data import item_features
from m3csr_tf.training.vectors import VectorEncoder


@pytest.fixture
def copy(release: Release, tmp_path: Path) -> Path:
    """A copy of the release's folder, to change."""
    return Path(shutil.copytree(release.folder, tmp_path / "moved" / "small"))


@pytest.fixture(scope="module")
def other(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release of other weights."""
    return publish(make_run(tmp_path_factory.mktemp("other"), seed=1))


def test_a_release_lies_where_it_should(release: Release) -> None:
    assert sorted(path.name for path in release.folder.iterdir() if path.suffix != ".lock") == [
        "batching.config",
        "compose.yaml",
        "history.json",
        "index",
        "item_tower",
        "journal",
        "manifest.json",
        "models.config",
        "user_tower",
    ]
    for part in ("item_tower", "index", "user_tower"):
        assert [path.name for path in (release.folder / part).iterdir()] == ["1"]
    assert (release.path("user_tower") / "saved_model.pb").exists()


def test_opening_a_release_in_a_process_of_its_own_says_nothing_of_gradients(release: Release) -> None:
    script = (
        "import sys; from pathlib import Path; from m3csr_tf.releases.release import open_release; "
        "from m3csr_tf.releases.verification import verify; "
        "print(verify(open_release(Path(sys.argv[1])), 3).items)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(release.folder)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "3\n", done.stderr
    assert "radient" not in done.stderr


@pytest.mark.parametrize("tower", ["user_tower", "item_tower"])
def test_no_function_of_a_released_tower_has_a_gradient_that_cannot_be_saved(release: Release, tower: str) -> None:
    saved = SavedModel()
    saved.ParseFromString((release.path(tower) / "saved_model.pb").read_bytes())
    [graph] = saved.meta_graphs
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    assert nodes
    assert [node.name for node in nodes if "_gradient_op_type" in node.attr] == []


def test_the_index_holds_what_the_keras_towers_say_of_every_item(release: Release, untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    assert sorted(release.index.ids) == sorted(prepared.items.known)
    expected = VectorEncoder(untrained_run.model, item_features(prepared)).items()[FIRST_ROW:]
    np.testing.assert_allclose(release.index.vectors(prepared.items.known), expected, atol=1e-5)


def test_a_release_gives_the_vectors_of_the_keras_user_tower(release: Release, untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    slots = np.array([[5, 9, 2, 0, 0, 0], [0] * 6, [2, 3, 4, 5, 6, 7]], np.int32)
    users = prepared.users.known[:3]
    past = [prepared.items.ids(line[line > 0]) for line in slots]
    frame = pd.DataFrame({columns.USER_ID: users, columns.HISTORY: pd.Series(past, dtype=object)})
    encoder = VectorEncoder(untrained_run.model, item_features(prepared))
    np.testing.assert_allclose(release.user_vectors(frame), encoder.users(prepared.users.rows(users), slots), atol=1e-5)


def test_a_long_history_counts_with_its_latest_known_items(release: Release, untrained_run: Any) -> None:
    known = list(untrained_run.prepared.items.known[:9])
    # history.length is 6: the last six known ids are known[3:].
    histories = [[*known[:5], "unknown", known[8], *known[5:], "unknown too"], known[3:]]
    frame = pd.DataFrame({columns.USER_ID: ["u", "v"], columns.HISTORY: histories})
    first, second = release.user_vectors(frame)
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_a_new_item_gets_a_vector_that_the_index_takes_and_finds(release: Release, copy: Path) -> None:
    release_copy = open_release(copy)
    rng = np.random.default_rng(0)
    content = {name: rng.normal(size=(1, width)).astype(np.float32) for name, width in release_copy.modalities.items()}
    frame = pd.DataFrame({columns.ITEM_ID: ["a minute old"], columns.VIEW_COUNT: [-1]})
    vectors = release_copy.item_vectors(Catalogue(frame, content))
    release_copy.index.upsert(["a minute old"], vectors)
    found, scores = release_copy.index.search(vectors, len(release_copy.index))
    place = found[0].tolist().index("a minute old")
    np.testing.assert_allclose(scores[0, place], (vectors**2).sum(), rtol=1e-5)


def test_parts_of_a_score_sum_to_it(release: Release) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(2, 50, release.index.width)).astype(np.float32)
    parts = release.score_parts(users, items)
    assert list(parts) == ["id", "visual", "acoustic", "popularity"]
    np.testing.assert_allclose(sum(parts.values()), (users * items).sum(axis=1), atol=1e-4)


def test_a_moved_release_opens(copy: Path, release: Release) -> None:
    release_copy = open_release(copy)
    assert release_copy.manifest == release.manifest and len(release_copy.index) == len(release.index)


def test_versions_count_up_and_earlier_ones_stay(copy: Path, untrained_run: Any) -> None:
    moved = untrained_run.config.model_copy(
        update={"run": untrained_run.config.run.model_copy(update={"release_folder": copy.parent})}
    )
    run = type(untrained_run)(moved, untrained_run.prepared, untrained_run.model)
    second = publish(run)
    assert second.version == 2
    assert publish(run, version=10).version == 10
    for part in ("item_tower", "index", "user_tower"):
        assert sorted(path.name for path in (copy / part).iterdir()) == ["1", "10", "2"]
    assert "versions: 10" in (copy / "models.config").read_text()
    assert open_release(copy).version == 10
    with pytest.raises(ReleaseError, match="version 2 exists already"):
        publish(run, version=2)
    with pytest.raises(ReleaseError, match="numbers from 1"):
        publish(run, version=0)
    assert second.index.report["kind"] == "exact"  # A reader of an earlier version goes on undisturbed.


def test_a_release_that_fails_half_way_leaves_the_old_one_current(
    copy: Path, untrained_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = untrained_run.config.model_copy(
        update={"run": untrained_run.config.run.model_copy(update={"release_folder": copy.parent})}
    )
    run = type(untrained_run)(moved, untrained_run.prepared, untrained_run.model)
    rename, renamed = Path.rename, []

    def failing(source: Path, target: Path) -> Path:
        renamed.append(target.relative_to(copy).as_posix())
        if target.parent.name == "user_tower":
            raise OSError(28, "No space left on device")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(ReleaseError, match="No space left on device"):
        publish(run)
    monkeypatch.undo()
    assert renamed == ["item_tower/2", "index/2", "user_tower/2"]
    assert open_release(copy).version == 1
    assert not [path for path in copy.glob(".*") if path.suffix != ".lock"]
    assert publish(run).version == 3


@pytest.mark.parametrize("part", ["item_tower", "index", "user_tower"])
def test_a_part_of_another_release_is_refused(part: str, copy: Path, other: Release) -> None:
    shutil.rmtree(copy / part / "1")
    shutil.copytree(other.path(part), copy / part / "1")
    with pytest.raises(ReleaseError, match=f"this {part} belongs to another release"):
        open_release(copy)


@pytest.mark.parametrize("part", ["item_tower", "index", "user_tower"])
def test_a_missing_part_is_refused(part: str, copy: Path) -> None:
    shutil.rmtree(copy / part / "1")
    with pytest.raises(ReleaseError, match=f"the {part} of version 1 is missing"):
        open_release(copy)


FILES = [
    "item_tower/1/saved_model.pb",
    "item_tower/1/assets/items.txt",
    "index/1/ids.parquet",
    "index/1/dataset.npy",
    "index/1/items/items.parquet",
    "index/1/items/content_visual.npy",
    "index/1/sample/vectors.npy",
    "user_tower/1/variables/variables.data-00000-of-00001",
    "user_tower/1/assets/users.txt",
]


@pytest.mark.parametrize("name", FILES)
def test_an_edited_file_is_refused(name: str, copy: Path) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ReleaseError, match=rf"{name}: this file of the \w+ was changed after the release"):
        open_release(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(ReleaseError, match=f"{name}: missing"):
        open_release(copy)


def test_an_edited_manifest_is_refused(copy: Path) -> None:
    path = copy / columns.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["history_length"] = 3
    path.write_text(json.dumps(manifest))
    with pytest.raises(ReleaseError, match="was changed after the release"):
        open_release(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no release here"), ("{", "broken JSON"), ("[]", "not a manifest"), ('{"format": 0}', "expected 2")],
)
def test_no_manifest_is_no_release(text: str | None, message: str, copy: Path) -> None:
    path = copy / columns.MANIFEST
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ReleaseError, match=message):
        open_release(copy)


def test_item_vectors_that_are_not_finite_are_not_released(make_run: Callable[..., Any], tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.model.encoder.id_embedding.assign(np.full(run.model.encoder.id_embedding.shape, np.nan))
    with pytest.raises(ReleaseError, match=r"small: the item vectors cannot be indexed.*NaN"):
        publish(run)
    assert not (tmp_path / "saved_models" / "small" / "manifest.json").exists()


def test_a_tree_is_tuned_on_the_users_of_the_run(make_run: Callable[..., Any], tmp_path: Path) -> None:
    tree = {"kind": "tree", "recall": 0.9, "recall_at": 20}
    report = publish(make_run(tmp_path, index=tree)).index.report
    assert report["kind"] == "tree" and report["recall"] >= 0.9
