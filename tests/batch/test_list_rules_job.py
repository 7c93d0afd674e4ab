"""Caps and near-duplicates from the catalogue to the lists: release, refresh, job, Python API, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import m3csr_tf as m3
from m3csr_tf import columns
from m3csr_tf.batch.list_rules import ListRules, check_rules
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import Config, DataConfig, IndexConfig, RetrieveConfig, load
from m3csr_tf.data import formats
from m3csr_tf.data.kept_columns import values_of
from m3csr_tf.data.world import authors_of, make_world
from m3csr_tf.errors import ConfigError, InputError
from m3csr_tf.releases import inbox, versions
from m3csr_tf.releases.compaction import compact
from m3csr_tf.releases.publish import publish, says_the_same
from m3csr_tf.releases.release import Release, open_release
from m3csr_tf.verbs.retrieve import _print_done


def with_release(run: Any, **changes: Any) -> Any:
    """A run with other settings of section `release` and other folders."""
    place = {name: changes.pop(name) for name in ("release_folder",) if name in changes}
    config = run.config.model_copy(
        update={
            "run": run.config.run.model_copy(update=place),
            "release": run.config.release.model_copy(update=changes),
        }
    )
    return type(run)(config, run.prepared, run.model)


@pytest.fixture
def copy(authored: Release, tmp_path: Path) -> Release:
    """A copy of it, to change."""
    return open_release(Path(shutil.copytree(authored.folder, tmp_path / "moved" / "small")))


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Six users, some of whom have seen something."""
    frame = pd.DataFrame({columns.USER_ID: [f"n{row}" for row in range(6)]})
    frame[columns.HISTORY] = [[f"v{row:03d}" for row in range(k * 7, k * 9)] for k in range(6)]
    frame.to_parquet(tmp_path / "users.parquet")
    return tmp_path / "users.parquet"


def author_of(release: Release) -> dict[str, str | None]:
    ids = release.items.ids
    return dict(zip(ids, release.items.values(ids)["author"], strict=True))


def taken_in(release: Release, folder: Path, **cells: list[Any]) -> None:
    """A refresh by a file with these columns."""
    pd.DataFrame(cells).to_parquet(folder / "new.parquet")
    inbox.take_in(release, folder / "new.parquet")


def test_a_release_keeps_the_columns_that_a_setting_names(authored: Release, authored_run: Any, release: Any) -> None:
    expected = authors_of(authored_run.config.data.world)
    assert author_of(authored) == dict(zip(expected["item_id"], expected["author"], strict=True))
    assert authored.columns == ["author"] and release.columns == [] and release.items.values(release.items.ids) == {}
    assert "item_columns" not in release.manifest
    assert says_the_same(authored.manifest, authored_run)
    assert not says_the_same(authored.manifest, with_release(authored_run, columns=()))


def test_authors_change_nothing_else_of_the_world(untrained_run: Any) -> None:
    world = untrained_run.config.data.world
    raw = make_world(world)
    assert "author" not in raw.catalogue.frame
    assert raw.catalogue.frame[columns.ITEM_ID].tolist() == authors_of(world)[columns.ITEM_ID].tolist()
    counts = authors_of(world)["author"].value_counts()
    assert len(counts) <= 6 and counts.sum() == 120 and counts.index[0] == "a0"
    other = world.model_copy(update={"seed": world.seed + 1})
    assert authors_of(world)["author"].tolist() != authors_of(other)["author"].tolist()


def test_a_job_keeps_to_the_rules_and_says_which_lists_are_short(
    authored: Release, users: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authors = author_of(authored)
    config = RetrieveConfig(top_n=10, cap={"author": 2}, near_duplicates=0.95, cold_quota=0.2)
    done = retrieve(authored, FileOfUsers(users), tmp_path / "lists", config)
    lists = pd.read_parquet(tmp_path / "lists")
    assert lists.assign(author=lists["item_id"].map(authors)).groupby(["user_id", "author"]).size().max() == 2
    assert len(set(authors.values())) == 6 and done.short == 0
    assert (lists.groupby("user_id")["score"].diff().dropna() <= 0).all()
    cold = set(authored.items.ids[authored.items.is_cold(authored.items.ids)])
    assert (lists["item_id"].isin(cold).groupby(lists["user_id"]).sum() >= 2).all()
    rules = ListRules.of(authored, {}, 0.95)
    assert rules is not None and rules.contents is not None
    for _, items in lists.groupby("user_id")["item_id"]:
        contents = rules.contents[authored.index.rows(items.to_numpy())]
        assert (np.triu(contents @ contents.T, 1) < 0.95).all()
    # Six authors, one item each: no list can have more.
    capped = config.model_copy(update={"cap": {"author": 1}, "near_duplicates": None})
    done = retrieve(authored, FileOfUsers(users), tmp_path / "lists", capped)
    assert done.made == 1 and done.short == 6 and done.rows == 36
    _print_done(done, Config(retrieve=capped))
    said = " ".join(capsys.readouterr().out.split())
    assert "6 lists are shorter than 10: the rest was seen, excluded, filtered or ruled out by retrieve.cap" in said


def test_without_rules_lists_and_their_job_are_as_ever(authored: Release, users: Path, tmp_path: Path) -> None:
    retrieve(authored, FileOfUsers(users), tmp_path / "lists", RetrieveConfig(top_n=10))
    said = json.loads((tmp_path / "lists" / "_job.json").read_text())["identity"]["settings"]
    assert "cap" not in said and "near_duplicates" not in said
    loose = RetrieveConfig(top_n=10, cap={"author": 10})
    retrieve(authored, FileOfUsers(users), tmp_path / "loose", loose)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "lists"), pd.read_parquet(tmp_path / "loose"))


def test_the_python_api_takes_the_same_rules(authored: Release, authored_run: Any, users: Path, tmp_path: Path) -> None:
    opened = m3.open_release(authored.folder)
    lists = opened.recommend(pd.read_parquet(users), n=10, cap={"author": np.int64(1)}, near_duplicates=0.95)
    config = RetrieveConfig(top_n=10, cap={"author": 1}, near_duplicates=0.95)
    retrieve(authored, FileOfUsers(users), tmp_path / "lists", config)
    pd.testing.assert_frame_equal(lists, pd.read_parquet(tmp_path / "lists"))
    assert opened.items.set_index("item_id")["author"].to_dict() == author_of(authored)
    with pytest.raises(InputError, match="keeps these columns of the catalogue: author; name one of them"):
        opened.recommend(pd.read_parquet(users), cap={"sound": 1})
    with pytest.raises(ConfigError, match=r"retrieve\.cap"):
        opened.recommend(pd.read_parquet(users), cap=2)  # type: ignore[arg-type]


def test_refresh_moves_a_value_and_keeps_it_where_the_file_says_nothing(
    copy: Release, users: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = copy.items.ids[:3].tolist()
    before = author_of(copy)
    taken_in(copy, tmp_path, item_id=known, author=["new author", None, " "])
    taken_in(copy, tmp_path, item_id=known[:1], view_count=[12])
    content = copy.items.content(np.array(known[:1], dtype=object))
    taken_in(copy, tmp_path, item_id=["fresh"], **{name: list(vectors) for name, vectors in content.items()})
    expected = {**before, known[0]: "new author", known[1]: None, known[2]: None, "fresh": None}
    assert author_of(copy) == expected
    later = open_release(copy.folder)
    assert author_of(later) == expected and later.items_alone().values(later.items.ids).keys() == {"author"}
    retrieve(later, FileOfUsers(users), tmp_path / "lists", RetrieveConfig(top_n=3, cap={"author": 1}))
    assert "retrieve.cap: 3 of 121 items have no author and are not capped" in caplog.text


def test_values_outlive_compaction_publication_and_rollback(copy: Release, authored_run: Any, tmp_path: Path) -> None:
    known = copy.items.ids[0]
    content = copy.items.content(copy.items.ids[:1])
    cells = {name: list(vectors) for name, vectors in content.items()}
    taken_in(copy, tmp_path, item_id=["fresh"], author=["a9"], **cells)
    compacted = compact(copy.folder, IndexConfig())
    assert compacted.position == 0 and author_of(compacted)["fresh"] == "a9"
    again = publish(with_release(authored_run, release_folder=copy.folder.parent))
    assert author_of(again)["fresh"] == "a9"
    taken_in(again, tmp_path, item_id=[known], author=["moved"])
    back, _ = versions.rollback(copy.folder, compacted.version)
    assert back.version == compacted.version and author_of(back)[known] == "moved"


def test_a_version_that_keeps_no_columns_carries_items_over_all_the_same(
    copy: Release, untrained_run: Any, authored_run: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = {name: list(vectors) for name, vectors in copy.items.content(copy.items.ids[:1]).items()}
    taken_in(copy, tmp_path, item_id=["fresh"], author=["a9"], **cells)
    plain = publish(with_release(untrained_run, release_folder=copy.folder.parent))
    assert "fresh" in plain.items.ids and plain.columns == []
    authored_again = publish(with_release(authored_run, release_folder=copy.folder.parent))
    assert author_of(authored_again)["fresh"] is None
    assert "1 videos of version 2 are carried over without author" in caplog.text


@given(
    cells=st.lists(st.one_of(st.none(), st.integers(-5, 10**9), st.text("ab 7", max_size=3)), min_size=1, max_size=8)
)
@settings(max_examples=50)
def test_values_are_text_and_whole_numbers_and_what_is_blank_is_none(cells: list[Any]) -> None:
    found = values_of(pd.Series(cells, dtype=object, name="author"), "items.parquet")
    expected = [None if cell is None or not str(cell).strip() else str(cell) for cell in cells]
    assert found.tolist() == expected


def test_numbers_mean_the_same_in_every_type() -> None:
    for cells in ([7, 8], [7.0, 8.0], ["7", "8"], pd.array([7, 8], "Int64")):
        assert values_of(pd.Series(cells, name="author"), "x").tolist() == ["7", "8"]
    assert values_of(pd.Series([7.0, None], name="author"), "x").tolist() == ["7", None]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("retrieve.cap={author: 0}", "retrieve.cap"),
        ("retrieve.cap={author: two}", "retrieve.cap"),
        ("retrieve.cap={author: 1.5}", "retrieve.cap"),
        ("retrieve.cap=author", "retrieve.cap"),
        ("retrieve.near_duplicates=0", "retrieve.near_duplicates"),
        ("retrieve.near_duplicates=1.01", "retrieve.near_duplicates"),
        ("retrieve.near_duplicates=high", "retrieve.near_duplicates"),
        ("release.columns=[author, author]", "release.columns names 'author' twice; name it once"),
        ("release.columns=[view_count]", "release.columns names 'view_count', which says something else of an item"),
        ("release.columns=author", "release.columns"),
    ],
)
def test_a_setting_that_means_no_rule_is_one_message(setting: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as refused:
        load(None, [setting])
    assert "\n" not in str(refused.value)


def test_a_column_that_the_release_lacks_is_refused_with_those_that_it_has_and_leaves_nothing(
    authored: Release, release: Any, users: Path, tmp_path: Path
) -> None:
    for opened, kept in ((authored, "author"), (release, "none")):
        with pytest.raises(InputError, match=rf"retrieve\.cap names 'sound'; .* keeps these columns .*: {kept}; name"):
            retrieve(opened, FileOfUsers(users), tmp_path / "lists", RetrieveConfig(cap={"sound": 2}))
    assert not list(tmp_path.glob("*lists"))


def test_near_duplicates_of_a_model_without_content_parts_are_refused(release: Any) -> None:
    width = release.width
    bare = Release(release.folder, {**release.manifest, "title": "BPR-MF", "layout": {"id": [0, width]}})
    with pytest.raises(InputError, match="near_duplicates compares content, and BPR-MF keeps content in no part"):
        check_rules(bare, {}, 0.98)


def test_a_file_of_items_with_a_bad_value_or_a_column_that_is_nearly_named_is_refused(
    copy: Release, tmp_path: Path
) -> None:
    known = copy.items.ids[:2].tolist()
    for name, cells, says in (
        ("author", [True, False], "author holds boolean values"),
        ("author", [1.5, 2.0], "author in data row 1 is 1.5; expected a text or a whole number, or nothing"),
        ("author", [["a"], ["b"]], "author"),
        ("Author", ["a", "b"], "column 'Author' is unknown; is it author?"),
    ):
        with pytest.raises(InputError, match=re.escape(says)):
            taken_in(copy, tmp_path, item_id=known, **{name: cells})
    assert copy.journal.length() == 0


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Config]:
    """`table(names, **columns)`: settings of a table whose catalogue has these columns."""

    def make(**cells: list[Any]) -> DataConfig:
        pd.DataFrame({"user_id": ["u"], "item_id": ["7"]}).to_parquet(tmp_path / "interactions.parquet")
        pd.DataFrame({"item_id": ["7", "8"], "visual": [[1.0], [2.0]], **cells}).to_csv(
            tmp_path / "catalogue.csv", index=False
        )
        return DataConfig(format="table", path=tmp_path, modalities={"visual": "visual"})

    return make


def test_columns_come_from_the_catalogue_of_a_table(table: Callable[..., DataConfig]) -> None:
    found = formats.kept_columns(table(author=["007", None], sound=["a", "b"]), ["sound", "author"])
    assert found.columns.tolist() == ["item_id", "sound", "author"]
    assert found.to_numpy().tolist() == [["7", "a", "007"], ["8", "b", None]]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["auther"], "column 'auther' of release.columns is missing; the file has 'item_id', 'visual', 'author', "),
        (["emb_*"], "column 'emb_*' of release.columns is missing"),
        (["share"], "share in data row 1 is '0.5e+7'; expected a text or a whole number, or nothing"),
    ],
)
def test_a_column_that_the_catalogue_lacks_or_that_holds_something_else_is_refused(
    names: list[str], says: str, table: Callable[..., DataConfig]
) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        formats.kept_columns(table(author=["a", "b"], share=["0.5e+7", "b"]), names)


def test_inputs_without_such_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names 'sound'; the synthetic world has one such column, author"):
        formats.kept_columns(DataConfig(), ["author", "sound"])
    np.save(tmp_path / "visual.npy", np.zeros((2, 1), np.float32))
    given = DataConfig(format="mmssl", path=tmp_path, modalities={"visual": "visual.npy"})
    with pytest.raises(InputError, match=r"names 'author', but data\.format=mmssl in .* has no table of items"):
        formats.kept_columns(given, ["author"])
