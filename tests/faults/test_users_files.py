"""Users files that say something else than was meant: columns with other names, and lists that are written in no form.

Each is one message, or is what was meant; none is silently one unknown id, or a history that is empty.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3csr_tf import columns
from m3csr_tf.batch.known import KnownIds
from m3csr_tf.batch.lists import Ids
from m3csr_tf.batch.retrieval import retrieve
from m3csr_tf.batch.users import FileOfUsers
from m3csr_tf.config import RetrieveConfig
from m3csr_tf.errors import InputError

FEW = RetrieveConfig(top_n=3, batch_size=2, shard_users=4)
FORMS = {
    "spaces": "{0} {1}",
    "several spaces": "  {0}   {1} ",
    "JSON": '["{0}", "{1}"]',
    "JSON without spaces": '["{0}","{1}"]',
    "JSON with spaces around": ' [ "{0}" , "{1}" ] ',
}
OTHER_FORMS = {
    "commas": "{0},{1}",
    "commas and spaces": "{0}, {1}",
    "pipes": "{0}|{1}",
    "semicolons": "{0};{1}",
    "a Python list": "['{0}', '{1}']",
    "a NumPy array": "['{0}' '{1}']",
    "brackets without quotes": "[{0}, {1}]",
    "braces": "{{{0}}}",
    "quotes": '"{0}" "{1}"',
    "half a JSON list": '["{0}", "{1}"',
    "a JSON list without commas": '["{0}" "{1}"]',
    "a JSON object": '{{"{0}": 1}}',
}


def write(folder: Path, kind: str, frame: pd.DataFrame) -> Path:
    path = folder / f"users.{kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def the_list(release: Any, path: Path, output: Path) -> list[str]:
    """The items of the last user's list."""
    retrieve(release, FileOfUsers(path), output, FEW)
    lists = pd.read_parquet(output)
    return lists[lists[columns.USER_ID] == "b"][columns.ITEM_ID].tolist()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("histories", "history"),
        ("History", "history"),
        ("hist", "history"),
        ("user_history", "history"),
        ("exclusion", "exclusions"),
        ("EXCLUSIONS", "exclusions"),
        ("excluded", "exclusions"),
        ("userid", "user_id"),
        ("user_id ", "user_id"),
        ("country", "leave it out"),
        ("\x1b[31m", "leave it out"),
    ],
)
def test_an_unknown_column_is_refused_with_the_known_ones_and_the_nearest(
    kind: str, column: str, meant: str, tmp_path: Path
) -> None:
    path = write(tmp_path, kind, pd.DataFrame({"user_id": ["a"], column: ["v1"]}))
    with pytest.raises(InputError) as refused:
        FileOfUsers(path)
    said = str(refused.value)
    assert f"{path}: column {column!a} is none of a users file" in said
    assert "user_id, history, exclusions" in said and said.endswith((meant, f"did you mean {meant}?"))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_file_without_user_ids_says_what_it_has(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, kind, pd.DataFrame({"userId": ["a"], "history": ["v1"]}))
    with pytest.raises(InputError, match="column user_id is missing; found userId, history"):
        FileOfUsers(path)


def test_a_key_of_a_later_line_is_a_column_too(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user_id": "a"}\n{"user_id": "b", "histroy": ["v1"]}\n')
    with pytest.raises(InputError, match=r"column 'histroy' is none of .*; did you mean history\?"):
        FileOfUsers(path)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user_id": "a", "history": ["v1"], "history": []}\n')
    with pytest.raises(InputError, match=r"line 1 is not JSON .*key 'history' is there twice"):
        FileOfUsers(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,history,history\na,v1,v2\n")
    with pytest.raises(InputError, match="column 'history' is there twice"):
        FileOfUsers(tmp_path / "users.csv")
    lists = pa.array([["v1"]])
    twice = pa.table([pa.array(["a"]), lists, lists], names=["user_id", "history", "history"])
    pq.write_table(twice, tmp_path / "users.parquet")
    with pytest.raises(InputError, match="is there twice; keep one"):
        FileOfUsers(tmp_path / "users.parquet")


def test_the_index_that_pandas_stores_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pd.DataFrame({"user_id": ["a", "b"]}, index=[4, 7]).to_parquet(path)
    assert FileOfUsers(path).count() == 2


def test_parts_of_which_some_have_histories_are_refused(tmp_path: Path) -> None:
    pd.DataFrame({"user_id": ["a"], "history": [["v1"]]}).to_parquet(tmp_path / "part-0.parquet")
    pd.DataFrame({"user_id": ["b"]}).to_parquet(tmp_path / "part-1.parquet")
    with pytest.raises(InputError, match=r"part-1\.parquet: column history is missing, which other files of"):
        FileOfUsers(tmp_path)


@pytest.mark.parametrize("name", ["users.csv", "users.jsonl"])
def test_a_pipe_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no file, but a pipe or a device"):
        FileOfUsers(tmp_path / name)


@pytest.mark.parametrize("form", FORMS)
def test_a_list_in_csv_is_ids_with_spaces_between_or_json(form: str, release: Any, tmp_path: Path) -> None:
    one, two = release.index.ids[:2]
    lists = pd.DataFrame({"user_id": ["a", "b"], "history": ["", FORMS[form].format(one, two)]})
    expected = pd.DataFrame({"user_id": ["a", "b"], "history": [[], [one, two]]})
    found = the_list(release, write(tmp_path, "csv", lists), tmp_path / "text")
    assert found == the_list(release, write(tmp_path, "parquet", expected), tmp_path / "lists")


@pytest.mark.parametrize("column", [columns.HISTORY, columns.EXCLUSIONS])
@pytest.mark.parametrize("form", OTHER_FORMS)
def test_a_list_in_any_other_form_is_refused_by_its_row(form: str, column: str, release: Any, tmp_path: Path) -> None:
    text = OTHER_FORMS[form].format(*release.index.ids[:2])
    path = write(tmp_path, "csv", pd.DataFrame({"user_id": [*"acdeb"], column: ["", "", "", "", text]}))
    with pytest.raises(InputError) as refused:
        the_list(release, path, tmp_path / "lists")
    said = str(refused.value)
    assert f"{path}: {column} in data row 5 holds " in said and 'as a JSON list, e.g. ["v1", "v2"]' in said
    assert not (tmp_path / "lists").exists()


def test_an_id_that_holds_separators_is_one_id_where_the_release_knows_it(release: Any) -> None:
    rows = pd.RangeIndex(1, 2)
    ids = Ids(np.array(["a,b", "[c|d]"], dtype=object), np.zeros(2, np.int64), np.array([3, 4]))
    KnownIds(release).refuse_separators(ids, rows, columns.HISTORY, "users.csv")
    for lacking in (0, 1):
        some = ids._replace(rows=np.where(np.arange(2) == lacking, -1, ids.rows))
        with pytest.raises(InputError, match=re.escape(f"history in data row 1 holds {ids.items[lacking]!r}")):
            KnownIds(release).refuse_separators(some, rows, columns.HISTORY, "users.csv")


@given(st.lists(st.text(max_size=8).filter(str.isprintable).map("v{}".format), max_size=4))
def test_whatever_ids_hold_a_json_list_in_csv_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    path = write(folder, "csv", pd.DataFrame({"user_id": ["a"], "history": [json.dumps(ids, ensure_ascii=False)]}))
    [(_, frame)] = FileOfUsers(path).read([0], 1, 1)
    assert list(frame["history"][1]) == ids


@pytest.mark.parametrize(("cell", "held"), [("[1.5]", "1.5"), ("[null]", "nothing"), ('[["v1"]]', r"\['v1'\]")])
def test_a_json_list_of_something_else_than_ids_is_refused(cell: str, held: str, tmp_path: Path) -> None:
    path = write(tmp_path, "csv", pd.DataFrame({"user_id": ["a"], "history": [cell]}))
    with pytest.raises(InputError, match=f"history in data row 1 holds {held}; expected a list of item ids"):
        list(FileOfUsers(path).read([0], 1, 1))


def test_whole_numbers_in_a_json_list_are_ids(tmp_path: Path) -> None:
    path = write(tmp_path, "csv", pd.DataFrame({"user_id": ["a"], "history": ["[81, 49]"]}))
    [(_, frame)] = FileOfUsers(path).read([0], 1, 1)
    assert list(frame["history"][1]) == ["81", "49"]


@pytest.mark.parametrize("text", ["v1 v2", "v1", "", '["v1"]', b"v1", None, np.nan, 7, {"v1": 1}])
def test_a_release_takes_no_text_for_a_list(text: Any, release: Any) -> None:
    users = pd.DataFrame({"user_id": ["a", "b"], "history": pd.Series([["v1"], text], dtype=object)})
    with pytest.raises(InputError, match=r"history at index 1 is .*; expected a list of item ids"):
        release.user_vectors(users)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("users.csv", "User_Id,history\na,v1\n", "if 'User_Id' is meant, name it user_id"),
        ("users.csv", "", "users.csv: cannot be read as csv: it is empty; expected a line of names first"),
        ("users.csv", "user_id,history\na,v1,v2\n", "cannot be read as csv: line 2 has 3 fields, 2 expected"),
        ("users.parquet", "", "users.parquet: is empty; expected a parquet file"),
    ],
)
def test_a_users_file_of_another_form_says_which(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as refused:
        FileOfUsers(tmp_path / name).count()
    assert says in str(refused.value) and "Error creating dataset" not in str(refused.value)


@pytest.mark.parametrize(("name", "text"), [("USERS.CSV", "user_id\na\n"), ("users.JsonL", '{"user_id": "a"}\n')])
def test_endings_may_be_of_any_case(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert FileOfUsers(tmp_path / name).count() == 1


def test_words_for_nothing_are_no_history_unless_they_are_in_json(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text('user_id,history\na,null\nb,NaN\nc, None\nd,nan\ne,"[""nan""]"\nf,nan v1\n')
    [(_, frame)] = FileOfUsers(tmp_path / "users.csv").read([0], 9, 9)
    assert [list(cell) for cell in frame["history"]] == [[], [], [], [], ["nan"], ["nan", "v1"]]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_fields_may_be_parted_by_something_else_than_commas(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,history\na,v1 v2\n".replace(",", delimiter))
    users = FileOfUsers(tmp_path / "users.csv")
    assert [frame["history"].tolist() for _, frame in users.read([0], 5, 5)] == [[["v1", "v2"]]]
