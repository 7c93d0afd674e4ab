"""The product's own files: cut, empty, of another shape, unreadable, changed by hand, or of another training."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from product import Product

from m3csr_tf import columns
from m3csr_tf.errors import InputError, M3CSRError, ReleaseError, RunError
from m3csr_tf.util.files import write_json
from m3csr_tf.util.stored import reading

OPENED = {
    "prepared": [
        *("manifest.json", "users.parquet", "items.parquet", "train.parquet", "val.parquet", "test.parquet"),
        *("content_visual.npy", "content_acoustic.npy", "scaling.npz", "centres.npz", "clusters.npy"),
        *("popularity.json", "truth.npz"),
    ],
    "run_folder": [
        *("config.yaml", "finished.json", "checkpoints/validated-1/weights.index"),
        "checkpoints/validated-1/weights.data-00000-of-00001",
    ],
    "release": [
        *("manifest.json", "index/1/release.json", "index/1/ids.parquet", "index/1/dataset.npy", "index/1/index.json"),
        *("index/1/items/items.parquet", "index/1/items/removed.parquet", "index/1/items/content_visual.npy"),
        *("index/1/sample/users.parquet", "index/1/sample/vectors.npy", "item_tower/1/saved_model.pb"),
        *("user_tower/1/assets/users.txt", "user_tower/1/assets.extra/release.json", "journal/1/head.json"),
        *("journal/1/00000001-", "journal/1/00000002-"),
    ],
}
FILES = [(root, name) for root, names in OPENED.items() for name in names]


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "of another shape": lambda path: path.write_text("[1, 2, 3]"),
    "missing": lambda path: path.unlink(),
    "a folder": a_folder,
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
}


def open_all(product: Product, root: str) -> None:
    """What verbs open of a part of the product."""
    if root == "prepared":
        from m3csr_tf.data.prepared import Prepared

        Prepared.open(product.prepared)
    elif root == "run_folder":
        from m3csr_tf.training.runs import load_trained

        load_trained(product.run_folder)
    else:
        from m3csr_tf.releases.release import open_release

        release = open_release(product.release)
        assert len(release.index) == len(release.items.ids) and release.sample()


def found(product: Product, root: str, name: str) -> Path:
    folder: Path = getattr(product, root)
    path = folder / name
    return path if not name.endswith("-") else next(path.parent.glob(f"{path.name}*"))


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("root", "name"), FILES)
def test_a_file_that_is_not_as_it_was_written_gives_one_message_that_names_it(
    root: str, name: str, damage: str, product: Product
) -> None:
    path = found(product, root, name)
    whole = path.read_bytes()
    DAMAGE[damage](path)
    try:
        with pytest.raises(M3CSRError) as error:
            open_all(product, root)
    finally:
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    message = str(error.value)
    assert message.isprintable() and len(message) < 1500 and "; " in message
    place = path.parent if "journal" in name or damage == "missing" else path
    assert str(product.root) in message and (place.name in message or path.parent.name in message), message


WRONG_SHAPES = {
    "finished.json": [
        {},
        {"best_step": "1"},
        {"best_step": -1},
        {"weights": {}},
        {"weights": {"../x": "0"}},
        {"steps": []},
    ],
    "manifest.json": [
        {"version": "1"},
        {"version": 0},
        {"modalities": {"../x": 3}},
        {"parts": {}},
        {"layout": {"id": [1]}},
        {"layout": {"id": [0, 4]}},
        {"layout": {"id": [0, 2**70], "visual": [2**70, 2**70 + 1], "acoustic": [2**70 + 1, 2**71]}},
        {"modalities": {"visual": 16}},
        {"modalities": {"visual": 2**70, "acoustic": 4}},
        {"popularity_edges": []},
        {"popularity_edges": [5, 3]},
        {"popularity_edges": [1, 1]},
        {"popularity_edges": [1, 2**70]},
        {"popularity_edges": [1, True]},
        {"history_length": 10**9},
        {"history_length": 2**70},
        {"index": {"items": "x"}},
        {"index": {"items": "x", "recall": [1]}},
        {"index": {"kind": "exact", "items": 5, "width": 1, "recall": 1.0}},
        {"index": {"kind": "exact", "items": 5, "width": 3, "recall": 7.5}},
        {"config": {}},
        {"config": {"data": 1}},
        {"run": "../../x"},
        {"version": 2**70},
    ],
}


@pytest.mark.parametrize("change", WRONG_SHAPES["finished.json"])
def test_an_ending_of_another_shape_says_how_it_is_written_again(change: dict[str, Any], mended: Product) -> None:
    path = mended.run_folder / "finished.json"
    write_json(path, json.loads(path.read_text()) | change if change else {})
    with pytest.raises(RunError, match=r"finished\.json: it is broken \(|weights") as error:
        open_all(mended, "run_folder")
    assert "run pipelines/train.py" in str(error.value)


def with_new_fingerprint(product: Product, change: Callable[[dict[str, Any]], Any]) -> None:
    """The release with a manifest that somebody has changed, with a new fingerprint, in all its copies."""
    from m3csr_tf.releases import manifest as manifests

    path = product.release / columns.MANIFEST
    tree = json.loads(path.read_text())
    change(tree)
    text = json.dumps(manifests.with_fingerprint(tree), indent=2) + "\n"
    path.write_text(text)
    for part in manifests.PARTS:
        manifests.copy_path(manifests.part_folder(product.release, part, 1), part).write_text(text)


@pytest.mark.parametrize("change", WRONG_SHAPES["manifest.json"])
def test_a_manifest_of_another_shape_is_refused_though_its_fingerprint_fits(
    change: dict[str, Any], mended: Product
) -> None:
    with_new_fingerprint(mended, lambda tree: tree.update(change))
    with pytest.raises(ReleaseError, match=r"manifest\.json: it is broken"):
        open_all(mended, "release")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layout: layout.update(id=[1, layout["id"][1]]), "layout: id lies from 1 to"),
        (lambda layout: layout.update(id=[0, layout["id"][1] + 1]), r"layout: \w+ lies from \d+ to \d+, expected from"),
        (lambda layout: layout.update(taste=[0, 0]), "layout has the parts"),
        (lambda layout: layout.pop(max(layout, key=layout.__getitem__)), "layout"),
    ],
)
def test_a_layout_with_holes_or_parts_that_nobody_knows_is_refused(
    change: Callable[[dict[str, Any]], Any], said: str, mended: Product
) -> None:
    with_new_fingerprint(mended, lambda tree: change(tree["layout"]))
    result = mended.run("release", "list")
    assert result.exit_code == 2 or "none is current" in result.output
    with pytest.raises(ReleaseError, match=rf"manifest\.json: it is broken \(.*{said}"):
        open_all(mended, "release")


RESEALED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "lists no file": (lambda tree: [files.clear() for files in tree["parts"].values()], "at least 1 item"),
    "lists no file of the index": (lambda tree: tree["parts"]["index"].clear(), "at least 1 item"),
    "lists one file less": (lambda tree: tree["parts"]["index"].pop("ids.parquet"), "does not list this file"),
    "lists another part": (lambda tree: tree["parts"].update(other={"a": "0"}), "its parts are"),
    "lacks a part": (lambda tree: tree["parts"].pop("user_tower"), "its parts are"),
    "names an absolute path": (lambda tree: tree["parts"]["index"].update({"/etc/passwd": "0"}), "not lie inside"),
    "names a path that leads out": (lambda tree: tree["parts"]["index"].update({"../x": "0"}), "not lie inside"),
    "names a path that leads out and in": (
        lambda tree: tree["parts"]["index"].update({"a/../b": "0"}),
        "not lie inside",
    ),
    "names the part itself": (lambda tree: tree["parts"]["index"].update({".": "0"}), "not lie inside"),
    "names a path with a NUL": (lambda tree: tree["parts"]["index"].update({"a\0": "0"}), "missing from|broken|cannot"),
}


@pytest.mark.parametrize("case", RESEALED)
def test_a_manifest_with_a_new_fingerprint_that_does_not_list_what_is_there_is_refused(
    case: str, mended: Product
) -> None:
    change, said = RESEALED[case]
    with_new_fingerprint(mended, change)
    with pytest.raises(ReleaseError, match=said):
        open_all(mended, "release")


@pytest.mark.parametrize("name", ["index/1/more.npy", "user_tower/1/assets/more.txt", "item_tower/1/.hidden"])
def test_a_file_that_the_manifest_does_not_list_is_refused_by_opening_and_verify(name: str, mended: Product) -> None:
    (mended.release / name).write_text("more")
    with pytest.raises(ReleaseError, match=r"the manifest does not list this file of the \w+.*move it away"):
        open_all(mended, "release")
    result = mended.run("release", "verify")
    assert result.exit_code == 2 and Path(name).name in result.stderr


def test_a_link_out_of_a_part_is_not_listed_either(mended: Product) -> None:
    (mended.release / "index" / "1" / "elsewhere").symlink_to("/etc")
    with pytest.raises(ReleaseError, match="does not list"):
        open_all(mended, "release")


def other_vectors(folder: Path) -> None:
    vectors = np.load(folder / "content_visual.npy")
    np.save(folder / "content_visual.npy", vectors[::-1].copy())


def reversed_table(name: str) -> Callable[[Path], None]:
    return lambda folder: pd.read_parquet(folder / name).iloc[::-1].to_parquet(folder / name, index=False)


def cut_clicks(folder: Path) -> None:
    pd.read_parquet(folder / "train.parquet").iloc[:-9].to_parquet(folder / "train.parquet", index=False)


BY_HAND: dict[str, Callable[[Path], None]] = {
    "other vectors": other_vectors,
    "users reversed": reversed_table("users.parquet"),
    "items reversed": reversed_table("items.parquet"),
    "clicks cut": lambda folder: (
        pd.read_parquet(folder / "train.parquet").iloc[:-9].to_parquet(folder / "train.parquet")
    ),
    "other cluster ids": lambda folder: np.save(folder / "clusters.npy", np.load(folder / "clusters.npy")[::-1]),
}


@pytest.mark.parametrize("change", BY_HAND)
def test_prepared_data_that_was_changed_by_hand_is_refused_by_every_verb_that_reads_it(
    change: str, mended: Product
) -> None:
    BY_HAND[change](mended.prepared)
    with pytest.raises(InputError, match="it was changed after it was prepared; put it back, or run"):
        open_all(mended, "prepared")
    verbs = [["evaluate"], ["release"], ["retrieve"]] if change == "other vectors" else [["evaluate"]]
    for verb in verbs:
        result = mended.run(*verb)
        assert result.exit_code == 2 and "was changed after it was prepared" in result.stderr, result.output


def test_data_that_look_as_they_did_are_not_read_again(mended: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3csr_tf.util import digests

    later = (mended.prepared / "clusters.npy").stat().st_ctime_ns + 10**11
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    open_all(mended, "prepared")
    monkeypatch.setattr(digests, "sha256", lambda path: pytest.fail(f"{path} was read"))
    open_all(mended, "prepared")


def test_weights_that_look_as_they_did_are_not_read_again_and_changed_ones_are_refused(
    mended: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3csr_tf.util import digests

    weights = next((mended.run_folder / "checkpoints").glob("*/weights.data*"))
    later = weights.stat().st_ctime_ns + 10**11
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    open_all(mended, "run_folder")
    with monkeypatch.context() as unread:
        unread.setattr(digests, "sha256", lambda path: pytest.fail(f"{path} was read"))
        open_all(mended, "run_folder")
    (weights.parent / "digests.json").write_text("{}")
    open_all(mended, "run_folder")
    before = weights.stat()
    weights.write_bytes(weights.read_bytes()[::-1])
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RunError, match="these are not the weights that the run ended with"):
        open_all(mended, "run_folder")


def test_what_is_remembered_of_files_cannot_condemn_them(mended: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    from m3csr_tf.util import digests

    later = (mended.prepared / "clusters.npy").stat().st_ctime_ns + 10**11
    monkeypatch.setattr(digests.time, "time_ns", lambda: later)
    open_all(mended, "prepared")
    path = mended.prepared / "digests.json"
    path.write_text(path.read_text().replace("a", "b"))
    open_all(mended, "prepared")


def test_an_ending_of_another_training_than_the_settings_is_refused(mended: Product) -> None:
    """The second of two trainings has written config.yaml, and the first has ended since."""
    second = Product(mended.root, ("training.learning_rate=0.5",))
    path = mended.run_folder / "config.yaml"
    path.write_text(path.read_text().replace("learning_rate: 0.003", "learning_rate: 0.5"))
    result = second.run("evaluate")
    assert result.exit_code == 2 and "finished.json is of a training with others" in result.stderr, result.output
    with pytest.raises(RunError, match=r"finished\.json is of a training with other settings than config\.yaml"):
        open_all(mended, "run_folder")


def test_weights_of_another_step_or_run_are_refused(mended: Product) -> None:
    from m3csr_tf.training import runs
    from m3csr_tf.training.runs import build_model, read_finished

    config, prepared, _ = read_finished(mended.run_folder)
    shutil.rmtree(mended.run_folder / "checkpoints")
    weights = runs.best_weights(mended.run_folder, 1)
    runs.weights_checkpoint(build_model(config, prepared)).write(str(weights))
    with pytest.raises(RunError, match=r"weights\..*these are not the weights that the run ended with"):
        open_all(mended, "run_folder")


@pytest.mark.parametrize(
    ("problem", "said", "advised"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "a/file"), "is missing", "make it again"),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "cannot be read (Permission denied)",
            "give this user the right to read it",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be read (No space left", "make room on the disk"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error)", "check the disk"),
        (IsADirectoryError(errno.EISDIR, "Is a directory"), "is a folder, expected a file", "make it again"),
        (ValueError("a\nb\x1b[31m"), r"is broken (a b\x1b[31m)", "make it again"),
        (KeyError("x" * 10**6), "is broken ('xxx", "make it again"),
        (RecursionError(), "is broken (RecursionError)", "make it again"),
        (MemoryError(), "is broken (MemoryError)", "make it again"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_a_file_that_is_at_fault_is_to_be_made_again(problem: Exception, said: str, advised: str) -> None:
    with pytest.raises(RunError) as error, reading(Path("a/file"), "make it again", RunError):
        raise problem
    message = str(error.value)
    assert message.startswith(f"a/file: it {said}") and message.endswith(f"; {advised}")
    assert len(message) < 400 and message.isprintable()


def test_weights_without_the_right_to_read_them_are_not_to_be_deleted(
    mended: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3csr_tf.training import finished

    def refused(path: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(finished, "regular", refused)
    with pytest.raises(RunError, match=r"weights.*Permission denied.*give this user the right to read it$"):
        open_all(mended, "run_folder")


@pytest.mark.parametrize(
    "content", ["", "nonsense", 'model_checkpoint_path: "training-7"', 'model_checkpoint_path: "../x"']
)
def test_a_list_of_checkpoints_that_is_broken_does_not_begin_the_training_anew(content: str, tmp_path: Path) -> None:
    from m3csr_tf.training.runs import latest_checkpoint

    (tmp_path / "checkpoints").mkdir()
    assert latest_checkpoint(tmp_path) is None
    for step in (0, 20):
        (tmp_path / "checkpoints" / f"training-{step}.index").write_bytes(b"")
    (tmp_path / "checkpoints" / "checkpoint").write_text(content)
    with pytest.raises(RunError, match=r"checkpoints/checkpoint: it is broken.*put it back, or delete"):
        latest_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "checkpoint").unlink()
    with pytest.raises(RunError, match=r"checkpoints/checkpoint: it is missing"):
        latest_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"id": 1}', '{"id": "x", "identity": {}}', "[" * 10_000, '{"parts": "many"}'],
)
def test_a_job_that_cannot_say_what_it_is_counts_as_none(content: str, tmp_path: Path) -> None:
    from m3csr_tf.batch.job_folder import JOB, JobFolder

    (tmp_path / JOB).write_text(content)
    assert JobFolder.open(tmp_path) is None


@pytest.mark.parametrize("change", [{"inputs": 10**9}, {"parts": 7}, {"position": 9}, {"identity": {"part_size": 1}}])
def test_a_job_whose_facts_were_changed_counts_as_none(change: dict[str, Any], tmp_path: Path) -> None:
    from m3csr_tf.batch.job_folder import JOB, JobFolder
    from m3csr_tf.batch.output import claimed

    identity = {"part_size": 10, "release": "abc"}
    with claimed(tmp_path / "top_n", identity, 1, 0, lambda: 35) as job:
        assert JobFolder.open(job.folder) is not None
        write_json(job.folder / JOB, json.loads((job.folder / JOB).read_text()) | change)
        assert JobFolder.open(job.folder) is None


@pytest.mark.parametrize("damage", ["cut", "missing", "of another shape"])
def test_a_release_whose_manifest_is_broken_lists_its_versions_and_says_how_one_becomes_current(
    damage: str, mended: Product
) -> None:
    path = mended.release / columns.MANIFEST
    DAMAGE[damage](path)
    listed = mended.run("release", "list")
    advice = f"{path}: missing or broken, or of a version that is not there, so none is current; "
    advice += "go back to one by rollback --version, the latest complete one is 1"
    assert listed.exit_code == 0 and "version 1" in listed.output and advice in listed.output, listed.output
    back = mended.run("release", "rollback")
    assert back.exit_code == 2 and back.stderr == f"error: {advice}\n"
    assert mended.run("release", "rollback", "--version", "1").exit_code == 0
    assert "none is current" not in mended.run("release", "list").output


def test_a_release_without_a_manifest_and_a_complete_version_is_to_be_made_again(mended: Product) -> None:
    (mended.release / columns.MANIFEST).unlink()
    shutil.rmtree(mended.release / "user_tower")
    assert "no version is complete: release again" in mended.run("release", "list").output
    result = mended.run("release", "rollback")
    assert result.exit_code == 2 and "no version is complete: release again" in result.stderr


def test_the_whole_product_goes_through_every_verb(mended: Product) -> None:
    """So that the refusals above are of the faults and of nothing else."""
    for words in (["release", "list"], ["release", "verify"], ["evaluate"], ["retrieve"], ["embed"]):
        result = mended.run(*words)
        assert result.exit_code == 0, result.output + repr(result.exception)


def read_what_is_remembered(product: Product, name: str) -> None:
    """What verbs read of files whose loss costs nothing but work."""
    from m3csr_tf.baselines.stored import Stored
    from m3csr_tf.data.prepared import Prepared
    from m3csr_tf.export import tf_serving
    from m3csr_tf.releases import versions

    if name == "history.json":
        assert versions._history(product.release) == [1]
    elif name == "models.config":
        assert tf_serving.pinned(product.release) == []
    elif name == "ease.json":
        stored = Stored(product.root / "runs", Prepared.open(product.prepared), None, 0)
        assert stored.read("ease", [{}]) is None
    else:
        open_all(product, "prepared")


@pytest.mark.parametrize("name", ["digests.json", "history.json", "models.config", "ease.json"])
def test_a_pipe_in_the_place_of_what_is_remembered_counts_as_missing(name: str, mended: Product) -> None:
    from m3csr_tf.baselines.stored import FOLDER, digest
    from m3csr_tf.data.prepared import Prepared

    of_choices = mended.root / "runs" / FOLDER / digest(Prepared.open(mended.prepared))[:16]
    of_choices.mkdir(parents=True)
    folder = {"digests.json": mended.prepared, "ease.json": of_choices}.get(name, mended.release)
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    read_what_is_remembered(mended, name)


PIPES = [
    ("prepared", "popularity.json"),
    ("release", "journal/1/00000001-"),
    ("run_folder", "finished.json"),
    ("run_folder", "config.yaml"),
    ("run_folder", "checkpoints/validated-1/weights.index"),
]


@pytest.mark.parametrize(("root", "name"), PIPES)
def test_a_pipe_in_the_place_of_what_is_needed_is_one_message(root: str, name: str, mended: Product) -> None:
    path = found(mended, root, name)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(M3CSRError, match=r"it is no regular file|it is broken") as error:
        open_all(mended, root)
    assert str(mended.root) in str(error.value)


def test_a_pipe_in_the_place_of_ids_bins_or_the_list_of_checkpoints_is_not_waited_for(tmp_path: Path) -> None:
    from m3csr_tf.features.popularity import PopularityBins
    from m3csr_tf.graph.cross_fitting import CrossIds
    from m3csr_tf.training.runs import latest_checkpoint

    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "checkpoint"
    os.mkfifo(path)
    for load in (CrossIds.load, PopularityBins.load):
        with pytest.raises(OSError, match="it is no regular file"):
            load(path)
    with pytest.raises(RunError, match=r"checkpoint: it is broken \(it is no regular file\); put it back"):
        latest_checkpoint(tmp_path)


CONFIGS: dict[str, tuple[str, str]] = {
    "empty": ("", r"it is broken \(it says nothing\)"),
    "of remarks alone": ("# run: {}\n", r"it is broken \(it says nothing\)"),
    "cut": ("run: {name: ", "it is broken"),
    "no mapping": ("[1, 2]\n", "expected a mapping of sections, got list"),
    "of other settings": ("run: {nonsense: 1}\n", r"unknown setting run\.nonsense"),
    "not text": ("\ud8ff", "it is broken"),
}


@pytest.mark.parametrize("verb", ["evaluate", "prepare"])
@pytest.mark.parametrize("case", CONFIGS)
def test_settings_of_a_run_that_are_broken_are_to_be_put_back_and_the_run_is_kept(
    case: str, verb: str, mended: Product
) -> None:
    text, said = CONFIGS[case]
    path = mended.run_folder / "config.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    result = mended.run(verb)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2 and re.search(said, message), result.output
    assert "put it back; where it is lost, train under another run.name" in message and str(path.name) in message
    assert "overwrite" not in message and "other settings" not in message
    assert (mended.run_folder / "finished.json").exists()


@pytest.mark.parametrize("verb", ["evaluate", "prepare"])
def test_settings_of_a_run_that_may_not_be_read_need_rights_and_nothing_else(
    verb: str, mended: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3csr_tf.training import run_files

    def refused(path: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(run_files, "regular", refused)
    result = mended.run(verb)
    assert result.exit_code == 2, result.output
    assert result.stderr.strip().endswith("(Permission denied); give this user the right to read it"), result.stderr


def test_a_run_whose_settings_are_broken_is_replaced_where_that_is_asked_for(mended: Product) -> None:
    (mended.run_folder / "config.yaml").write_text("")
    result = mended.run("prepare", "run.overwrite=true")
    assert result.exit_code == 0, result.output
    assert not (mended.run_folder / "finished.json").exists()
    assert (mended.run_folder / "config.yaml").stat().st_size


@pytest.mark.parametrize("verb", ["evaluate", "frontier"])
@pytest.mark.parametrize("place", ["runs", "runs/small"])
def test_figures_that_could_not_be_written_in_the_end_are_not_worked_on(
    verb: str, place: str, mended: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    from m3csr_tf.training import runs
    from m3csr_tf.verbs import frontier, released_vectors

    access = os.access
    monkeypatch.setattr(runs.os, "access", lambda path, mode: path != mended.root / place and access(path, mode))
    for module in (frontier, released_vectors):
        monkeypatch.setattr(module, "vectors_of", lambda *_: pytest.fail("worked on"))
    result = mended.run(verb)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 2 and f"{mended.root / place}: it may not be written" in message, result.output
    assert "give this user the right to write it, or copy the run" in message
