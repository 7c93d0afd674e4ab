from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from m3csr_tf.features import content as module
from m3csr_tf.features.content import ContentScaler, ScaledContent

NAN = np.nan
# Items 0 and 1 are training items, item 2 lacks the modality, item 3 is cold.
RAW = np.array([[3, 4], [1, 4], [NAN, NAN], [5, 5]], np.float32)
TRAINING = np.array([True, True, True, False])


def fit(kind: str) -> ContentScaler:
    return ContentScaler.fit(kind, {"visual": RAW}, TRAINING)


def test_none_leaves_vectors_as_they_are_and_turns_absent_ones_to_zeros() -> None:
    assert_array_equal(fit("none").transform("visual", RAW), [[3, 4], [1, 4], [0, 0], [5, 5]])


def test_rms_divides_by_one_number_so_that_training_entries_have_a_mean_square_of_one() -> None:
    # Squares 9 + 16 + 1 + 16 = 42 over four entries: the root mean square is sqrt(10.5).
    scaled = fit("rms").transform("visual", RAW)
    assert_allclose(scaled, np.nan_to_num(RAW) / np.sqrt(10.5), rtol=1e-6)
    assert_allclose((scaled[:2] ** 2).mean(), 1, rtol=1e-6)


def test_standard_uses_the_training_items_mean_and_deviation_and_silences_a_constant_dimension() -> None:
    # Dimension 0: mean 2, deviation 1. Dimension 1 is 4 in both training items, so the cold item's 5 counts as 0.
    assert_allclose(fit("standard").transform("visual", RAW), [[1, 0], [-1, 0], [0, 0], [3, 0]], atol=1e-6)


def test_l2_brings_rows_to_length_one_and_leaves_rows_of_zeros() -> None:
    raw = np.array([[3, 4], [0, 0], [NAN, NAN]], np.float32)
    scaled = ContentScaler.fit("l2", {"visual": raw}, np.ones(3, bool)).transform("visual", raw)
    assert_allclose(scaled, [[0.6, 0.8], [0, 0], [0, 0]], rtol=1e-6)


def test_standard_l2_standardises_first() -> None:
    assert_allclose(fit("standard_l2").transform("visual", RAW), [[1, 0], [-1, 0], [0, 0], [1, 0]], atol=1e-6)


def test_whitened_divides_each_principal_axis_by_its_shrunk_spread() -> None:
    # Both dimensions have mean 0 and deviation 1. Their correlation is (1.4 + 0.2) / 2 = 0.8, so the axes
    # (1, 1) / sqrt(2) and (1, -1) / sqrt(2) have variances 1.8 and 0.2, to which 0.3 of their mean, 0.3, is added.
    raw = np.array([[1, 1.4], [1, 0.2], [-1, -0.2], [-1, -1.4]], np.float32)
    projection = ContentScaler.fit("whitened", {"visual": raw}, np.ones(4, bool)).projection["visual"]
    expected = np.array([[1, 1], [1, -1]]) / np.sqrt(2) / np.sqrt([2.1, 0.5])
    assert_allclose(np.abs(projection), np.abs(expected), rtol=1e-5)
    assert projection[0, 0] * projection[1, 0] > 0 > projection[0, 1] * projection[1, 1]


def test_the_spreads_are_what_whitening_divides_by_and_ones_where_nothing_is_whitened() -> None:
    raw = np.array([[1, 1.4], [1, 0.2], [-1, -0.2], [-1, -1.4]], np.float32)
    whitened = ContentScaler.fit("whitened", {"visual": raw}, np.ones(4, bool))
    assert_allclose(whitened.spreads("visual"), np.sqrt([2.1, 0.5]), rtol=1e-5)
    never_varied = ContentScaler.fit("whitened", {"visual": np.ones((4, 2), np.float32)}, np.ones(4, bool))
    assert_array_equal(never_varied.spreads("visual"), [0, 0])
    assert_array_equal(ContentScaler.fit("l2", {"visual": raw}, np.ones(4, bool)).spreads("visual"), [1, 1])


def test_whitened_keeps_the_strongest_axes_at_length_one_and_leaves_absent_vectors_zeros() -> None:
    random = np.random.default_rng(0)
    raw = (random.normal(size=(200, 3)) @ random.normal(size=(3, 6))).astype(np.float32)
    raw[7] = NAN
    scaler = ContentScaler.fit("whitened", {"visual": raw}, np.arange(150), components=2)
    scaled = scaler.transform("visual", raw)
    assert scaled.shape == (200, 2) and scaler.width("visual") == 2
    assert_allclose(np.linalg.norm(scaled, axis=1), np.arange(200) != 7, rtol=1e-5)
    assert ContentScaler.fit("whitened", {"visual": raw}, np.arange(150), components=64).width("visual") == 6


def test_whitened_gives_nothing_of_a_modality_that_never_varied_in_training() -> None:
    raw = np.ones((5, 3), np.float32)
    raw[4] = 9
    assert_array_equal(ContentScaler.fit("whitened", {"visual": raw}, np.arange(4)).transform("visual", raw), 0)


def test_training_items_can_be_given_as_indices() -> None:
    by_index = ContentScaler.fit("standard", {"visual": RAW}, np.array([0, 1]))
    assert_array_equal(by_index.shift["visual"], fit("standard").shift["visual"])


def test_a_modality_that_no_training_item_has_is_left_unscaled() -> None:
    scaler = ContentScaler.fit("standard", {"visual": RAW}, np.array([2]))
    assert_array_equal(scaler.transform("visual", RAW[:2]), RAW[:2])


def test_transform_does_not_change_its_input() -> None:
    raw = RAW.copy()
    fit("standard_l2").transform("visual", raw)
    assert_array_equal(raw, RAW)


@pytest.mark.parametrize("kind", ["rms", "standard_l2", "whitened"])
def test_a_saved_scaler_scales_the_same(kind: str, tmp_path: Path) -> None:
    scaler = ContentScaler.fit(kind, {"visual": RAW, "acoustic": RAW[:, :1]}, TRAINING)
    scaler.save(tmp_path / "scaling.npz")
    loaded = ContentScaler.load(tmp_path / "scaling.npz")
    assert list(loaded.shift) == ["visual", "acoustic"]
    assert_array_equal(loaded.transform("visual", RAW), scaler.transform("visual", RAW))


def test_of_many_items_a_seeded_draw_is_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    raw[500:] = 1000  # Not among the rows.
    monkeypatch.setattr(module, "FITTED_ROWS", 200)
    first, again, other = (
        ContentScaler.fit("standard", {"visual": raw}, np.arange(1000) < 500, seed=seed).shift["visual"]
        for seed in (1, 1, 2)
    )
    assert_array_equal(first, again)
    assert (first != other).any()
    assert np.abs(first).max() < 5 / 200**0.5  # Five standard errors.
    whole = ContentScaler.fit("standard", {"visual": raw}, np.arange(200), seed=1).shift["visual"]
    assert_array_equal(whole, raw[:200].astype(np.float64).mean(axis=0).astype(np.float32))


def test_scaled_content_scales_the_rows_that_are_taken() -> None:
    scaler = ContentScaler.fit("whitened", {"visual": RAW}, np.array([0, 1]), components=1)
    lazy = ScaledContent(scaler, "visual", RAW)
    assert lazy.shape == (len(RAW), 1)
    assert_array_equal(lazy.take(np.array([0, 2])), scaler.transform("visual", RAW)[[0, 2]])


def test_axes_of_vectors_wider_than_they_are_many_are_the_same_by_the_items_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = np.random.default_rng(0).normal(size=(30, 80)).astype(np.float32)
    few = [ContentScaler.fit("whitened", {"visual": raw}, np.arange(30), components=12)]
    monkeypatch.setattr(module, "_WIDE", 10)
    few.append(ContentScaler.fit("whitened", {"visual": raw}, np.arange(30), components=12))
    assert_allclose(few[1].projection["visual"], few[0].projection["visual"], atol=1e-6)
    more = ContentScaler.fit("whitened", {"visual": raw}, np.arange(30), components=40)
    assert more.width("visual") == 40 and np.isfinite(more.transform("visual", raw)).all()
    assert_array_equal(more.projection["visual"][:, 29:], 0)
