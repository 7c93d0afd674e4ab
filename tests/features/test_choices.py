"""Clicks as choices: what they tell of modalities, of everybody and of each user."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.features.choices import Choices, IntensityFit, content_gains, fitted_intensity, score_gain
from m3csr_tf.ids import FIRST_ROW, PADDING_ROW

USERS, ITEMS, CLICKS = 2000, 200, 5
KNOWN = np.arange(FIRST_ROW, ITEMS)
NONE = csr_matrix((USERS, ITEMS), dtype=np.float32)


def histories_of(chosen: list[np.ndarray]) -> tuple[csr_matrix, np.ndarray]:
    histories = np.stack(chosen).astype(np.int32)
    lines = np.zeros((len(chosen), ITEMS), np.float32)
    np.put_along_axis(lines, histories, 1, axis=1)
    return csr_matrix(lines), histories


def signs(seed: int) -> np.ndarray:
    """A side of each item, float32 [items, 1]."""
    sides = np.random.default_rng(seed).choice([-1.0, 1.0], (ITEMS, 1)).astype(np.float32)
    sides[:FIRST_ROW] = 0
    return sides


def clicks_by(*of_users: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    """Users who click items of one side: half of them, in turn, the upper; user u goes by `of_users[u % n]`."""
    random = np.random.default_rng(1)
    chosen = []
    for user in range(USERS):
        side = 1 if user % (2 * len(of_users)) < len(of_users) else -1
        sides = of_users[user % len(of_users)]
        chosen.append(random.choice(KNOWN[sides[KNOWN, 0] == side], CLICKS, replace=False))
    return histories_of(chosen)


@pytest.mark.parametrize("popular", [False, True])
def test_a_choice_is_a_click_apart_from_its_users_other_clicks(popular: bool) -> None:
    # User u clicks items 2 + 3u, 3 + 3u and 4 + 3u, the last user one alone.
    clicks, histories = histories_of([np.arange(3 * user, 3 * user + 3) + FIRST_ROW for user in range(19)])
    histories[-1, 1:] = PADDING_ROW
    choices = Choices.draw(clicks, histories, seed=0, popular=popular)
    targets, users = choices.candidates[:, 0], (choices.candidates[:, 0] - FIRST_ROW) // 3
    assert set(users) == set(range(18))
    whole = np.sort(np.concatenate([choices.histories, targets[:, None]], axis=1), axis=1)
    expected = np.concatenate([np.full((len(users), 1), PADDING_ROW), histories[users]], axis=1)
    np.testing.assert_array_equal(whole, expected)
    assert choices.candidates.shape[1] > 1 and choices.candidates.min() >= FIRST_ROW


def test_popular_items_come_among_the_others_as_often_as_they_are_clicked() -> None:
    # Everybody clicks item 2, a quarter of the users each of 3, 4, 5 and 6.
    clicks, histories = histories_of([np.array([2, 3 + user % 4]) for user in range(USERS)])
    others = Choices.draw(clicks, histories, seed=0, popular=True).candidates[:, 1:]
    assert np.mean(others == 2) == pytest.approx(0.5, abs=0.02)
    others = Choices.draw(clicks, histories, seed=0).candidates[:, 1:]
    assert np.mean(others == 2) == pytest.approx(0.2, abs=0.02)


def test_a_history_is_compared_by_the_mean_over_its_items_that_have_the_modality() -> None:
    vectors = np.array([[0, 0], [0, 0], [1, 2], [3, 0], [0, 0], [0, 5]], np.float32)  # Item 4 lacks it.
    choices = Choices(np.array([[2, 3, 4], [4, 0, 0]]), np.array([[5, 2], [3, 5]]))
    profiles, similarities = choices.compared(vectors)
    np.testing.assert_array_equal(profiles, [[2, 1], [0, 0]])
    np.testing.assert_array_equal(similarities, [[5, 4], [0, 0]])


def test_among_distinct_items_the_choices_are_the_same() -> None:
    vectors = np.random.default_rng(0).normal(size=(ITEMS, 3)).astype(np.float32)
    vectors[:FIRST_ROW] = 0
    choices = Choices(np.array([[50, 7, PADDING_ROW], [9, 50, 20]]), np.array([[7, 33], [20, 9]]))
    rows, small = choices.distinct()
    np.testing.assert_array_equal(rows, [PADDING_ROW, 7, 9, 20, 33, 50])
    for found, expected in zip(small.compared(vectors[rows]), choices.compared(vectors), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_content_that_tells_of_clicks_gains_more_than_noise() -> None:
    telling = signs(0)
    noise = np.random.default_rng(2).normal(size=(ITEMS, 4)).astype(np.float32)
    noise[:FIRST_ROW] = 0
    gains = content_gains(Choices.draw(*clicks_by(telling), seed=0), {"telling": telling, "noise": noise})
    assert gains["telling"] > 1 and gains["noise"] < 0.3


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_a_histories_clicks_count_by_the_power_of_their_number(power: float) -> None:
    telling = signs(0) + np.random.default_rng(7).normal(scale=1.5, size=(ITEMS, 1)).astype(np.float32)
    telling[:FIRST_ROW] = 0
    choices = Choices.draw(*clicks_by(signs(0)), seed=0)
    # Four clicks are left of five, so that similarities are 4^power times as large, and the gain as much less.
    plain = content_gains(choices, {"telling": telling})["telling"]
    assert content_gains(choices, {"telling": telling}, power)["telling"] == pytest.approx(plain / 4**power, rel=0.05)
    gain = score_gain(choices, telling, telling, 0.0)
    assert score_gain(choices, telling, telling, power) == pytest.approx(gain / 4**power, rel=1e-3)


@pytest.mark.parametrize("size", [1e-4, 0.5, 300.0])
def test_scores_that_are_as_many_times_larger_gain_as_many_times_less(size: float) -> None:
    sides = signs(0) + np.random.default_rng(7).normal(scale=0.5, size=(ITEMS, 1)).astype(np.float32)
    sides[:FIRST_ROW] = 0
    choices = Choices.draw(*clicks_by(signs(0)), seed=0)
    plain = score_gain(choices, sides, sides, 0.5)
    assert plain > 0.3
    assert score_gain(choices, np.float32(size) * sides, sides, 0.5) == pytest.approx(plain / size, rel=1e-3)
    assert score_gain(choices, sides, np.float32(size) * sides, 0.5) == pytest.approx(plain / size, rel=1e-3)


def test_the_gain_makes_scores_as_sure_as_they_are_right() -> None:
    # One of six is clicked, and two thirds of all clicks go to the left of two kinds of items, one third to the right.
    random = np.random.default_rng(3)
    vectors = np.zeros((6, 1), np.float32)
    vectors[2:4], vectors[4:] = 1, -1
    candidates = random.integers(2, 6, (30_000, 6))
    left = random.random(30_000) < 2 / 3
    candidates[:, 0] = np.where(left, 2, 4) + random.integers(0, 2, 30_000)
    choices = Choices(np.full((30_000, 1), 2), candidates)
    # Of six candidates, on the left: 2/3 clicked beside 5/2 that are not; on the right 1/3 beside 5/2. The odds differ
    # by 2, and the scores, 1 and -1, by 2 as well.
    assert score_gain(choices, vectors, vectors, 0.0) == pytest.approx(np.log(2) / 2, abs=0.02)


def test_scores_that_tell_nothing_are_left_as_they_are() -> None:
    choices = Choices.draw(*clicks_by(signs(0)), seed=0)
    nothing = np.zeros((ITEMS, 2), np.float32)
    assert score_gain(choices, nothing, nothing, 0.5) == 1.0
    none = Choices.draw(NONE, np.zeros((USERS, CLICKS), np.int32), seed=0)
    assert score_gain(none, signs(0), signs(0), 0.5) == 1.0


def test_without_histories_every_modality_gains_1_and_no_intensity_is_known() -> None:
    choices = Choices.draw(NONE, np.zeros((USERS, CLICKS), np.int32), seed=0)
    assert content_gains(choices, {"visual": signs(0)}) == {"visual": 1.0}
    weights = fitted_intensity(choices, {"visual": signs(0), "acoustic": signs(1)}, shared=False)
    np.testing.assert_array_equal(weights, np.zeros((2, 1)))


def salient(sides: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Vectors of length 1: the louder an item, the more of it is its side."""
    vectors = np.concatenate([sides * loud, np.sqrt(1 - loud**2)], axis=1).astype(np.float32)
    vectors[:FIRST_ROW] = 0
    return vectors


def by_looks_or_sound() -> tuple[Choices, np.ndarray, dict[str, np.ndarray]]:
    """Half of the users go by looks and click videos that are a feast for the eye, the others by sound."""
    random = np.random.default_rng(3)
    of_modality = [(signs(0), random.random((ITEMS, 1))), (signs(1), random.random((ITEMS, 1)))]
    encoded = {name: salient(*of) for name, of in zip(("visual", "acoustic"), of_modality, strict=True)}
    chosen = []
    for user in range(USERS):
        sides, loud = of_modality[user % 2]
        chances = (sides[KNOWN, 0] == (1 if user % 4 < 2 else -1)) * loud[KNOWN, 0] ** 2
        chosen.append(random.choice(KNOWN, CLICKS, replace=False, p=chances / chances.sum()))
    clicks, histories = histories_of(chosen)
    return Choices.draw(clicks, histories, seed=0, popular=True), histories, encoded


@pytest.mark.parametrize("shared", [True, False])
def test_users_who_choose_by_a_modality_get_more_of_its_intensity(shared: bool) -> None:
    choices, histories, encoded = by_looks_or_sound()
    weights = fitted_intensity(choices, encoded, shared=shared)
    assert weights.shape == (1 if shared else 2, 2)
    visual, acoustic = (
        vectors[histories].mean(axis=1) @ weight
        for vectors, weight in zip(encoded.values(), np.broadcast_to(weights, (2, 2)), strict=True)
    )
    of_looks = 1 / (1 + np.exp(acoustic - visual))
    assert of_looks[::2].mean() > of_looks[1::2].mean() + 0.05
    assert np.corrcoef(of_looks, np.arange(USERS) % 2 == 0)[0, 1] > 0.5


@pytest.mark.parametrize("scale", [0.03, 0.3, 30.0])
def test_the_scale_of_the_vectors_changes_no_intensity(scale: float) -> None:
    choices, _, encoded = by_looks_or_sound()
    usual = fitted_intensity(choices, encoded, shared=False)
    scaled = {name: np.float32(scale) * vectors for name, vectors in encoded.items()}
    found = scale * fitted_intensity(choices, scaled, shared=False)
    assert np.abs(usual).max() > 1
    np.testing.assert_allclose(found, usual, rtol=0.02, atol=0.02 * np.abs(usual).max())


@pytest.mark.parametrize("rows", [1, 3])
def test_the_slopes_of_the_likelihood_are_those_of_its_differences(rows: int) -> None:
    random = np.random.default_rng(5)
    fit = IntensityFit(random.normal(size=(3, 40, 4)), random.normal(size=(3, 40, 6)), rows)
    parameters = random.normal(size=rows * 4 + 1) / 2
    slopes = fit.loss_and_gradient(parameters)[1]
    for place, step in enumerate(0.01 * np.eye(len(parameters))):
        difference = fit.losses(parameters + step).mean() - fit.losses(parameters - step).mean()
        assert slopes[place] == pytest.approx(difference / 0.02, abs=1e-3)
    assert np.abs(slopes).max() > 0.1


def test_fewer_clicks_move_intensities_less() -> None:
    choices, _, encoded = by_looks_or_sound()
    few = Choices(choices.histories[:100], choices.candidates[:100])
    sizes = [np.abs(fitted_intensity(some, encoded, shared=False)).max() for some in (choices, few)]
    assert sizes[0] > 2 * sizes[1] > 0
