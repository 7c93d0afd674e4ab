"""Bonuses set the share of the lists that items without a click, or with few, take; what that costs can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from m3csr_tf import columns
from m3csr_tf.config import EvaluationConfig, ExposureConfig, load
from m3csr_tf.data.audience import read_clicks, users_with
from m3csr_tf.errors import ConfigError
from m3csr_tf.evaluation.report import evaluate_split
from m3csr_tf.experiments.frontier import HIDDEN, PLOT_FILE, TABLE_FILE, frontier, replaced, write
from m3csr_tf.exposure import (
    EXPOSED_AT,
    MOST_COLD_SHARE,
    Ranked,
    by_clicks,
    calibrate,
    catalogue_share,
    cold_bonus,
    few_bins,
    merge,
    ranked_by_kind,
    with_bonuses,
)
from m3csr_tf.exposure.balance import bonus_for_share
from m3csr_tf.features.popularity import PopularityBins
from m3csr_tf.ids import FIRST_ROW, NO_ITEM
from m3csr_tf.ranking.full_ranking import top_n

WARM_SCORES, COLD_SCORES = [10, 8, 6, 4], [5, 3, 1]
"""Scores of one user, items in this order from FIRST_ROW on."""


def raised_by(item_vectors: np.ndarray, chosen: np.ndarray, bonus: float) -> np.ndarray:
    """Item vectors whose last entries, which users meet with 1, are raised for some items, bool [items]."""
    return item_vectors + np.float32(bonus) * np.outer(chosen, np.eye(item_vectors.shape[1])[-1]).astype(np.float32)


def one_user() -> dict[str, Any]:
    """A user in row 0, whose first click is an item that scores most of all, and the items above."""
    scores = np.array([0, 0, 99, *WARM_SCORES, *COLD_SCORES], np.float32)
    cold = np.zeros(len(scores), bool)
    cold[-len(COLD_SCORES) :] = True
    seen = sparse.csr_array((np.ones(1), ([0], [FIRST_ROW])), (1, len(scores)))
    return {
        "user_vectors": np.ones((1, 2), np.float32),
        "item_vectors": np.stack([scores, np.zeros_like(scores)], axis=1),
        "cold": cold,
        "seen": seen,
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    # Lists of 4 hold the warm 10, 8, 6, 4 and the cold 5, 3, 1. The first cold item (5) keeps ahead of the fourth
    # warm one (4) until it has lost 1; the second (3) must pass the third (6), by 3; the third (1) the
    # second (8), by 7; there is no fourth.
    [(0.0, -1), (0.25, -1), (0.26, 3), (0.5, 3), (0.51, 7), (0.75, 7), (0.9, 7)],
)
def test_the_bonus_is_what_the_cold_items_lack(share: float, expected: float) -> None:
    assert cold_bonus(**one_user(), share=share, n=4) == pytest.approx(expected, abs=1e-4)


def test_without_cold_items_there_is_no_bonus() -> None:
    problem = one_user()
    problem["cold"] = np.zeros_like(problem["cold"])
    assert cold_bonus(**problem, share=0.5, n=4) == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.3, 0.6]))
def test_the_share_is_filled_by_the_items_that_count_whichever_get_the_bonus(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    scores = np.sort(random.normal(size=(2, 5, 4)).astype(np.float32), axis=2)[:, :, ::-1]
    rows = np.stack([random.permuted(np.tile(FIRST_ROW + kind * 8 + np.arange(8), (5, 1)), axis=1) for kind in (0, 1)])
    others, raised = (Ranked(rows[kind, :, :4].astype(np.int32), scores[kind]) for kind in (0, 1))
    counted = random.random(FIRST_ROW + 16) < 0.5

    def places(bonus: float) -> int:
        return int(counted[merge(others, raised, bonus).items].sum())

    found = bonus_for_share(others, raised, share, counted)
    # The lists change where a raised item overtakes one of the others.
    steps = np.sort((others.scores[:, ::-1].astype(np.float64) - raised.scores).ravel())
    middles = [steps[0] - 1, *(steps[1:] + steps[:-1]) / 2, steps[-1] + 1]
    wanted = min(share * 20, max(map(places, middles)))
    assert places(found) >= wanted
    assert all(places(bonus) < wanted for bonus in middles if bonus < found and places(bonus) != places(found))


def test_users_without_a_training_click_are_not_asked() -> None:
    one = one_user()
    # The second user, by a vector of the other sign, would list every cold item first.
    vectors = np.concatenate([one["user_vectors"], -one["user_vectors"]])
    seen = sparse.csr_array(sparse.vstack([one["seen"], sparse.csr_array(one["seen"].shape)]))
    both = one | {"user_vectors": vectors, "seen": seen}
    assert cold_bonus(**both, share=0.5, n=4) == cold_bonus(**one, share=0.5, n=4)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be at least 0 and below 1"):
        cold_bonus(**one_user(), share=share)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    """Whole-number vectors, whose scores are exact and tie; users of vectors that end in 1; every user has a click."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    users, items = draw(st.integers(1, 40)), draw(st.integers(4, 40))
    user_vectors = random.integers(-3, 4, (users, 3)).astype(np.float32)
    user_vectors[:, -1] = 1
    seen = random.random((users, items)) < 0.1
    seen[np.arange(users), random.integers(FIRST_ROW, items, users)] = True
    return {
        "user_vectors": user_vectors,
        "item_vectors": random.integers(-3, 4, (items, 3)).astype(np.float32),
        "cold": random.random(items) < draw(st.sampled_from([0.1, 0.5])),
        "seen": sparse.csr_array(seen.astype(np.float32)),
        "n": draw(st.integers(1, 6)),
    }


def lists_with(problem: dict[str, Any], bonus: float) -> np.ndarray:
    """Lists ranked anew from vectors that hold the bonus."""
    raised = raised_by(problem["item_vectors"], problem["cold"], bonus)
    known = np.arange(len(raised)) >= FIRST_ROW
    return top_n(problem["user_vectors"], raised, problem["n"], seen=problem["seen"], candidates=known)


def cold_places(problem: dict[str, Any], lists: np.ndarray) -> int:
    return int((problem["cold"][lists] & (lists != NO_ITEM)).sum())


@settings(deadline=None, max_examples=80)
@given(problems(), st.sampled_from([0.05, 0.2, 0.5, 0.8]))
def test_the_bonus_reaches_the_share_and_a_smaller_one_does_not(problem: dict[str, Any], share: float) -> None:
    bonus = cold_bonus(**problem, share=share)
    lists = lists_with(problem, bonus)
    most = cold_places(problem, lists_with(problem, 1000.0))
    wanted = min(share * (lists != NO_ITEM).sum(), most)
    assert cold_places(problem, lists) >= wanted
    if problem["cold"][FIRST_ROW:].any():
        # Scores are whole numbers: half a step below the bonus, a tie has become a loss. Some cold items may have to be
        # listed whatever they score, for want of others.
        must = cold_places(problem, lists_with(problem, -1000.0))
        assert cold_places(problem, lists_with(problem, bonus - 0.5)) < max(wanted, must + 1)
    else:
        assert bonus == 0


@settings(deadline=None, max_examples=60)
@given(problems())
def test_a_share_of_none_lists_no_more_cold_items_than_it_must(problem: dict[str, Any]) -> None:
    must = cold_places(problem, lists_with(problem, -1000.0))
    assert cold_places(problem, lists_with(problem, cold_bonus(**problem, share=0.0))) == must


@pytest.mark.parametrize(("cold", "expected"), [(1, 0.1), (2, 0.2), (7, 0.2), (0, 0)])
def test_cold_items_are_worth_their_share_of_the_catalogue_up_to_a_fifth(cold: int, expected: float) -> None:
    assert catalogue_share(np.arange(FIRST_ROW + 10) >= FIRST_ROW + 10 - cold) == expected


@settings(deadline=None, max_examples=60)
@given(problems(), st.sampled_from([0.0, 0.25, 1.25, 4.0]))
def test_merged_lists_of_two_kinds_are_the_lists_ranked_anew(problem: dict[str, Any], bonus: float) -> None:
    raised = raised_by(problem["item_vectors"], problem["cold"], bonus)
    scores = np.concatenate([problem["user_vectors"] @ raised.T, np.full((len(problem["user_vectors"]), 1), np.nan)], 1)
    vectors, cold = (problem["user_vectors"], problem["item_vectors"]), problem["cold"]
    lists = merge(*ranked_by_kind(*vectors, (~cold, cold), problem["n"], seen=problem["seen"]), bonus).items
    anew = lists_with(problem, bonus)
    np.testing.assert_array_equal(np.take_along_axis(scores, lists, 1), np.take_along_axis(scores, anew, 1))


def test_bonuses_change_no_vector_but_the_copies_of_items_of_their_bins(untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    vectors = np.ones((len(prepared.items), 3), np.float32)
    bonuses = np.arange(prepared.popularity.count, dtype=np.float32)
    raised = with_bonuses(vectors, prepared, bonuses)
    expected = 1 + np.where(np.arange(len(vectors)) >= FIRST_ROW, prepared.bins, 0)
    np.testing.assert_array_equal(raised[:, -1], expected)
    assert (raised[:, :-1] == 1).all() and (vectors == 1).all() and expected.max() > 2


def test_the_control_fills_the_places_of_cold_items_in_order() -> None:
    cold = np.array([False, False, False, True, True, True, False])
    lists = np.array([[3, 2, 4, 6], [2, 6, NO_ITEM, NO_ITEM]], np.int32)
    others = np.array([[5, 4, 3, NO_ITEM], [3, 4, 5, NO_ITEM]], np.int32)
    assert replaced(lists, cold, others).tolist() == [[5, 2, 4, 6], [2, 6, NO_ITEM, NO_ITEM]]


@pytest.fixture(scope="module")
def vectors(untrained_run: Any) -> tuple[np.ndarray, np.ndarray]:
    """Random vectors of all users and items of the run, the users' last entries 1."""
    random = np.random.default_rng(0)
    users = random.normal(size=(len(untrained_run.prepared.users), 5)).astype(np.float32)
    users[:, -1] = 1
    return users, random.normal(size=(len(untrained_run.prepared.items), 5)).astype(np.float32)


def test_a_frontier_says_what_an_evaluation_of_the_same_vectors_says(untrained_run: Any, vectors: Any) -> None:
    prepared, config = untrained_run.prepared, untrained_run.config
    _, few, _ = by_clicks(prepared)
    vectors = vectors[0], raised_by(vectors[1], few, -6.0)
    hidden, plain, raised = frontier(prepared, *vectors, columns.TEST, config, shares=("trained", 0.3))
    exposure = config.exposure.model_copy(update={"cold_share": 0.3})
    bonuses = calibrate(prepared, *vectors, exposure, config.run.seed).bonuses
    assert raised.bonus == bonuses[0] > 0 < bonuses[1] == raised.few_bonus
    without = np.where(np.arange(len(bonuses)) == 0, np.float32(-1000), np.float32(hidden.few_bonus))
    without *= few_bins(prepared.popularity) | (np.arange(len(bonuses)) == 0)
    assert (hidden.share, hidden.bonus, hidden.cold_share, hidden.recall["cold"]) == (HIDDEN, None, 0, 0)
    assert hidden.few_bonus > 0 and hidden.few_share == pytest.approx(raised.few_share, abs=0.01)
    for point, added in ((hidden, without), (plain, np.zeros_like(bonuses)), (raised, bonuses)):
        items = with_bonuses(vectors[1], prepared, added)
        expected = evaluate_split(prepared, vectors[0], items, columns.TEST, config.evaluation)
        assert point.cold_share == pytest.approx(expected["all"].shares["cold_share@20"])
        for name in ("all", "warm", "cold"):
            assert point.recall[name] == pytest.approx(expected[name].mean("recall@20"))
            assert point.ndcg[name] == pytest.approx(expected[name].mean("ndcg@20"))


def test_a_bonus_leaves_the_order_of_the_cold_items_alone(untrained_run: Any, vectors: Any) -> None:
    prepared, config = untrained_run.prepared, untrained_run.config
    cold = np.concatenate([[False] * FIRST_ROW, prepared.catalogue["is_cold"]])
    first, second = (
        evaluate_split(prepared, vectors[0], raised_by(vectors[1], cold, bonus), columns.TEST, config.evaluation)
        for bonus in (0.0, 2.0)
    )
    np.testing.assert_array_equal(first["cold_only"].values["ndcg@20"], second["cold_only"].values["ndcg@20"])


def test_cold_items_that_are_no_better_than_chance_do_not_differ_from_the_control(untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    users = np.ones((len(prepared.users), 1), np.float32)
    # Every score is equal: cold items are drawn at random, as those of the control are.
    points = frontier(
        prepared, users, np.zeros((len(prepared.items), 1), np.float32), columns.TEST, untrained_run.config
    )
    assert len(points) == 12
    assert points[1].p_value is not None and points[1].p_value > 0.01


def test_a_frontier_is_written_as_a_table_and_a_plot(untrained_run: Any, vectors: Any, tmp_path: Any) -> None:
    points = frontier(untrained_run.prepared, *vectors, columns.TEST, untrained_run.config, shares=("trained", 0.1))
    assert write(tmp_path, points) == (tmp_path / TABLE_FILE, tmp_path / PLOT_FILE)
    stored = pd.read_csv(tmp_path / TABLE_FILE)
    assert stored["share"].tolist() == [HIDDEN, "trained", "0.1"]
    assert stored["recall.cold"].tolist() == pytest.approx([point.recall["cold"] for point in points])
    assert (tmp_path / PLOT_FILE).read_bytes().startswith(b"\x89PNG")


def test_a_share_needs_the_part_of_the_vectors_that_it_is_set_in() -> None:
    with pytest.raises(
        ConfigError, match=r"exposure.cold_share needs model.kind=m3csr with model.popularity_bias=true"
    ):
        load(None, ["model.popularity_bias=false", "exposure.cold_share=0.05"])
    without = ["model.popularity_bias=false", "exposure.cold_share=trained"]
    assert load(None, without).exposure.cold_share == "trained"


@pytest.mark.parametrize("share", ["0", "1", "-0.1", "none"])
def test_a_share_that_would_hide_or_flood_is_refused_with_what_to_say_instead(share: str) -> None:
    with pytest.raises(ConfigError, match=r"exposure.cold_share must be catalogue, trained .* or a share above 0"):
        load(None, [f"exposure.cold_share={share}"])


@pytest.mark.parametrize(
    ("edges", "few"),
    # Bins of 1, 2 to 3, 4 to 6 and more; of 1, 2, 3, 4, 5 and more; of 1 to 7 and more; of 1 and more.
    [([1, 2, 4, 7], [1, 2]), ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4]), ([1, 8], [1]), ([1], [1])],
)
def test_few_clicks_are_those_of_the_first_bin_and_of_all_that_end_by_four(edges: list[int], few: list[int]) -> None:
    found = few_bins(PopularityBins("train_clicks", np.array(edges)))
    assert len(found) == len(edges) + 1 and np.flatnonzero(found).tolist() == few


def shares(prepared: Any, users: np.ndarray, items: np.ndarray) -> list[float]:
    """Of the places of the users with a training click: those of items with many clicks, with few, and without."""
    asked = users_with(prepared, columns.TRAIN)
    seen = read_clicks(prepared, columns.TRAIN, asked)
    known = np.arange(len(items)) >= FIRST_ROW
    lists = top_n(users[asked], items, EXPOSED_AT, seen=seen, candidates=known)
    return [float(kind[lists].mean()) for kind in by_clicks(prepared)]


@pytest.mark.parametrize("few_share", [0.02, 0.1])
def test_items_with_few_clicks_take_their_share_at_least_beside_cold_ones(
    untrained_run: Any, vectors: Any, few_share: float
) -> None:
    prepared, (users, items) = untrained_run.prepared, vectors
    _, few, cold = by_clicks(prepared)
    assert few[FIRST_ROW:].mean() > 0.1 < cold[FIRST_ROW:].mean()
    hardly_listed = raised_by(items, few, -6.0)
    settings_ = ExposureConfig(cold_share=0.2, few_share=few_share)
    assert shares(prepared, users, hardly_listed)[1] < 0.01
    bonuses = calibrate(prepared, users, hardly_listed, settings_, seed=0).bonuses
    found = shares(prepared, users, with_bonuses(hardly_listed, prepared, bonuses))
    # A place more or less of all users' is as near as whole places come.
    assert found[1:] == pytest.approx([few_share, 0.2], abs=2 / (EXPOSED_AT * len(users)) + 0.01 * few_share)
    assert (bonuses[few_bins(prepared.popularity)] > 1).all()
    others = ~few_bins(prepared.popularity)
    others[0] = False
    assert others.any() and not bonuses[others].any()


def test_items_with_few_clicks_are_never_pushed_down(untrained_run: Any, vectors: Any) -> None:
    prepared, (users, items) = untrained_run.prepared, vectors
    often = raised_by(items, by_clicks(prepared)[1], 1.0)
    assert shares(prepared, users, often)[1] > 0.1
    bonuses = calibrate(prepared, users, often, ExposureConfig(cold_share=0.2, few_share=0.05), seed=0).bonuses
    assert bonuses[0] != 0 and not bonuses[1:].any()


def test_few_items_of_few_clicks_are_not_asked_to_fill_more_places_than_their_share_of_the_items(
    untrained_run: Any, vectors: Any
) -> None:
    prepared, (users, items) = untrained_run.prepared, vectors
    few = by_clicks(prepared)[1]
    hardly_listed = raised_by(items, few, -6.0)
    of_items = float(few[FIRST_ROW:].mean())
    whole, asked = (
        calibrate(prepared, users, hardly_listed, ExposureConfig(few_share=share), seed=0).bonuses
        for share in (of_items, 0.99)
    )
    np.testing.assert_array_equal(whole, asked)


@pytest.mark.parametrize(("cold_share", "few_share"), [("trained", 0.05), ("catalogue", 0.0)])
def test_nothing_is_added_to_items_of_few_clicks_where_none_is_asked_for(
    untrained_run: Any, vectors: Any, cold_share: Any, few_share: float
) -> None:
    settings_ = ExposureConfig(cold_share=cold_share, few_share=few_share)
    bonuses = calibrate(untrained_run.prepared, *vectors, settings_, seed=0).bonuses
    assert bonuses.shape == (untrained_run.prepared.popularity.count,) and not bonuses[1:].any()
    assert (bonuses[0] != 0) == (cold_share != "trained")


def test_shares_that_leave_nothing_to_other_items_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"must leave places to other items, .* got 0.9 and 0.1"):
        load(None, ["exposure.cold_share=0.9", "exposure.few_share=0.1"])


def test_by_default_cold_items_take_their_share_of_the_catalogue(untrained_run: Any, vectors: Any) -> None:
    prepared, settings_ = untrained_run.prepared, ExposureConfig()
    share = float(prepared.catalogue["is_cold"].mean())
    assert 0.02 < share < MOST_COLD_SHARE
    of_catalogue, of_share = (
        calibrate(prepared, *vectors, settings_.model_copy(update={"cold_share": wanted}), seed=0).bonuses
        for wanted in ("catalogue", share)
    )
    np.testing.assert_array_equal(of_catalogue, of_share)
    assert of_catalogue[0] != 0


def test_the_share_can_change_without_another_training() -> None:
    with_part = ["model.popularity_bias=true"]
    assert load(None, [*with_part, "exposure.cold_share=0.2"]).fingerprint() == load(None, with_part).fingerprint()


@pytest.fixture(scope="module")
def seen_cold(make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, np.ndarray, np.ndarray]:
    """Prepared data whose validation has the clicks on cold items, and vectors that rank those she clicked last."""
    prepared = make_run(tmp_path_factory.mktemp("seen"), split={"kind": "random", "pseudo_cold_share": 0.2}).prepared
    truth = read_clicks(prepared, columns.VAL, np.arange(len(prepared.users))).toarray()
    # Cold items score below others, of which the right ones score so little more that cold ones push them out.
    cold = by_clicks(prepared)[-1]
    worth, noise = np.where(cold, -10.0, 0.2), np.random.default_rng(0).random(truth.shape) - cold
    users = np.concatenate([noise + worth * truth, np.ones((len(truth), 1))], axis=1).astype(np.float32)
    items = np.concatenate([np.eye(truth.shape[1]), np.zeros((truth.shape[1], 1))], axis=1).astype(np.float32)
    return prepared, users, items


def recalls(prepared: Any, users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Recall@20 and NDCG@20 of validation."""
    config = EvaluationConfig(bootstrap=0, users="all")
    found = evaluate_split(prepared, users, items, columns.VAL, config)["all"]
    return np.array([found.mean("recall@20"), found.mean("ndcg@20")])


def bonuses_at(seen_cold: tuple[Any, np.ndarray, np.ndarray], most_loss: float) -> np.ndarray:
    prepared, users, items = seen_cold
    return calibrate(prepared, users, items, ExposureConfig(most_loss=most_loss, few_share=0), seed=0).bonuses


def test_shares_that_cost_more_of_validation_than_they_may_are_halved(seen_cold: Any) -> None:
    prepared, users, items = seen_cold
    hidden = np.where(np.arange(prepared.popularity.count) == 0, np.float32(-1e6), np.float32(0))
    whole, limited = bonuses_at(seen_cold, 1.0), bonuses_at(seen_cold, 0.05)
    of_none, of_whole, of_limited = (
        recalls(prepared, users, with_bonuses(items, prepared, some)) for some in (hidden, whole, limited)
    )
    assert (1 - of_whole / of_none).max() > 0.05 >= (1 - of_limited / of_none).max()
    assert limited[0] < whole[0]
    assert np.array_equal(bonuses_at(seen_cold, float((1 - of_whole / of_none).max()) + 1e-6), whole)
    assert not np.array_equal(bonuses_at(seen_cold, float((1 - of_whole / of_none).max()) - 1e-6), whole)


def test_a_split_that_keeps_new_items_out_of_validation_gives_them_their_whole_share(
    untrained_run: Any, vectors: Any
) -> None:
    of = [
        calibrate(untrained_run.prepared, *vectors, ExposureConfig(most_loss=most), seed=0).bonuses for most in (0, 1)
    ]
    assert np.array_equal(*of)
