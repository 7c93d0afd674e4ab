"""The batch job as a whole: parts behind a link, going on after a death, shares of several machines."""

from __future__ import annotations

import fcntl
import pickle
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from one_batch import top_n_lists

from m3csr_tf import columns
from m3csr_tf.batch import output as outputs
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.batch.job_folder import PartFacts
from m3csr_tf.batch.lists import ListMaker
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import RetrieveConfig
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import open_release
from m3csr_tf.util.progress import Stage
from m3csr_tf.verbs import retrieve as retrieve_verb

PARTS = ["part_id", "part_visual", "part_acoustic", "part_popularity"]
SMALL = {"top_n": 3, "batch_size": 4, "shard_users": 10}
"""Of 35 users: four parts, of 10, 10, 10 and 5."""


@pytest.fixture
def users(tmp_path: Path, untrained_run: Any) -> Path:
    """A file of 35 users, in row groups of 8."""
    items = untrained_run.prepared.items.known
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            columns.USER_ID: [f"n{row}" for row in range(35)],
            columns.HISTORY: [list(rng.choice(items, 5, replace=False)) for _ in range(35)],
            columns.EXCLUSIONS: [list(rng.choice(items, 9, replace=False)) for _ in range(35)],
        }
    )
    path = tmp_path / "users.parquet"
    frame.to_parquet(path, row_group_size=8)
    return path


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "top_n"


def run(release: Any, users: Path, output: Path, **settings: Any) -> JobStatus:
    return retrieve(release, FileOfUsers(users), output, RetrieveConfig(**(SMALL | settings)))


def lists_at(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output)


def folders(output: Path) -> list[str]:
    return sorted(path.name for path in output.parent.iterdir() if path.is_dir() and not path.is_symlink())


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir() if path.suffix == ".parquet"}


def dying_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the `call`-th batch of the job fail."""
    real, calls = ListMaker.table, iter(range(1, 1000))

    def table(self: ListMaker, found: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return real(self, found)

    monkeypatch.setattr(ListMaker, "table", table)


def dead_job(release: Any, users: Path, output: Path, call: int, **settings: Any) -> None:
    """A job that dies while it makes its `call`-th batch; a part of ten has three."""
    with pytest.MonkeyPatch.context() as patch:
        dying_at(call, patch)
        with pytest.raises(KeyboardInterrupt):
            run(release, users, output, **settings)


def test_the_lists_are_those_of_one_batch_in_parts_behind_a_link(release: Any, users: Path, output: Path) -> None:
    done = run(release, users, output)
    expected = top_n_lists(release, pd.read_parquet(users), 3)
    pd.testing.assert_frame_equal(lists_at(output), expected, atol=1e-5)
    assert output.is_symlink() and not output.readlink().is_absolute()
    assert output.resolve() == done.folder.resolve()
    assert [pq.read_metadata(path).num_rows for path in sorted(output.glob("*.parquet"))] == [30, 30, 30, 15]
    assert (done.inputs, done.rows, done.short, done.parts, done.made, done.missing) == (35, 105, 0, 4, 4, 0)


def test_a_part_has_the_columns_types_and_row_groups_promised(release: Any, users: Path, output: Path) -> None:
    run(release, users, output)
    file = pq.ParquetFile(min(output.glob("*.parquet")))
    types = {field.name: str(field.type) for field in file.schema_arrow}
    fixed = {"user_id": "string", "rank": "int32", "item_id": "string", "score": "float", "model_version": "int32"}
    assert types == fixed | dict.fromkeys(PARTS, "float")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [12, 12, 6]


def test_lists_longer_than_the_catalogue_are_counted_as_short(release: Any, users: Path, output: Path) -> None:
    done = run(release, users, output, top_n=1000)
    indexed = len(release.index)
    frame = pd.read_parquet(users)
    unseen = [
        indexed - len({*history, *others})
        for history, others in zip(frame["history"], frame["exclusions"], strict=True)
    ]
    assert lists_at(output).groupby("user_id", sort=False).size().tolist() == unseen
    assert done.short == 35


@pytest.mark.parametrize("call", [1, 2, 4, 8, 11])
def test_a_job_that_died_goes_on_and_gives_the_same_files(
    call: int, release: Any, users: Path, output: Path, tmp_path: Path
) -> None:
    run(release, users, tmp_path / "whole")
    dead_job(release, users, output, call)
    assert not output.exists()
    done = run(release, users, output)
    assert done.made == 4 - (call - 1) // 3
    assert files(output) == files(tmp_path / "whole")
    assert folders(output) == [done.folder.name]


def test_what_a_killed_process_left_half_written_is_removed(release: Any, users: Path, output: Path) -> None:
    dead_job(release, users, output, 5)
    [folder] = [output.parent / name for name in folders(output)]
    (folder / ".part-00001-x.parquet.123.part").write_bytes(b"half")
    done = run(release, users, output)
    assert {path.name[:5] for path in done.folder.iterdir()} == {"part-", "_job.", "_work"}


def test_a_part_that_was_cut_short_in_copying_is_made_again(
    release: Any, users: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead_job(release, users, output, 8)
    part = min(output.parent.glob(".top_n-*/part-00000*"))
    part.write_bytes(part.read_bytes()[:-9])
    assert run(release, users, output).made == 3
    assert "part-00000" in caplog.text and "made again" in caplog.text


def test_shares_of_three_processes_make_the_whole_job(release: Any, users: Path, output: Path, tmp_path: Path) -> None:
    run(release, users, tmp_path / "whole")
    states = []
    for share in ("3/3", "1/3", "2/3"):
        assert not output.exists()
        states.append(run(release, users, output, shard=share))
    assert [(state.made, state.missing) for state in states] == [(1, 3), (2, 1), (1, 0)]
    assert files(output) == files(tmp_path / "whole")


def test_shares_made_on_other_disks_are_put_in_place_once_they_are_copied_together(
    release: Any, users: Path, tmp_path: Path
) -> None:
    run(release, users, tmp_path / "whole")
    here, there = tmp_path / "here" / "top_n", tmp_path / "there" / "top_n"
    first, second = run(release, users, here, shard="1/2"), run(release, users, there, shard="2/2")
    for part in second.folder.glob("part-*"):
        part.rename(first.folder / part.name)
    done = run(release, users, here)
    assert done.made == 0 and done.missing == 0
    assert files(here) == files(tmp_path / "whole")


def test_more_shares_than_parts_leave_some_with_nothing_to_do(release: Any, users: Path, output: Path) -> None:
    state = run(release, users, output, shard="9/9")
    assert (state.made, state.missing, state.parts) == (0, 4, 4)
    assert folders(output) == []


def claimed(output: Path) -> AbstractContextManager[outputs.JobFolder]:
    """A job of one part."""
    return outputs.claimed(output, {"part_size": 10}, 1, 0, lambda: 5)


def write_part(job: outputs.JobFolder) -> None:
    with job.writing(0, pa.schema([("user_id", pa.string())])) as writer:
        writer.write(pa.table({"user_id": ["a"] * 5}), PartFacts(inputs=5))


def test_an_idle_process_does_not_remove_what_another_finishes_while_it_waits_for_the_lock(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = outputs.locked

    def locked(path: Path) -> AbstractContextManager[None]:
        monkeypatch.setattr(outputs, "locked", real)
        with claimed(output) as job:
            write_part(job)
            assert outputs.commit(output, job)
        return real(path)

    with claimed(output):
        monkeypatch.setattr(outputs, "locked", locked)
    assert [path.name[:5] for path in output.glob("part-*")] == ["part-"]


def test_a_part_that_another_process_adds_after_the_look_for_all_is_put_in_place(
    release: Any, users: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(release, users, tmp_path / "whole" / "top_n")
    real = outputs.commit

    def commit(output: Path, job: outputs.JobFolder) -> bool:
        there = real(output, job)
        for part in job.missing():
            shutil.copy(whole.folder / job.path(part).name, job.path(part))
        return there

    monkeypatch.setattr(outputs, "commit", commit)
    done = run(release, users, output, shard="1/2")
    assert done.missing == 0 and output.resolve() == done.folder.resolve()


def test_examples_of_lists_that_have_been_replaced_meanwhile_are_left_out(
    release: Any, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    retrieve_verb._print_examples(tmp_path / "gone", release)
    (tmp_path / "part-00000-a.parquet").symlink_to("gone")
    retrieve_verb._print_examples(tmp_path, release)
    assert capsys.readouterr().out == ""


def test_lists_that_somebody_still_works_on_stay_when_others_take_their_place(
    release: Any, users: Path, output: Path
) -> None:
    first = run(release, users, output)
    job = outputs.current(output)
    assert job is not None
    with (first.folder / outputs.WORKING).open("a") as working:
        fcntl.flock(working, fcntl.LOCK_SH)
        second = run(release, users, output, overwrite=True)
        assert folders(output) == sorted([first.folder.name, second.folder.name])
        assert outputs.commit(output, job) and output.resolve() == second.folder.resolve()
        third = run(release, users, output, overwrite=True)
        assert folders(output) == sorted([first.folder.name, third.folder.name])
    fourth = run(release, users, output, overwrite=True)
    assert folders(output) == [fourth.folder.name]


def test_a_finished_job_is_not_made_again_unless_asked_for(
    release: Any, users: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(release, users, output)
    with monkeypatch.context() as patch:
        dying_at(1, patch)
        assert run(release, users, output).made == 0
    again = run(release, users, output, overwrite=True)
    assert again.made == 4 and again.folder != first.folder
    assert folders(output) == [again.folder.name]
    assert run(release, users, output, overwrite=True).made == 4


def test_an_overwriting_job_that_died_goes_on(release: Any, users: Path, output: Path) -> None:
    before = run(release, users, output)
    dead_job(release, users, output, 5, overwrite=True)
    assert output.resolve() == before.folder.resolve()
    assert run(release, users, output, overwrite=True).made == 3


def test_readers_have_the_old_lists_until_the_new_ones_are_all_there(release: Any, users: Path, output: Path) -> None:
    run(release, users, output)
    before = lists_at(output)
    dead_job(release, users, output, 11, top_n=4)
    pd.testing.assert_frame_equal(lists_at(output), before)
    done = run(release, users, output, top_n=4)
    assert done.made == 1 and len(lists_at(output)) == 140
    assert folders(output) == [done.folder.name]


@pytest.mark.parametrize(
    ("change", "word"), [({"top_n": 4}, "settings"), ({"shard_users": 9}, "part size"), ({"users": 34}, "users")]
)
def test_a_job_of_other_users_or_settings_starts_anew_and_says_so(
    change: dict[str, int], word: str, release: Any, users: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead_job(release, users, output, 5)
    if "users" in change:
        pd.read_parquet(users).head(change["users"]).to_parquet(users)
    done = run(release, users, output, **{key: value for key, value in change.items() if key != "users"})
    assert done.made == done.parts
    assert f"removed an unfinished job, as its {word} differed" in caplog.text
    assert folders(output) == [done.folder.name]


@pytest.fixture
def living(release: Any, tmp_path: Path) -> Any:
    """A copy of the release, to refresh."""
    return open_release(Path(shutil.copytree(release.folder, tmp_path / "saved_models" / "small")))


def add_item(release: Any, item: str, like: str) -> None:
    """Publishes an item with the content of another one."""
    content = release.items.content(np.array([like], object))
    refresh(release, pd.DataFrame({columns.ITEM_ID: [item]}), content)


def test_a_job_goes_on_with_the_items_that_it_began_with_and_the_next_one_has_the_fresh_ones(
    living: Any, users: Path, output: Path, tmp_path: Path
) -> None:
    run(living, users, tmp_path / "whole", top_n=1000)
    dead_job(living, users, output, 5, top_n=1000)
    add_item(living, "fresh", living.index.ids[0])
    done = run(living, users, output, top_n=1000)
    assert (done.position, done.made) == (0, 3)
    assert files(output) == files(tmp_path / "whole")
    done = run(living, users, output, top_n=1000)
    assert (done.position, done.made) == (1, 4)
    assert (lists_at(output)[columns.ITEM_ID] == "fresh").sum() == 35


def test_a_release_that_knows_less_than_its_journal_catches_up_for_the_job(
    living: Any, users: Path, output: Path
) -> None:
    behind = open_release(living.folder)
    assert behind.position == 0
    add_item(living, "fresh", living.index.ids[0])
    assert run(behind, users, output, top_n=1000).position == 1
    assert (lists_at(output)[columns.ITEM_ID] == "fresh").sum() == 35


@pytest.mark.parametrize("loaded", [False, True])
def test_a_release_that_is_sent_to_another_process_knows_there_what_it_knew_here(living: Any, loaded: bool) -> None:
    if loaded:
        assert living.position == 0
    sent = pickle.dumps(living)
    add_item(open_release(living.folder), "fresh", living.items.ids[0])
    arrived = pickle.loads(sent)  # noqa: S301  Ours, of a line before.
    assert (living.journal.length(), arrived.position) == (1, 0)
    assert not arrived.items.holds(np.array(["fresh"], object)).any()


def test_two_jobs_are_not_made_for_one_output_at_once(release: Any, users: Path, output: Path) -> None:
    dead_job(release, users, output, 5)
    [folder] = output.parent.glob(".top_n-*")
    with (folder / outputs.WORKING).open("a") as working:
        assert outputs._alone(working)
        with pytest.raises(RunError, match="another job is being made for it"):
            run(release, users, output, top_n=4)
    assert run(release, users, output, top_n=4).made == 4


def test_lists_put_in_place_by_a_process_that_died_before_it_removed_the_old_ones(
    release: Any, users: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(release, users, output)
    with monkeypatch.context() as patch:
        patch.setattr(outputs.shutil, "rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(release, users, output, overwrite=True)
    now = output.resolve()
    assert len(folders(output)) == 2
    assert run(release, users, output).made == 0 and output.resolve() == now
    done = run(release, users, output, overwrite=True)
    assert done.made == 4 and folders(output) == [done.folder.name]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_output_of_a_job_is_not_replaced(kind: str, release: Any, users: Path, output: Path) -> None:
    output.parent.mkdir()
    if kind == "file":
        output.write_text("mine")
    elif kind == "folder":
        output.mkdir()
    else:
        output.symlink_to("elsewhere")
    with pytest.raises(RunError, match=r"not a link that an earlier job made.*retrieve\.output"):
        run(release, users, output)
    assert output.is_symlink() == (kind == "link") and folders(output) == (["top_n"] if kind == "folder" else [])


def test_bad_users_leave_the_earlier_lists_in_place(release: Any, users: Path, output: Path) -> None:
    run(release, users, output)
    before = files(output)
    frame = pd.read_parquet(users)
    pd.concat([frame, frame.head(1)]).to_parquet(users)
    with pytest.raises(InputError, match="data row 36 is 'n0', which data row 1 has too"):
        run(release, users, output)
    assert files(output) == before and len(folders(output)) == 1


@pytest.mark.parametrize("change", ["fewer", "a part fewer", "more", "others", "gone"])
def test_users_that_change_while_they_are_read_are_one_message_and_leave_the_earlier_lists(
    change: str, release: Any, users: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(release, users, output)
    before, real, frame = files(output), FileOfUsers.read, pd.read_parquet(users)

    def read(self: FileOfUsers, *args: Any) -> Iterator[Any]:
        changed = {
            "fewer": frame.head(33),
            "a part fewer": frame.head(30),
            "more": pd.concat([frame, frame]),
            "others": frame.assign(user_id=frame["user_id"] + "x"),
        }
        changed.get(change, frame).to_parquet(users)
        yield from real(self, *args)
        if change == "gone":
            users.unlink()

    monkeypatch.setattr(FileOfUsers, "read", read)
    with pytest.raises(InputError, match="changed while it was read; run again"):
        run(release, users, output, top_n=4)
    assert files(output) == before and len(folders(output)) == 1


@pytest.mark.parametrize("name", [".", "..", "/", "runs/.."])
def test_an_output_without_a_name_is_one_message(name: str, release: Any, users: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in a name; retrieve\.output must"):
        run(release, users, Path(name))


def test_no_users_at_all_is_one_message(release: Any, users: Path, output: Path) -> None:
    pd.read_parquet(users).head(0).to_parquet(users)
    with pytest.raises(InputError, match="no users; expected a row for each user"):
        run(release, users, output)
    assert not output.exists() and folders(output) == []


def test_an_output_that_cannot_be_written_is_one_message(release: Any, users: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written: .*retrieve\.output"):
        run(release, users, tmp_path / "file" / "lists")


def test_progress_after_a_resume_counts_what_was_done_but_not_for_the_speed(
    release: Any, users: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_job(release, users, output, 8)
    states = []
    real = Stage.advance

    def advance(self: Stage, count: int) -> None:
        real(self, count)
        states.append((self._done, self._total))

    monkeypatch.setattr(Stage, "advance", advance)
    run(release, users, output)
    assert states == [(24, 35), (28, 35), (30, 35), (34, 35), (35, 35)]


def test_exclusions_do_not_wait_in_memory_once_they_are_rows(
    release: Any, users: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set()
    real = ListMaker.find

    def find(self: ListMaker, frame: pd.DataFrame, seen: Any) -> Any:
        names.update(frame.columns)
        return real(self, frame, seen)

    monkeypatch.setattr(ListMaker, "find", find)
    run(release, users, output)
    assert names == {columns.USER_ID, columns.HISTORY}
