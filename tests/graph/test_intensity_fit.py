"""What clicks tell of how much users care for each modality."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.graph.intensity_fit import IntensityFit, fitted_intensity
from m3csr_tf.graph.stacking import ContentScores, HeldOutClicks, ScoreEstimates, ScoreFactors, stacking_weights
from m3csr_tf.ids import FIRST_ROW

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


def test_without_held_out_clicks_no_intensity_is_known() -> None:
    nothing = HeldOutClicks(NONE[:0], np.zeros((0, 0, 0)))
    weights = fitted_intensity(nothing, {"visual": signs(0), "acoustic": signs(1)}, shared=False)
    np.testing.assert_array_equal(weights, np.zeros((2, 1)))


def salient(sides: np.ndarray, loud: np.ndarray) -> np.ndarray:
    """Vectors of length 1: the louder an item, the more of it is its side."""
    vectors = np.concatenate([sides * loud, np.sqrt(1 - loud**2)], axis=1).astype(np.float32)
    vectors[:FIRST_ROW] = 0
    return vectors


def by_looks_or_sound() -> tuple[HeldOutClicks, np.ndarray, dict[str, np.ndarray]]:
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
    content = {
        name: ContentScores(ScoreFactors(vectors, vectors), ScoreFactors(np.zeros_like(vectors), vectors))
        for name, vectors in encoded.items()
    }
    forms = ScoreEstimates(content, None, None)
    return stacking_weights(clicks, lambda _: forms, 0.0, seed=0).held_out, histories, encoded


@pytest.mark.parametrize("shared", [True, False])
def test_users_who_choose_by_a_modality_get_more_of_its_intensity(shared: bool) -> None:
    held_out, histories, encoded = by_looks_or_sound()
    weights = fitted_intensity(held_out, encoded, shared=shared)
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
    held_out, _, encoded = by_looks_or_sound()
    usual = fitted_intensity(held_out, encoded, shared=False)
    scaled = {name: np.float32(scale) * vectors for name, vectors in encoded.items()}
    found = scale * fitted_intensity(held_out, scaled, shared=False)
    assert np.abs(usual).max() > 0.5
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
    held_out, _, encoded = by_looks_or_sound()
    few = HeldOutClicks(held_out.histories[:100], held_out.similarities[:, :100])
    sizes = [np.abs(fitted_intensity(some, encoded, shared=False)).max() for some in (held_out, few)]
    assert sizes[0] > 2 * sizes[1] > 0
