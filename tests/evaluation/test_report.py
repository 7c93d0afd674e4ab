from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import EvaluationConfig
from m3csr_tf.data.audience import users_with
from m3csr_tf.errors import RunError
from m3csr_tf.evaluation.report import Evaluation, evaluate, evaluate_split, write_metrics
from m3csr_tf.evaluation.slice_table import table
from m3csr_tf.evaluation.user_draw import affordable_users

# Rows 0 and 1 are padding and unknown on both sides. Items 2-5 rank in this order for everybody: 2, 3, 4, 5.
ITEM_VECTORS = np.array([[9], [9], [4], [3], [2], [1]], np.float32)


def clicks(users: int, items: int, *pairs: tuple[int, int]) -> sparse.csr_array:
    matrix = np.zeros((users, items), np.float32)
    for user, item in pairs:
        matrix[user, item] = 1
    return sparse.csr_array(matrix)


@pytest.fixture
def by_hand():
    # Training: item 2 has five clicks (users 2-6), item 3 has one (user 2), items 4 and 5 none. User 7 has no click.
    seen = clicks(8, 6, *[(user, 2) for user in range(2, 7)], (2, 3))
    # Test: user 2 clicks 4; user 3 clicks 3 and 5; user 7 clicks 2 and 4.
    truth = clicks(8, 6, (2, 4), (3, 3), (3, 5), (7, 2), (7, 4))
    return evaluate(np.ones((8, 1), np.float32), ITEM_VECTORS, truth=truth, seen=seen, top_n=(1, 20), bootstrap=200)


def test_the_slices_are_those_worked_out_by_hand(by_hand):
    # Lists: user 2 (has seen 2, 3): 4, 5. User 3 (has seen 2): 3, 4, 5. User 7: 2, 3, 4, 5.
    assert by_hand["all"].users.tolist() == [2, 3, 7]
    assert by_hand["all"].values["recall@1"].tolist() == [1, 1 / 2, 1 / 2]
    assert by_hand["warm"].users.tolist() == [3, 7]  # Their truth on items 2 and 3: {3} and {2}.
    assert by_hand["warm"].values["recall@1"].tolist() == [1, 1]
    assert by_hand["cold"].users.tolist() == [2, 3, 7]  # {4}, {5}, {4}, at ranks 1, 3, 3.
    np.testing.assert_allclose(by_hand["cold"].values["ndcg@20"], [1, 0.5, 0.5])  # 1 / log2(rank + 1)
    assert by_hand["few"].users.tolist() == [3]  # Item 3 alone has 1 to 4 clicks.
    assert by_hand["tail"].users.tolist() == [2, 3, 7]  # Items 3, 4 and 5: {4}, {3, 5}, {4}, at ranks 1, 1 and 3, 3.
    assert by_hand["tail"].values["recall@1"].tolist() == [1, 1 / 2, 0]
    # Ranked alone: 4, 5 for everybody, user 7 included.
    assert by_hand["cold_only"].users.tolist() == [2, 3, 7]
    assert by_hand["cold_only"].values["recall@1"].tolist() == [1, 0, 1]


def test_coverage_is_that_worked_out_by_hand(by_hand):
    # All four items are in some list; of the 2 + 3 + 4 places the cold items 4 and 5 take 2 + 2 + 2.
    assert by_hand["all"].shares == {
        "coverage@20": 1.0,
        "cold_coverage@20": 1.0,
        "cold_share@20": pytest.approx(6 / 9),
        # Six training clicks and four items: p is 6/10, 2/10, 1/10, 1/10. Bits of users 2, 3 and 7, whose lists are
        # 4, 5 and 3, 4, 5 and 2, 3, 4, 5: 3.3219, (2.3219 + 2 * 3.3219) / 3, (0.7370 + 2.3219 + 2 * 3.3219) / 4.
        "novelty@20": pytest.approx(2.9121, abs=1e-4),
        # Listed 1, 2, 3 and 3 times: (-3 * 1 - 1 * 2 + 1 * 3 + 3 * 3) / (4 * 9).
        "gini@20": pytest.approx(7 / 36),
    }


def test_counts_of_items_are_those_worked_out_by_hand(by_hand):
    # Truth: user 2 on 4; user 3 on 3 and 5; user 7 on 2 and 4. Nobody's list of 20 lacks what she clicks.
    assert by_hand.by_item.held_out.tolist() == [0, 0, 1, 1, 2, 1]
    assert by_hand.by_item.found.tolist() == [0, 0, 1, 1, 2, 1]
    assert by_hand.by_item.listed.tolist() == [0, 0, 1, 2, 3, 3]


def test_json_has_means_users_and_intervals_around_them(by_hand):
    tree = json.loads(json.dumps(by_hand.to_json()))
    assert list(tree) == ["all", "warm", "cold", "few", "tail", "cold_only"]
    every = tree["all"]
    assert every["recall@1"] == pytest.approx(2 / 3) and every["users"] == 3
    assert set(every["ci"]) == {f"{metric}@{n}" for metric in ("recall", "precision", "ndcg") for n in (1, 20)}
    assert all(low <= every[metric] <= high for metric, (low, high) in every["ci"].items())
    assert "coverage@20" not in tree["warm"]


def test_intervals_are_left_out_without_a_bootstrap(by_hand):
    truth, seen = clicks(3, 4, (2, 2)), clicks(3, 4, (2, 3))
    vectors = np.ones((3, 1), np.float32), np.ones((4, 1), np.float32)
    assert "ci" not in evaluate(*vectors, truth=truth, seen=seen, bootstrap=0).to_json()["all"]


def test_an_empty_slice_says_so():
    # Every item has a click, so nothing is cold.
    truth, seen = clicks(4, 4, (2, 3)), clicks(4, 4, (2, 2), (3, 3))
    tree = evaluate(np.ones((4, 1), np.float32), np.ones((4, 1), np.float32), truth=truth, seen=seen).to_json()
    assert tree["cold"] == tree["cold_only"] == {"users": 0}
    assert "cold_coverage@20" not in tree["all"] and tree["all"]["cold_share@20"] == 0


def test_no_truth_at_all_leaves_every_slice_empty():
    nothing = clicks(4, 5)
    tree = evaluate(np.ones((4, 1), np.float32), np.ones((5, 1), np.float32), truth=nothing, seen=nothing).to_json()
    assert all(part == {"users": 0} for part in tree.values())


def test_strictly_cold_items_are_ranked_without_other_items_that_lack_a_click():
    seen = clicks(3, 6, (2, 2))
    truth = clicks(3, 6, (2, 5))
    alone = np.array([False, False, False, False, False, True])
    vectors = np.ones((3, 1), np.float32), ITEM_VECTORS
    ranked_with = evaluate(*vectors, truth=truth, seen=seen, top_n=(1, 20), bootstrap=0)
    ranked_alone = evaluate(*vectors, truth=truth, seen=seen, top_n=(1, 20), bootstrap=0, cold_only_items=alone)
    assert ranked_with["cold_only"].mean("recall@1") == 0  # Items 3 and 4 have no click either, and come first.
    assert ranked_alone["cold_only"].mean("recall@1") == 1


def test_cold_only_can_be_switched_off():
    truth, seen = clicks(3, 4, (2, 2)), clicks(3, 4, (2, 3))
    vectors = np.ones((3, 1), np.float32), np.ones((4, 1), np.float32)
    assert "cold_only" not in evaluate(*vectors, truth=truth, seen=seen, cold_only=False).slices


@st.composite
def worlds(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items = draw(st.integers(3, 40)), draw(st.integers(3, 60))
    known = np.ones((users, items), bool)
    known[:2] = known[:, :2] = False
    seen = (random.random((users, items)) < 0.05) & known
    truth = (random.random((users, items)) < draw(st.sampled_from([0.01, 0.2]))) & known & ~seen
    vectors = random.standard_normal((users, 4), dtype=np.float32), random.standard_normal((items, 4), dtype=np.float32)
    return vectors, sparse.csr_array(truth), sparse.csr_array(seen)


@settings(deadline=None, max_examples=40)
@given(worlds())
def test_the_hits_on_warm_and_cold_items_add_up_to_all(world):
    vectors, truth, seen = world
    evaluation = evaluate(*vectors, truth=truth, seen=seen, bootstrap=0)

    def hits(name: str) -> np.ndarray:
        part = evaluation[name]
        return np.bincount(
            part.users, weights=20 * part.values.get("precision@20", np.zeros(0)), minlength=truth.shape[0]
        )

    np.testing.assert_allclose(hits("warm") + hits("cold"), hits("all"))
    both = np.union1d(evaluation["warm"].users, evaluation["cold"].users)
    assert both.tolist() == evaluation["all"].users.tolist()
    assert set(evaluation["few"].users) <= set(evaluation["warm"].users)
    few_or_cold = np.union1d(evaluation["few"].users, evaluation["cold"].users)
    assert evaluation["tail"].users.tolist() == few_or_cold.tolist()
    assert evaluation["cold_only"].users.tolist() == evaluation["cold"].users.tolist()
    if len(evaluation["cold"].users):  # With fewer rivals the cold items can only rise.
        assert evaluation["cold_only"].mean("recall@20") >= evaluation["cold"].mean("recall@20")


def test_another_seed_moves_a_model_of_ties_alone():
    truth, seen = sparse.csr_array(np.eye(200, 200, k=0)), clicks(200, 200, (2, 3))
    zeros = np.zeros((200, 1), np.float32)
    recalls = {
        evaluate(zeros, zeros, truth=truth, seen=seen, seed=s, bootstrap=0)["all"].mean("recall@20") for s in range(5)
    }
    assert len(recalls) > 1
    assert abs(np.mean(list(recalls)) - 20 / 198) < 0.05


def test_shapes_that_do_not_fit_are_refused():
    vectors = np.ones((3, 1), np.float32), np.ones((4, 1), np.float32)
    with pytest.raises(ValueError, match="truth"):
        evaluate(*vectors, truth=clicks(3, 5), seen=clicks(3, 4))
    with pytest.raises(ValueError, match="cold_only_items must be bool"):
        evaluate(*vectors, truth=clicks(3, 4), seen=clicks(3, 4), cold_only_items=np.ones(4))


def test_a_system_s_table_has_a_row_a_slice(by_hand):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(table("popularity", by_hand, at=1))
    text = capture.get()
    assert text.startswith("popularity") and "Recall@1" in text and "NDCG@1" in text
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["all", "warm", "cold", "few", "tail", "cold_only"]
    assert rows[0][1] == "0.6667" and rows[0][-1] == "3"


def test_metrics_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    write_metrics(path, {"test": {"all": {"users": 1}}})
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(path, {"test": {"all": {"recall@20": float("nan")}}})
    assert json.loads(path.read_text()) == {"test": {"all": {"users": 1}}}
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.json"]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(RunError, match=r"metrics\.json: cannot write the metrics"):
        write_metrics(tmp_path / "metrics.json", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


def test_by_default_the_users_of_a_small_split_are_all_judged_and_of_a_large_catalogue_fewer():
    # 20,000 users at most; 2,000 million scores; 2,000 users at least.
    assert [affordable_users(items) for items in (1, 6_710, 100_000, 200_000, 1_000_000, 50_000_000)] == [
        20_000,
        20_000,
        20_000,
        10_000,
        2_000,
        2_000,
    ]


def test_a_split_s_evaluation_says_of_how_many_users_its_draw_is(untrained_run):
    prepared = untrained_run.prepared
    vectors = np.ones((len(prepared.users), 1), np.float32), prepared.train_clicks[:, None].astype(np.float32)

    def judged(seed: int = 0, **settings: Any) -> Evaluation:
        return evaluate_split(prepared, *vectors, columns.TEST, EvaluationConfig(bootstrap=50, **settings), seed)

    users = users_with(prepared, columns.TEST)
    assert len(users) > 40
    drawn, larger = judged(users=20), judged(users=40)
    assert set(drawn["all"].users) < set(larger["all"].users) < set(users)
    assert judged(users=20, seed=1)["all"].users.tolist() == drawn["all"].users.tolist()  # Runs stay comparable.
    assert drawn.to_json()["all"]["users"] == 20 and drawn.to_json()["all"]["of"] == len(users)
    assert "of" not in drawn.to_json()["warm"]
    for asked in ({}, {"users": "all"}, {"users": None}):
        every = judged(**asked)
        assert every["all"].users.tolist() == users.tolist() and every["all"].of == len(users)
    assert table("M3CSR", drawn).title == f"M3CSR, 20 of {len(users)} users"
    assert table("M3CSR", judged()).title == "M3CSR"
