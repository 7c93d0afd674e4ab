"""Two processes at once, and files that are not what their names say: one writes, others wait or end in a message."""

from __future__ import annotations

import fcntl
import logging
import os
import platform
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from kills import begun, running, signalled_after
from small_logs import Logs

from m3csr_tf.batch import output as outputs
from m3csr_tf.batch.sources import items_source
from m3csr_tf.batch.user_sources import users_source
from m3csr_tf.config import Config, load
from m3csr_tf.data.id_files import read_ids
from m3csr_tf.data.tables import load_table
from m3csr_tf.data.updates import read_updates
from m3csr_tf.errors import ConfigError, EngineError, InputError, RunError
from m3csr_tf.util import files, locks
from m3csr_tf.util.refusals import reason

WAIT = 240


def holding(begin: Callable[[], None], folder: Path) -> None:
    """Holds a folder without end."""
    with locks.folder_lock(folder):
        begin()
        time.sleep(WAIT)


def test_who_holds_a_folder_may_hold_it_again_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "night"
    with locks.folder_lock(folder), locks.folder_lock(folder), locks.folder_lock(folder / "prepared"):
        assert (tmp_path / "runs" / ".night.lock").read_text() == f"{os.getpid()} {platform.node()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_removed_by_its_holder_is_not_taken_for_the_next_one(tmp_path: Path) -> None:
    lock, free = tmp_path / "lock", []

    def wait_and_look() -> None:
        with locks.locked(lock), locks.if_free(lock) as another_could_take_it:
            free.append(another_could_take_it)

    waiting = threading.Thread(target=wait_and_look)
    with locks.locked(lock, stays=False):
        waiting.start()
        time.sleep(0.1)  # It has opened the file by now, which is about to be removed.
    waiting.join(10)
    assert free == [False]


@pytest.mark.parametrize("kind", ["a link", "a hard link", "a pipe", "a folder"])
def test_a_lock_that_is_no_file_of_its_own_is_refused_and_what_it_points_to_is_not_emptied(
    kind: str, tmp_path: Path
) -> None:
    victim, lock = tmp_path / "victim", tmp_path / "lock"
    victim.write_text("kept")
    spoil(lock, kind, victim)
    with pytest.raises(OSError, match=r"link|no file of its own") as error, locks.locked(lock):
        pytest.fail("taken")
    assert victim.read_text() == "kept"
    assert reason(error.value).endswith("; remove it")


def spoil(path: Path, kind: str, victim: Path) -> None:
    """Puts something else in the place of a file."""
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        (path.symlink_to if kind == "a link" else path.hardlink_to)(victim)


@pytest.mark.parametrize("kind", ["a link", "a hard link", "a pipe", "a folder"])
def test_a_lock_of_a_sweep_that_is_no_file_of_its_own_is_refused_and_what_it_points_to_is_not_emptied(
    kind: str, tmp_path: Path
) -> None:
    from m3csr_tf.experiments.sweep import study

    victim, folder = tmp_path / "victim", tmp_path / "sweep"
    victim.write_text("kept")
    folder.mkdir()
    spoil(folder / ".lock", kind, victim)
    with pytest.raises(OSError, match=r"link|no file of its own"), study._alone(folder):
        pytest.fail("taken")
    assert victim.read_text() == "kept"


def test_a_folder_that_takes_no_file_is_named_instead_of_being_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(files.Obstacle, match="no file can be made in this folder; choose another") as error:
        with locks.locked(Path("/proc/.run.lock")):
            pytest.fail("taken")
    assert reason(error.value) == "no file can be made in this folder; choose another"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with (
        pytest.raises(files.Obstacle, match="the folder that this was started in is gone"),
        locks.folder_lock(Path("run")),
    ):
        pytest.fail("held")


@pytest.mark.parametrize("place", ["a part", "the file of the workers", "facts"])
def test_a_pipe_in_a_jobs_folder_does_not_hold_up_the_job(place: str, tmp_path: Path) -> None:
    claim = (tmp_path / "top_n", {"users": "one", "part_size": 5}, 1, 0, lambda: 5)
    with outputs.claimed(*claim) as job:
        with job.writing(0, pa.schema([("user", pa.string())])):
            pass
        made = {"a part": job.path(0), "the file of the workers": job.folder / "_working", "facts": job.folder / "_job"}
    path = made[place].with_suffix(".json") if place == "facts" else made[place]
    path.unlink()
    os.mkfifo(path)
    if place == "the file of the workers":
        with pytest.raises(OSError, match="no file of its own, as a lock is; remove it"), outputs.claimed(*claim):
            pytest.fail("claimed")
        return
    if place == "a part":
        with outputs.claimed(*claim) as again:
            assert again.missing() == [0]
    else:
        assert outputs.JobFolder.open(job.folder) is None


@pytest.mark.parametrize("place", ["top_n-0123456789abcdef", "top_n-mine"])
def test_what_no_job_has_made_is_neither_in_a_jobs_way_nor_removed(place: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f".{place}").symlink_to(elsewhere)
    with outputs.claimed(tmp_path / "top_n", {"users": "one", "part_size": 5}, 1, 0, lambda: 0) as job:
        assert outputs.commit(tmp_path / "top_n", job)
        (job.folder / "part-00000").touch()
    assert (tmp_path / f".{place}").is_symlink() and elsewhere.is_dir()


def test_a_second_process_waits_for_the_run_and_names_the_first(world: Path, tmp_path: Path) -> None:
    first = begun(holding, tmp_path / "runs" / "tiny")
    second = begun(running, "prepare", world, tmp_path / "out")
    until = time.monotonic() + WAIT
    while "waiting" not in (said := (tmp_path / "out").read_text()):
        assert time.monotonic() < until and second.is_alive(), said
        time.sleep(0.05)
    assert said == f"{tmp_path / 'runs' / 'tiny'}: process {first.pid} on {platform.node()} holds it; waiting\n"
    assert not (tmp_path / "runs" / "tiny").exists()
    first.kill()
    second.join(WAIT)
    assert second.exitcode == 0 and (tmp_path / "runs" / "tiny" / "prepared" / "manifest.json").exists()


def test_two_preparations_of_one_run_at_once_both_end_well(world: Path, tmp_path: Path) -> None:
    both = [begun(running, "prepare", world, tmp_path / str(number)) for number in range(2)]
    for process in both:
        process.join(WAIT)
    assert [process.exitcode for process in both] == [0, 0]
    assert not any("error" in (tmp_path / str(number)).read_text() for number in range(2))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]


def test_other_settings_wait_for_the_training_of_a_run_and_then_replace_it_whole(world: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "runs" / "tiny", tmp_path / "second"
    first = begun(running, "train", world, tmp_path / "first")
    while not (run / "config.yaml").exists():
        assert first.is_alive(), (tmp_path / "first").read_text()
        time.sleep(0.05)
    others = ["training.learning_rate=0.0071", "run.overwrite=true"]
    assert signalled_after(WAIT, 0, running, "prepare", world, out, *others) == 0
    first.join(WAIT)
    assert first.exitcode == 0, (tmp_path / "first").read_text()
    assert f"process {first.pid} on {platform.node()} holds it; waiting" in out.read_text()
    assert "best validation recall@20" in (tmp_path / "first").read_text()
    assert load(run / "config.yaml").training.learning_rate == 0.0071
    assert not (run / "finished.json").exists() and not (run / "checkpoints").exists()


def test_figures_are_not_written_beside_a_run_that_was_trained_anew_meanwhile(tmp_path: Path) -> None:
    from m3csr_tf.training import runs

    trained: Any = SimpleNamespace(config=SimpleNamespace(run_folder=tmp_path / "run"), finished={"steps": 8})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "finished.json").write_text('{"steps": 8}')
    with runs.figures_of(trained):
        pass
    (tmp_path / "run" / "finished.json").write_text('{"steps": 9}')
    with pytest.raises(RunError, match="was trained anew while this worked on it"), runs.figures_of(trained):
        pytest.fail("written")


IN_THE_WAY = {
    **dict.fromkeys(["top_n", "item_vectors", "metrics.json", "finished.json", "cross_ids.npz"], "a folder"),
    **dict.fromkeys(["logs", ".top_n-0123456789abcdef"], "a file"),
    **dict.fromkeys([".item_vectors-0123456789abcdef", "checkpoints"], "a link"),
}


@pytest.mark.parametrize("place", IN_THE_WAY)
def test_what_is_in_the_way_of_a_new_run_is_found_before_anything_of_the_old_one_is_deleted(
    place: str, tmp_path: Path
) -> None:
    logs = Logs(tmp_path)
    assert logs.run().exit_code == 0
    run, elsewhere = tmp_path / "runs" / "case", tmp_path / "elsewhere"
    for folder in (elsewhere, run / "checkpoints"):
        folder.mkdir()
        (folder / "checkpoint").write_text("kept")
    if IN_THE_WAY[place] == "a file":
        (run / place).write_text("mine")
    elif IN_THE_WAY[place] == "a folder":
        (run / place).mkdir()
        (run / place / "mine").write_text("mine")
    else:
        shutil.rmtree(run / place, ignore_errors=True)
        (run / place).symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    logs.overrides |= {"run.overwrite": "true", "clusters.count": "3"}
    result = logs.run()
    assert result.exit_code == 2 and f"{run / place}: is not what a run leaves there" in result.stderr, result.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert (elsewhere / "checkpoint").read_text() == "kept"


def test_of_a_run_that_is_replaced_the_folders_of_its_jobs_go_and_no_others(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    assert logs.run().exit_code == 0
    run = tmp_path / "runs" / "case"
    for name in ("0123456789abcdef", "mine", "0123456789abcdef-mine"):
        (run / f".top_n-{name}").mkdir()
        (run / f".top_n-{name}" / "file").write_text("mine")
    logs.overrides |= {"run.overwrite": "true", "clusters.count": "3"}
    assert logs.run().exit_code == 0
    assert {path.name for path in run.glob(".top_n-*")} == {".top_n-mine", ".top_n-0123456789abcdef-mine"}


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        ("users", "items", r"holds top-N lists, .*\(embed\.output\)"),
        ("items", "users", r"holds item vectors, .*\(retrieve\.output\)"),
    ],
)
def test_lists_and_item_vectors_do_not_take_each_others_place(
    first: str, then: str, message: str, tmp_path: Path
) -> None:
    output = tmp_path / "made"
    with outputs.claimed(output, {first: "one", "part_size": 5}, 1, 0, lambda: 0) as job:
        assert outputs.commit(output, job)
        (job.folder / "part-00000").touch()
    before = output.resolve()
    other = outputs.claimed(output, {then: "two", "part_size": 5}, 1, 0, lambda: 0)
    with pytest.raises(RunError, match=message), other:
        pytest.fail("claimed")
    assert output.resolve() == before and before.is_dir()


SECRETS = {
    "spark.hadoop.fs.s3a.access.key": "AKIA",
    "spark.hadoop.fs.s3a.secret.key": "s3cr3t",
    "spark.ssl.keyPassword": "pass",
    "spark.my.Token": "t0k3n",
    "spark.driver.extraJavaOptions": "-Djavax.net.ssl.trustStorePassword=hunter2",
    "spark.hadoop.fs.azure.sas.x": "sv=1&s=s1gn3d",
    "spark.hadoop.x": "sv=1&sig=s1gn3d",
    "spark.hadoop.proxy": "http://me:pr0xy@h:3128",
}


def test_secrets_of_spark_are_not_written_into_a_runs_configuration(tmp_path: Path) -> None:
    plain = {"spark.executor.memory": "8g", "spark.driver.host": "kansas"}
    master = "spark://me:m4st3r/@h:7077"
    config = Config.model_validate({"spark": {"conf": SECRETS | plain, "master": master}})
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert not any(secret in (tmp_path / "config.yaml").read_text() for secret in (*SECRETS.values(), "m4st3r"))
    again = load(tmp_path / "config.yaml")
    assert again.spark.conf == dict.fromkeys(SECRETS, "***") | plain
    assert again.spark.master == "spark://***@h:7077"
    assert config.spark.conf["spark.my.Token"] == "t0k3n" and again.fingerprint() == config.fingerprint()
    assert config.fingerprint("spark") != again.fingerprint("spark")


@pytest.mark.parametrize(
    ("spark", "said"),
    [
        (
            {"conf": {"spark.a": "1", "spark.password": "***"}},
            r"spark\.conf: spark\.password: \*\*\* stands for a secret",
        ),
        ({"master": "spark://***@h:7077"}, r"spark\.master: \*\*\* stands for user and password"),
    ],
)
def test_what_stands_for_a_secret_is_not_handed_to_spark(spark: dict[str, Any], said: str) -> None:
    from m3csr_tf.batch.spark_session import require_secrets

    with pytest.raises(EngineError, match=rf"{said}.*; give it again"):
        require_secrets(Config.model_validate({"spark": spark}).spark)


@pytest.mark.parametrize(
    "overrides",
    [
        ["spark.conf={spark.password: {a: hunter2}}"],
        ["spark.conf={spark.password: [hunter2"],
        ["spark={conf: {spark.password: hunter2}}"],
        ["spark: {conf: {spark.password: hunter2}}"],
        ["spark.conf={spark.password: hunter2}", "spark.conf.spark={password: hunter2}"],
        ["spark.conf=hunter2", "spark.conf.a=hunter2"],
        ["spark.master={hunter2: hunter2}"],
    ],
)
def test_messages_about_settings_of_spark_do_not_show_them(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match="spark") as error:
        load(None, overrides)
    assert "hunter2" not in str(error.value)


def test_a_configuration_that_is_no_yaml_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("spark:\n  conf: {spark.password: 'hunter2', a: [}\n")
    with pytest.raises(ConfigError, match="in line 2, column") as error:
        load(tmp_path / "config.yaml")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_files_of_a_run_have_the_rights_that_the_user_gives_new_files(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        assert Logs(tmp_path).run().exit_code == 0
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "runs").rglob("*") if path.is_file()}
    assert modes == {0o666 & ~umask}


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "users": ("users.csv", users_source),
    "users, as lines": ("users.jsonl", users_source),
    "users, as parquet": ("users.parquet", users_source),
    "items": ("items.csv", lambda path: items_source(path, [])),
    "a block list": ("block.txt", read_ids),
    "a block list, as a table": ("block.csv", read_ids),
    "fresh items": ("fresh.parquet", lambda path: read_updates(path, {}, {})),
    "a catalogue": ("catalogue.parquet", lambda path: load_table(path, ["item_id"], [])),
    "a configuration": ("config.yaml", load),
}


@pytest.mark.parametrize("device", ["a pipe", "/dev/zero", "/dev/full", "/dev/urandom"])
@pytest.mark.parametrize("reader", READERS)
def test_pipes_and_endless_devices_are_no_files(reader: str, device: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    path = tmp_path / name
    if device == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(device)
    with pytest.raises((InputError, ConfigError), match=re.escape(str(path)) + ".*(pipe or a device|no regular file)"):
        read(path)


def test_a_wait_for_a_lock_is_told_in_words_that_nobody_else_can_choose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lock").write_text("1 \x1b[31mroot\n")
    stream = (tmp_path / "lock").open("r+b", buffering=0)
    fcntl.flock(stream, fcntl.LOCK_EX)
    monkeypatch.setattr(locks, "_PATIENCE", 0.01)
    monkeypatch.setattr(locks, "_holder", lambda path, said=locks._holder: (said(path), stream.close())[0])
    with caplog.at_level(logging.WARNING), locks.locked(tmp_path / "lock"):
        assert caplog.messages == [f"{tmp_path / 'lock'}: another process holds it; waiting"]
