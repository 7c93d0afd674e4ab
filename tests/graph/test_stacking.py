"""What ids and content are worth, by clicks that neither has seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.stacking import (
    ContentScores,
    ScoreEstimates,
    ScoreFactors,
    _folds,
    conditional_logit,
    stacking_weights,
)

USERS, ITEMS, CLICKS = 600, 120, 8


def chosen_by(weights: list[float], n: int = 40_000) -> np.ndarray:
    """Scores of six candidates, the first of which is chosen with chance softmax(scores @ weights)."""
    random = np.random.default_rng(5)
    scores = random.normal(size=(n, 6, len(weights)))
    chosen = np.argmax(scores @ weights + random.gumbel(size=(n, 6)), axis=1)
    scores[np.arange(n), chosen], scores[:, 0] = scores[:, 0].copy(), scores[np.arange(n), chosen]
    return scores


def test_a_conditional_logit_finds_the_weights_that_clicks_were_drawn_by() -> None:
    found = conditional_logit(chosen_by([1.0, 0.3]))
    assert found == pytest.approx([1.0, 0.3], rel=0.03)


@pytest.mark.parametrize("size", [1e-4, 0.5, 300.0])
def test_scores_that_are_as_many_times_larger_weigh_as_many_times_less(size: float) -> None:
    scores = chosen_by([1.0, 0.5], 3000)
    assert conditional_logit(scores * [size, 1.0]) == pytest.approx(conditional_logit(scores) / [size, 1.0], rel=1e-3)


def test_scores_that_tell_nothing_or_the_opposite_weigh_next_to_nothing_but_more_than_0() -> None:
    useless, opposite = conditional_logit(chosen_by([0.0, -1.0]))
    assert 0 < useless < 0.05 and 0 < opposite < 0.05


def test_scores_that_are_all_alike_weigh_1_and_leave_the_others_as_they_are() -> None:
    scores = chosen_by([1.0], 3000)
    alike = np.concatenate([scores, np.full_like(scores, 7.0)], axis=2)
    assert conditional_logit(alike) == pytest.approx([*conditional_logit(scores), 1.0])


@pytest.mark.parametrize("differing", [0, 3])
def test_scores_that_differ_by_rounding_or_in_next_to_no_sample_weigh_1(differing: int) -> None:
    scores = chosen_by([1.0], 3000)
    noise = 7 + 1e-9 * np.random.default_rng(0).normal(size=scores.shape)
    noise[:differing] += scores[:differing]
    both = conditional_logit(np.concatenate([scores, noise], axis=2))
    assert both[0] == pytest.approx(conditional_logit(scores)[0], rel=1e-3) and both[1] == 1


def test_scores_that_most_samples_lack_weigh_what_they_are_worth_where_they_are() -> None:
    scores = chosen_by([1.0, 0.5], 40_000)
    scores[np.random.default_rng(0).random(len(scores)) < 0.8, :, 1] = 0  # One in five has the second.
    again = np.random.default_rng(1)
    chosen = np.argmax(scores @ [1.0, 0.5] + again.gumbel(size=scores.shape[:2]), axis=1)
    lines = np.arange(len(scores))
    scores[lines, chosen], scores[:, 0] = scores[:, 0].copy(), scores[lines, chosen]
    assert conditional_logit(scores) == pytest.approx([1.0, 0.5], rel=0.1)


def sided(seed: int = 0) -> tuple[csr_matrix, np.ndarray]:
    """Clicks of users who click items of one side alone, and the items' sides, [users, items] and [items, 1]."""
    random = np.random.default_rng(seed)
    sides = random.choice([-1.0, 1.0], (ITEMS, 1)).astype(np.float32)
    lines = np.zeros((USERS, ITEMS), np.float32)
    for user in range(USERS):
        of_side = np.flatnonzero(sides[:, 0] == (1 if user % 2 else -1))
        lines[user, random.choice(of_side, CLICKS, replace=False)] = 1
    return csr_matrix(lines), sides


def as_it_is(content: ScoreFactors) -> ContentScores:
    """Scores of a modality of which clicks say nothing."""
    return ContentScores(content, ScoreFactors(np.zeros_like(content.histories), content.candidates))


def test_a_fold_knows_no_click_on_its_new_items_and_nine_tenths_of_the_others() -> None:
    clicks, _ = sided()
    new = np.zeros(ITEMS, int)
    for fold in _folds(clicks, np.random.default_rng(0)):
        assert fold.new.sum() == ITEMS // 4 and not fold.known[:, fold.new].nnz
        new += fold.new
        others = clicks[:, ~fold.new]
        assert fold.known.nnz / others.nnz == pytest.approx(0.9, abs=0.02)
        # What is known and what is left out are the clicks, each once; users have something left to tell.
        held_out = csr_matrix((np.ones(len(fold.users), np.float32), (fold.users, fold.items)), shape=clicks.shape)
        assert np.diff(fold.known.indptr)[fold.users].min() > 0
        asked = np.flatnonzero(np.diff(fold.known.indptr))
        assert abs(fold.known + held_out - clicks)[asked].nnz == 0
    assert new.max() == 1 and new.sum() == 3 * (ITEMS // 4)


def test_ids_that_know_the_clicks_they_were_made_of_by_heart_weigh_little_beside_content_that_tells() -> None:
    clicks, sides = sided()
    content = ScoreFactors(sides, sides)

    def by_heart(known: csr_matrix) -> ScoreEstimates:
        # Of a user's own clicks the score is 1 and more, of others, however alike, next to 0.
        lines = known.toarray()
        items = (lines.T @ lines > 6).astype(np.float32) * np.random.default_rng(1).random((ITEMS, ITEMS), np.float32)
        return ScoreEstimates(
            {"visual": as_it_is(content)}, ScoreFactors(np.eye(ITEMS, dtype=np.float32), items.T), None
        )

    weights = stacking_weights(clicks, by_heart, 0.0, seed=0).weights
    seen = by_heart(clicks).ids
    assert seen is not None and weights.ids < weights.content_scale * weights.content["visual"].content
    # Clicks on the other side do not happen: the logit is large.
    assert weights.content["visual"].content * weights.content_scale > 2


def test_predicted_ids_are_weighed_beside_content_by_clicks_on_new_items_alone() -> None:
    clicks, sides = sided()
    noise = np.random.default_rng(3).normal(size=(ITEMS, 4)).astype(np.float32)

    def estimate(known: csr_matrix) -> ScoreEstimates:
        # Ids place the items that have clicks, and predicted ones none of the others.
        has = (np.diff(known.tocsc().indptr) > 0)[:, None]
        return ScoreEstimates(
            {"visual": as_it_is(ScoreFactors(sides, sides))},
            ScoreFactors(sides, sides * has),
            ScoreFactors(noise, noise),
        )

    weights = stacking_weights(clicks, estimate, 0.0, seed=0).weights
    assert weights.content["visual"].content > 1 and weights.new_ids < 0.2
    # Beside content that says the same, ids share what it says.
    assert weights.ids + weights.content_scale * weights.content["visual"].content > 2


def test_what_clicks_say_of_content_has_a_weight_of_its_own_and_none_where_lists_are_better_without() -> None:
    clicks, sides = sided()
    noise = np.random.default_rng(3).normal(size=(ITEMS, 4)).astype(np.float32)
    telling, useless = ScoreFactors(sides, sides), ScoreFactors(noise, noise)
    for content, told in ((ContentScores(useless, telling), True), (ContentScores(telling, useless), False)):
        forms = ScoreEstimates({"visual": content}, None, None)
        found = stacking_weights(clicks, lambda _, forms=forms: forms, 0.0, seed=0).weights.content["visual"]
        assert found.co_clicks > 1 > found.content if told else found.content > 1 > found.co_clicks


def test_the_size_of_scores_of_new_items_is_that_of_a_logit_whatever_the_multipliers() -> None:
    clicks, sides = sided()
    noise = 0.8 * np.random.default_rng(3).normal(size=(ITEMS, 4)).astype(np.float32)
    telling, both = ScoreFactors(sides, sides), ScoreFactors(np.hstack([sides, noise]), np.hstack([sides, noise]))
    forms = ScoreEstimates({"visual": as_it_is(both)}, None, telling)

    def logit(multipliers: tuple[float, ...]) -> float:
        settings = InitialConfig(predicted_id_multipliers=multipliers)
        found = stacking_weights(clicks, lambda _: forms, 0.0, seed=0, settings=settings).weights
        return found.content["visual"].content + found.new_ids

    assert logit((4.0,)) == pytest.approx(logit((1.0,)), rel=0.25)


def test_a_score_is_that_of_the_mean_of_what_remains_of_a_history_times_its_clicks_to_the_power() -> None:
    clicks, _ = sided()
    random = np.random.default_rng(7)
    vectors = random.normal(size=(2, ITEMS, 3)).astype(np.float32)
    vectors[0, ::3] = 0  # A third of the items say nothing, and are in no mean.
    fold = next(_folds(clicks, random))
    samples = fold.logit_samples(random, on_new=False)
    (found,) = np.moveaxis(fold.scores(samples, [ScoreFactors(*vectors)], 0.5), 2, 0)
    for user, items, scores in list(zip(samples.users, samples.items, found, strict=True))[:50]:
        history = fold.known[user].indices
        telling = history[history % 3 != 0]
        mean = vectors[0, telling].mean(axis=0) if len(telling) else np.zeros(3)
        assert scores == pytest.approx(len(history) ** 0.5 * vectors[1, items] @ mean, rel=1e-4, abs=1e-5)


def test_held_out_clicks_come_beside_items_that_are_as_popular_with_what_remains_of_their_users() -> None:
    clicks, sides = sided()
    popularity = np.arange(ITEMS, dtype=np.float32)[:, None]
    forms = ScoreEstimates(
        {
            "side": as_it_is(ScoreFactors(sides, sides)),
            "item": as_it_is(ScoreFactors(np.ones_like(sides), popularity)),
        },
        None,
        None,
    )
    found = stacking_weights(clicks, lambda _: forms, 0.0, seed=0)
    weights = [weight.content for weight in found.weights.content.values()]
    of_sides, of_items = (values / weight for values, weight in zip(found.held_out.similarities, weights, strict=True))
    np.testing.assert_allclose(of_sides[:, 0], 1, rtol=1e-5)  # Everybody clicks one side alone.
    assert np.mean(of_sides[:, 1:] > 0) == pytest.approx(0.5, abs=0.05)
    items = np.rint(of_items[:, 0]).astype(int)
    histories = found.held_out.histories.toarray()
    assert not histories[np.arange(len(items)), items].any() and histories.sum(axis=1).min() >= 1
    np.testing.assert_array_equal(np.sign(histories @ sides[:, 0]), sides[items, 0])
    often = np.bincount(items, minlength=ITEMS) / len(items)
    candidates_share = np.bincount(np.rint(of_items[:, 1:]).astype(int).ravel(), minlength=ITEMS) / of_items[:, 1:].size
    assert np.abs(often - candidates_share).max() < 0.02


@pytest.mark.parametrize("clicks", [csr_matrix((3, 5)), csr_matrix([[1.0, 0], [1, 0]]), csr_matrix([[1.0, 1]])])
def test_where_nothing_can_be_held_out_everything_weighs_1(clicks: csr_matrix) -> None:
    one = ScoreFactors(*[np.ones((clicks.shape[1], 1), np.float32)] * 2)
    found = stacking_weights(clicks, lambda _: ScoreEstimates({"a": as_it_is(one)}, one, one), 0.5, seed=0)
    assert found.weights == ({}, 1.0, 1.0, 1.0) and not len(found.held_out)
