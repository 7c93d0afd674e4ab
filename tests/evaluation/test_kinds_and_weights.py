"""Evaluation by kinds of feedback and by weight, on lists and truths that are worked out by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import sparse
from small_logs import Logs

from m3csr_tf.baselines.log import Log
from m3csr_tf.baselines.popularity import POPULARITY
from m3csr_tf.baselines.registry import fitted
from m3csr_tf.config import Config, EvaluationConfig
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation.metrics import per_user
from m3csr_tf.evaluation.report import evaluate, evaluate_split
from m3csr_tf.evaluation.slice_table import table
from m3csr_tf.evaluation.truth import users_of_kinds
from m3csr_tf.evaluation.user_draw import validation_users
from m3csr_tf.experiments.frontier import frontier
from m3csr_tf.verbs.compared_runs import users_of_run


def test_metrics_by_weight_are_those_worked_out_by_hand() -> None:
    # User 0 holds back items 2 (weight 3) and 4 (weight 1); her list is 4, 3, 2. User 1 holds back 5.
    truth = sparse.csr_array(np.array([[0, 0, 3.0, 0, 1.0, 0], [0, 0, 0, 0, 0, 7.0]]))
    values = per_user(np.array([[4, 3, 2], [3, -1, -1]]), truth, [1, 3], weighted=True)
    assert values["weight@1"].tolist() == [1, 0] and values["weight@3"].tolist() == [4, 0]
    assert values["weighted_recall@1"].tolist() == [1 / 4, 0] and values["weighted_recall@3"].tolist() == [1, 0]
    assert values["recall@1"].tolist() == [1 / 2, 0]
    assert "weight@1" not in per_user(np.array([[4, 3, 2], [3, -1, -1]]), truth, [1, 3])


def test_with_equal_weights_recall_by_weight_is_recall() -> None:
    random = np.random.default_rng(0)
    truth = sparse.csr_array((random.random((30, 40)) < 0.2) * 2.5)
    truth = truth[np.diff(truth.indptr) > 0]
    ranked = np.array([random.permutation(40)[:20] for _ in range(truth.shape[0])])
    values = per_user(ranked, truth, [5, 20], weighted=True)
    np.testing.assert_allclose(values["weighted_recall@20"], values["recall@20"])
    np.testing.assert_allclose(values["weight@5"], values["precision@5"] * 5 * 2.5)


def test_each_kind_has_a_slice_of_its_own_clicks() -> None:
    # All rank 2, 3, 4, 5. User 0 likes 2 and clicks 5, user 1 clicks 3.
    clicks = np.zeros((2, 6))
    clicks[0, 5] = clicks[1, 3] = 1
    likes = np.zeros((2, 6))
    likes[0, 2] = 4
    found = evaluate(
        np.ones((2, 1), np.float32),
        np.array([[9], [9], [4], [3], [2], [1]], np.float32),
        truth=sparse.csr_array(clicks + likes),
        seen=sparse.csr_array((2, 6)),
        by_kind={"click": sparse.csr_array(clicks), "like": sparse.csr_array(likes)},
        weighted=True,
        top_n=(1, 20),
        bootstrap=0,
    )
    assert found["all"].values["weighted_recall@1"].tolist() == [4 / 5, 0]
    assert found["kind_like"].users.tolist() == [0] and found["kind_like"].values["recall@1"].tolist() == [1]
    assert found["kind_click"].users.tolist() == [0, 1] and found["kind_click"].values["recall@1"].tolist() == [0, 0]
    assert list(found.to_json())[-2:] == ["kind_like", "cold_only"]
    assert [str(column.header) for column in table("model", found).columns][-2:] == ["by weight", "users"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Each user has a click in val, and in test a like if her number is even, else a click."""
    logs = Logs(tmp_path_factory.mktemp("kinds"))
    number = np.arange(len(logs.interactions))
    logs.interactions["feedback"] = np.where((number % 6 == 5) & (number // 6 % 2 == 0), "like", "click")
    logs.overrides["data.events"] = "{column: feedback, kinds: {click: 1, like: 5}}"
    assert logs.run().exit_code == 0
    return Prepared.open(logs.root / "runs" / "case" / "prepared")


def evaluated(prepared: Prepared, split: str, *kinds: str) -> dict[str, dict[str, float]]:
    users, items = len(prepared.users), len(prepared.items)
    vectors = np.ones((users, 1), np.float32), np.arange(items, dtype=np.float32)[:, np.newaxis]
    settings = EvaluationConfig(kinds=kinds, bootstrap=0, top_n=(1, 20))
    return evaluate_split(prepared, *vectors, split, settings).to_json()


def test_truth_can_be_restricted_to_likes(prepared: Prepared) -> None:
    everything, likes = evaluated(prepared, "test"), evaluated(prepared, "test", "like")
    assert everything["all"]["users"] == 12 and everything["all"]["of"] == 12
    assert everything["kind_like"]["users"] == everything["kind_click"]["users"] == 6
    assert likes["all"]["users"] == likes["all"]["of"] == 6
    assert likes["all"]["recall@1"] == everything["kind_like"]["recall@1"]
    assert likes["all"]["weight@20"] == 5
    assert "kind_like" not in likes  # It would say the same again.


def test_a_frontier_and_a_comparison_of_versions_judge_by_the_same_kinds(tmp_path: Path) -> None:
    """In test everybody has a click, and those of even number a like of another item beside it."""
    logs = Logs(tmp_path)
    number = np.arange(len(logs.interactions))
    logs.interactions["split"] = np.array(["train", "train", "train", "val", "test", "test"])[number % 6]
    logs.interactions["feedback"] = np.where((number % 6 == 5) & (number // 6 % 2 == 0), "like", "click")
    logs.overrides["data.events"] = "{column: feedback, kinds: {click: 1, like: 5}}"
    assert logs.run().exit_code == 0
    prepared = Prepared.open(tmp_path / "runs" / "case" / "prepared")
    config = Config.model_validate({"evaluation": {"kinds": ["like"], "bootstrap": 0}})
    likes = prepared.split("test").query("kinds == 2")

    compared = users_of_run(SimpleNamespace(prepared=prepared, config=config), None, [])  # type: ignore[arg-type]
    assert compared.clicked is not None
    assert [ids.tolist() for ids in compared.clicked] == [[item] for item in prepared.items.ids(likes["item_row"])]

    vectors = np.ones((len(prepared.users), 1), np.float32), np.arange(len(prepared.items), dtype=np.float32)[:, None]
    _, as_trained = frontier(prepared, *vectors, "test", config, shares=("trained",))
    assert as_trained.ndcg["all"] == pytest.approx(evaluated(prepared, "test", "like")["all"]["ndcg@20"])
    assert as_trained.ndcg["all"] != pytest.approx(evaluated(prepared, "test")["all"]["ndcg@20"])


def test_baselines_are_tuned_on_all_validation_users_whatever_kinds_are_judged(prepared: Prepared) -> None:
    for kinds in ((), ("like",)):  # No validation user has a like.
        assert validation_users(prepared, EvaluationConfig(kinds=kinds)) == 12
    assert validation_users(prepared, EvaluationConfig(kinds=("like",), users=5)) == 5


def test_kinds_without_truth_and_unknown_kinds_are_refused(prepared: Prepared) -> None:
    with pytest.raises(InputError, match=r"split val has no interaction of evaluation.kinds=\['like'\], so nothing"):
        evaluated(prepared, "val", "like")
    with pytest.raises(
        InputError, match=r"evaluation\.kinds names 'share', but of these data they have 'click', 'like'"
    ):
        users_of_kinds(prepared, "test", ["share"])


def test_popularity_counts_clicks_or_their_weights(tmp_path: Path, prepared: Prepared) -> None:
    logs = Logs(tmp_path)
    logs.interactions["weight"] = np.where(logs.interactions["item_id"] == "i0", 9.0, 1.0)
    assert logs.run().exit_code == 0
    weighed = Prepared.open(logs.root / "runs" / "case" / "prepared")
    first = int(weighed.items.rows(np.array(["i0"], object))[0])
    plain, by_weight = (POPULARITY.fit(Log.of(weighed, weighted), {}).item_vectors[:, 0] for weighted in (False, True))
    np.testing.assert_array_equal(plain, weighed.train_clicks)
    assert by_weight.argmax() == first and by_weight.sum() == pytest.approx(weighed.train_clicks.sum())
    lines: list[str] = []
    names = [one.name for one in fitted(["popularity", "random"], weighed, tmp_path, None, lines.append, weighted=True)]
    assert names == ["popularity", "random"]
    assert lines == ["evaluation.weighted_baselines: of random there is nothing to weigh"]


def test_weighted_baselines_of_clicks_without_weights_are_refused(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    assert logs.run().exit_code == 0
    plain = Prepared.open(logs.root / "runs" / "case" / "prepared")
    with pytest.raises(InputError, match=r"evaluation\.weighted_baselines=true, but the interactions do not differ in"):
        next(fitted(["popularity"], plain, tmp_path, None, print, weighted=True))
