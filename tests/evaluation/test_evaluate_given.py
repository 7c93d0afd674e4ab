"""evaluate --lists and --vectors: other systems by the metrics of a run's evaluation, on its users."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from runs_in_name import finish
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.data.audience import read_clicks, users_with
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation.given_lists import read_lists
from m3csr_tf.evaluation.given_vectors import read_vectors
from m3csr_tf.evaluation.report import evaluate_split

PAGE = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Evaluated:
    """A run of random weights that has been evaluated, and the command line that reads it in this process."""

    root: Path
    prepared: Prepared
    model: Any
    config: Any

    def run(self, *words: str) -> Any:
        places = [f"run.folder={self.root / 'runs'}", f"run.release_folder={self.root / 'saved_models'}"]
        few = ["evaluation.bootstrap=10", "evaluation.baselines=[popularity]"]
        return CliRunner().invoke(app, ["evaluate", *words, "--config", str(self.root / "config.yaml"), *places, *few])

    def result(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / "runs" / "small" / "evaluations" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def evaluated(make_run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    root = tmp_path_factory.mktemp("evaluated")
    run = make_run(root)
    finish(run)
    (root / "config.yaml").write_text(run.config.to_yaml())
    result = Evaluated(root, run.prepared, run.model, run.config)
    done = result.run()
    assert done.exit_code == 0, done.output
    return result


def truth_lists(prepared: Prepared, split: str = "test") -> pd.DataFrame:
    """Lists of what each user went on to click, and nothing else."""
    frame = prepared.split(split)
    ranks = frame.groupby("user_row").cumcount() + 1
    users, items = prepared.users.ids(frame["user_row"]), prepared.items.ids(frame["item_row"])
    return pd.DataFrame({"user_id": users, "item_id": items, "rank": ranks})


def small(prepared: Prepared, frame: pd.DataFrame, path: Path, n: int = 4) -> Any:
    """The lists of the first three users with test clicks."""
    frame.to_parquet(path)
    return read_lists(path, prepared, users_with(prepared, "test")[:3], n, 0)


def unclicked(prepared: Prepared, user: int, count: int) -> list[str]:
    """Items that a user row has not clicked in training."""
    seen = read_clicks(prepared, "train", np.array([user])).toarray()[0] > 0
    free = [row for row in range(2, len(prepared.items)) if not seen[row]]
    return prepared.items.ids(np.array(free[:count])).tolist()


def test_lists_of_the_truth_itself_are_perfect_in_every_slice_and_differ_from_the_model(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    lists = truth_lists(evaluated.prepared)
    lists.to_parquet(tmp_path / "truth.parquet")
    done = evaluated.run("--lists", str(tmp_path / "truth.parquet"), "--name", "truth")
    assert done.exit_code == 0, done.output
    tree = evaluated.result("truth")
    assert lists.groupby("user_id").size().max() <= 20
    for name in ("all", "warm", "cold", "few", "tail"):
        if tree["test"][name]["users"]:
            assert tree["test"][name]["recall@20"] == 1.0
    assert tree["test"]["all"]["ndcg@20"] == 1.0 and "cold_only" not in tree["test"]
    paired = tree["against"]["paired"]["all"]["recall@20"]
    own = json.loads((evaluated.root / "runs" / "small" / "metrics.json").read_text())["test"]["all"]
    assert paired["second"] == pytest.approx(own["recall@20"]) and paired["users"] == own["users"]
    assert paired["difference"] == pytest.approx(1 - own["recall@20"]) and paired["p_value"] < 0.05
    assert tree["against"]["system"] == "M3CSR" and "M3CSR, paired t-test" in done.output


def test_lists_leave_metrics_json_and_per_user_npz_as_they_are(evaluated: Evaluated, tmp_path: Path) -> None:
    run = evaluated.root / "runs" / "small"
    before = {name: (run / name).read_bytes() for name in ("metrics.json", "per_user.npz")}
    truth_lists(evaluated.prepared, "val").to_csv(tmp_path / "lists.csv", index=False)
    done = evaluated.run("--lists", str(tmp_path / "lists.csv"), "--name", "metrics", "--split", "val")
    assert done.exit_code == 0, done.output
    assert {name: (run / name).read_bytes() for name in before} == before
    assert evaluated.result("metrics")["val"]["all"]["recall@20"] == 1.0


def test_the_models_own_vectors_get_the_metrics_that_evaluate_gave_them(evaluated: Evaluated, tmp_path: Path) -> None:
    from m3csr_tf.training.runs import load_trained
    from m3csr_tf.verbs.released_vectors import released

    trained = load_trained(evaluated.root / "runs" / "small")
    users, items, _ = released(trained)
    prepared, rows = evaluated.prepared, np.arange(2, len(evaluated.prepared.users))
    frame = pd.DataFrame({"user_id": prepared.users.ids(rows), "user_vector": list(users[rows])})
    frame.to_parquet(tmp_path / "users.parquet")
    known = np.arange(2, len(prepared.items))
    dimensions = pd.DataFrame(items[known], columns=[f"vector_{place}" for place in range(items.shape[1])])
    dimensions.insert(0, "item_id", prepared.items.ids(known))
    dimensions.to_parquet(tmp_path / "items.parquet")
    done = evaluated.run("--vectors", str(tmp_path / "users.parquet"), str(tmp_path / "items.parquet"))
    assert done.exit_code == 0, done.output
    tree = evaluated.result("vectors")
    own = json.loads((evaluated.root / "runs" / "small" / "metrics.json").read_text())["test"]
    for name, part in own.items():
        for metric in ("recall@20", "ndcg@20", "recall@50") if part["users"] else ():
            assert tree["test"][name][metric] == pytest.approx(part[metric], abs=1e-9), (name, metric)
    assert tree["against"]["paired"]["all"]["recall@20"]["difference"] == 0
    assert tree["against"]["paired"]["all"]["recall@20"]["p_value"] == 1


def test_what_is_unknown_repeated_short_or_of_the_training_is_counted_and_keeps_its_place(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    prepared = evaluated.prepared
    first, second, third = users_with(prepared, "test")[:3]
    free = unclicked(prepared, first, 3)
    clicked = prepared.items.ids(read_clicks(prepared, "train", np.array([second])).indices[:1]).tolist()
    ids = dict(zip((first, second, third), prepared.users.ids(np.array([first, second, third])), strict=True))
    rows = [
        # User 1: an unknown item takes the first place, an item twice counts once, in the better place: 3 places of 4.
        (ids[first], "nothing", 1),
        (ids[first], free[0], 2),
        (ids[first], free[0], 3),
        (ids[first], free[1], 9),
        # User 2: one place, with an item of her training. User 3: no list.
        (ids[second], clicked[0], 1),
        ("a stranger", free[0], 1),
        ("a stranger", free[1], 2),
    ]
    given = small(prepared, pd.DataFrame(rows, columns=["user_id", "item_id", "rank"]), tmp_path / "lists.parquet")
    one, two = prepared.items.rows(np.array(free[:2], dtype=object))
    assert given.ranked[0].tolist() == [-1, one, two, -1]
    assert given.ranked[1].tolist()[1:] == [-1, -1, -1] and given.ranked[2].tolist() == [-1] * 4
    assert given.lengths.tolist() == [3, 1, 0]
    assert given.counts == {
        "rows": 7,
        "rows of unknown users": 2,
        "unknown users": 1,
        "items listed again": 1,
        "places of unknown items": 1,
        "places of training items": 1,
        "lists that hold training items": 1,
        "users without a list": 1,
        "lists shorter than 4": 2,
    }


def test_scores_give_the_order_and_ties_do_not_depend_on_the_order_of_rows(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    prepared = evaluated.prepared
    user = users_with(prepared, "test")[0]
    items = unclicked(prepared, user, 6)
    [name] = prepared.users.ids(np.array([user]))
    frame = pd.DataFrame({"user_id": name, "item_id": items, "score": [0.5, 2.0, 0.5, 0.5, 0.5, -1.0]})
    given = small(prepared, frame, tmp_path / "lists.parquet")
    again = small(prepared, frame.iloc[::-1], tmp_path / "lists.parquet")
    rows = prepared.items.rows(np.array(items, dtype=object))
    assert given.ranked[0, 0] == rows[1] and set(given.ranked[0, 1:]) <= {rows[0], *rows[2:5]}
    np.testing.assert_array_equal(given.ranked, again.ranked)
    assert given.counts["scores that tie"] == 3  # Four items of equal score stand side by side from place 2 on.


def test_lists_as_json_lines_and_as_a_folder_of_parts_are_the_same_lists(evaluated: Evaluated, tmp_path: Path) -> None:
    prepared = evaluated.prepared
    frame = truth_lists(prepared)
    users = users_with(prepared, "test")
    frame.to_json(tmp_path / "lists.jsonl", orient="records", lines=True)
    (tmp_path / "parts").mkdir()
    for number, part in enumerate(np.array_split(np.arange(len(frame)), 3)):
        frame.iloc[part].to_parquet(tmp_path / "parts" / f"part-{number}.parquet")
    found = [read_lists(tmp_path / name, prepared, users, 20, 0) for name in ("lists.jsonl", "parts")]
    np.testing.assert_array_equal(found[0].ranked, found[1].ranked)
    assert found[0].counts["rows"] == len(frame)


U, I = "{user}", "{item}"  # noqa: E741
"""Stand for a user and an item that the run knows."""
LISTS = {
    "user,item_id,rank\nu,i,1\n": "column user_id is missing",
    "user_id,video,rank\nu,i,1\n": "column item_id is missing",
    f"user_id,item_id\n{U},{I}\n": "neither column rank nor score is there",
    f"user_id,item_id,rank\n{U},{I},first\n": "rank in data row 1 is 'first'; expected a whole number",
    f"user_id,item_id,rank\n{U},{I},1.5\n": "expected a whole number",
    f"user_id,item_id,rank\n{U},{I},\n": "rank in data row 1 is nothing",
    f"user_id,item_id,score\n{U},{I},inf\n": "expected a finite number",
    f"user_id,item_id,rank\n,{I},1\n": "user_id in data row 1 is nothing",
    f"user_id,item_id,rank\n{U},,1\n": "item_id in data row 1 is nothing",
    "user_id,item_id,rank\n": "holds no row",
    f"user_id,item_id,rank\nnobody,{I},1\n": "has no list of anybody who is judged (its users are unknown to the run",
    f"user_id,item_id,rank\n {{USER}},{I},1\n": "in case or spaces alone",
}


@pytest.mark.parametrize("content", LISTS)
def test_lists_that_cannot_be_used_are_refused_in_one_message(
    content: str, evaluated: Evaluated, tmp_path: Path
) -> None:
    user, item = evaluated.prepared.users.known[0], evaluated.prepared.items.known[0]
    (tmp_path / "lists.csv").write_text(content.format(user=user, USER=user.upper(), item=item))
    users = users_with(evaluated.prepared, "test")
    with pytest.raises(InputError, match=re.escape(LISTS[content])):
        read_lists(tmp_path / "lists.csv", evaluated.prepared, users, 20, 0)


def test_a_rank_that_a_user_has_twice_is_refused(evaluated: Evaluated, tmp_path: Path) -> None:
    lists = truth_lists(evaluated.prepared)
    lists["rank"] = 1
    with pytest.raises(InputError, match="has rank 1 twice"):
        small(evaluated.prepared, lists, tmp_path / "lists.parquet")


VECTORS = {
    "item,vector\ni,1 2\n": "column item_id is missing",
    "item_id,embedding\nv0001,1 2\n": "no column of vectors is there",
    "item_id,vector\nv0001,1 x\n": "cannot be read as a vector",
    "item_id,vector\nv0001,1 2\nv0002,1 2 3\n": "3 entries",
    "item_id,vector\nv0001,1 inf\n": "the vector of item 'v0001' has NaN or infinite numbers",
    "item_id,vector\n": "holds no row",
    "item_id,vector\nnothing,1 2\n": "'nothing' is unknown to the run",
    "item_id,vector\n,1 2\n": "item_id in data row 1 is nothing",
    "item_id,vector_0,vector_2\nv0001,1,2\n": "number 1 is missing",
}


@pytest.mark.parametrize("content", VECTORS)
def test_vectors_that_cannot_be_used_are_refused_in_one_message(
    content: str, evaluated: Evaluated, tmp_path: Path
) -> None:
    one, two = evaluated.prepared.items.known[:2]
    (tmp_path / "items.csv").write_text(content.replace("v0001", one).replace("v0002", two))
    with pytest.raises(InputError, match=re.escape(VECTORS[content].replace("v0001", one))):
        read_vectors(tmp_path / "items.csv", "item_id", evaluated.prepared.items)


def test_vectors_given_again_unknown_or_missing_are_counted(evaluated: Evaluated, tmp_path: Path) -> None:
    one, two = evaluated.prepared.items.known[:2]
    (tmp_path / "items.csv").write_text(f"item_id,vector\n{one},1 2\n{one},3 4\nnothing,1 2\n{two},\n")
    given = read_vectors(tmp_path / "items.csv", "item_id", evaluated.prepared.items)
    [row] = evaluated.prepared.items.rows([one])
    assert given.vectors[row].tolist() == [1, 2] and given.given.sum() == 1
    assert given.counts == {
        "rows": 4,
        "unknown items": 1,
        "items given again": 1,
        "items without a vector": 1,
        "items that the file lacks": 119,
    }


def test_misuse_of_the_options_gives_one_message_and_writes_nothing(evaluated: Evaluated, tmp_path: Path) -> None:
    lists, users, items = tmp_path / "lists.csv", tmp_path / "users.csv", tmp_path / "items.csv"
    truth_lists(evaluated.prepared).to_csv(lists, index=False)
    judged = evaluated.prepared.users.ids(users_with(evaluated.prepared, "test")[:1])
    users.write_text(f"user_id,vector\n{judged[0]},1 2\n")
    items.write_text(f"item_id,vector\n{evaluated.prepared.items.known[0]},1 2 3\n")
    folder = evaluated.root / "runs" / "small" / "evaluations"
    before = {path: path.read_bytes() for path in folder.glob("*")}
    cases = {
        ("--name", "x"): "got neither of --lists FILE and --vectors USERS ITEMS",
        ("--lists", str(lists), "--vectors", str(users), str(items)): "got both of",
        ("--lists", str(lists), "--name", "../metrics"): "cannot name a file",
        ("--lists", str(tmp_path / "nowhere.csv")): "no such file; --lists must name a table",
        ("--vectors", str(users), str(items)): "vectors of items have 3 numbers, and those of users",
    }
    for words, message in cases.items():
        done = evaluated.run(*words)
        assert done.exit_code == 2 and message in done.stderr, (words, done.output)
        assert done.stderr.count("error:") == 1
    assert {path: path.read_bytes() for path in folder.glob("*")} == before


def test_a_run_that_was_not_evaluated_since_its_training_is_refused(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists = tmp_path / "lists.csv"
    truth_lists(evaluated.prepared).to_csv(lists, index=False)
    path = evaluated.root / "runs" / "small" / "metrics.json"
    text = path.read_text()
    try:
        path.write_text(text.replace('"steps": 1', '"steps": 2'))
        done = evaluated.run("--lists", str(lists))
        assert done.exit_code == 2 and "is of an earlier training of the run; run pipelines/evaluate.py" in done.stderr
        path.unlink()
        done = evaluated.run("--lists", str(lists))
        assert done.exit_code == 2 and "has not been evaluated" in done.stderr
    finally:
        path.write_text(text)


def test_the_commands_of_the_page_run_as_they_stand_there(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = evaluated.prepared
    truth_lists(prepared).to_parquet(tmp_path / "theirs.parquet")
    random = np.random.default_rng(0)
    for what, table in (("user", prepared.users), ("item", prepared.items)):
        ids = table.known
        frame = pd.DataFrame({f"{what}_id": ids, "vector": list(random.normal(size=(len(ids), 3)).astype(np.float32))})
        frame.to_parquet(tmp_path / f"their_{what}s.parquet")
    commands = re.findall(r"^python pipelines/evaluate\.py (.*--(?:lists|vectors).*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 2
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = command.split("#")[0].split()
        at = words.index("--config")
        done = evaluated.run(*words[:at], *words[at + 2 :])
        assert done.exit_code == 0, (command, done.output)


def test_evaluate_split_ranks_alone_what_the_split_marks(evaluated: Evaluated) -> None:
    prepared = evaluated.prepared
    random = np.random.default_rng(1)
    users = random.normal(size=(len(prepared.users), 4)).astype(np.float32)
    items = random.normal(size=(len(prepared.items), 4)).astype(np.float32)
    evaluation = evaluate_split(prepared, users, items, "test", evaluated.config.evaluation)
    marked = prepared.catalogue["is_strictly_cold"].to_numpy(bool)
    cold = prepared.split("test")
    expected = cold[marked[cold["item_row"] - 2]]["user_row"].nunique()
    assert marked.any() and len(evaluation["cold_only"].users) == expected
