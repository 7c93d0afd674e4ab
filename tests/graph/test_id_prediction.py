"""What content says of the ids of items without a click."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from m3csr_tf.config import InitialConfig
from m3csr_tf.graph.id_prediction import IdPredictor, IdSettings, compared, fit_id_predictor, score_gram
from m3csr_tf.ids import FIRST_ROW

ITEMS, WIDTH, DIM = 300, 4, 3
ROWS = np.arange(FIRST_ROW, ITEMS)
SCALES = {"visual": np.ones(WIDTH, np.float32), "acoustic": np.ones(WIDTH, np.float32)}


def planted(noise: float = 0.0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ids [ITEMS, DIM] that are a bent function of looks, and sounds that say nothing."""
    random = np.random.default_rng(6)
    content = {name: random.normal(size=(ITEMS, WIDTH)).astype(np.float32) for name in SCALES}
    for part in content.values():
        part /= np.linalg.norm(part, axis=1, keepdims=True)
        part[:FIRST_ROW] = 0
    looks = content["visual"] @ random.normal(size=(WIDTH, 8))
    bent = (looks + looks**2) @ random.normal(size=(8, DIM))
    return (bent + 5 + noise * random.normal(size=bent.shape)).astype(np.float32), content


def fitted(ids: np.ndarray, content: dict[str, np.ndarray], rows: np.ndarray = ROWS, **options: object) -> IdPredictor:
    settings = {"landmarks": 1000, "gram": np.eye(ids.shape[1])} | options
    return fit_id_predictor(ids, content, {name: SCALES[name] for name in content}, rows, **settings)  # type: ignore[arg-type]


def share_explained(ids: np.ndarray, predicted: np.ndarray) -> float:
    return 1 - np.square(ids - predicted).sum() / np.square(ids - ids.mean(axis=0)).sum()


def test_ids_of_items_that_were_left_out_are_predicted_better_than_by_a_linear_map() -> None:
    ids, content = planted()
    known, new = ROWS[:200], ROWS[200:]
    found = fitted(ids, content, known).predict(content)
    assert found.dtype == np.float32
    looks = np.concatenate([content["visual"], np.ones((ITEMS, 1))], axis=1)
    linear = looks @ np.linalg.lstsq(looks[known], ids[known], rcond=None)[0]
    assert share_explained(ids[new], found[new]) > 0.9 > 0.7 > share_explained(ids[new], linear[new])


def test_a_modality_that_says_nothing_of_the_ids_hardly_counts() -> None:
    ids, content = planted(noise=0.5)
    sizes = fitted(ids, content).settings.sizes
    assert sizes[1] < 0.2 * sizes[0]


def test_with_all_items_as_landmarks_it_is_kernel_ridge_regression() -> None:
    ids, content = planted(noise=0.5)
    chosen = IdSettings(np.array([1.5, 0.5]), 0.3)
    found = fitted(ids, content, chosen=chosen)
    vectors = compared(content, SCALES, chosen.sizes).astype(np.float64)
    kernel = np.exp(-np.square(vectors[:, None] - vectors[ROWS]).sum(axis=2))
    centre = np.eye(len(ROWS)) - 1 / len(ROWS)
    dual = np.linalg.solve(centre @ kernel[ROWS] @ centre + 0.3 * np.eye(len(ROWS)), ids[ROWS] - ids[ROWS].mean(axis=0))
    expected = (kernel - kernel[ROWS].mean(axis=0)) @ centre @ dual + ids[ROWS].mean(axis=0)
    np.testing.assert_allclose(found.predict(content)[FIRST_ROW:], expected[FIRST_ROW:], atol=2e-3)
    assert found.settings.penalty == 0.3
    np.testing.assert_allclose(found.mean, ids[ROWS].mean(axis=0), rtol=1e-5)


def test_the_penalty_is_the_one_whose_refits_without_an_item_give_scores_most_like_its_own() -> None:
    ids, content = planted(noise=3.0)
    rows, looks = ROWS[:25], {"visual": content["visual"]}
    gram = np.diag([9.0, 1.0, 0.0])  # No user's score depends on the third number of an id.
    found = fitted(ids, looks, rows, gram=gram)
    correlations = []
    for penalty in InitialConfig().id_penalties:
        left_out = []
        for row in rows:
            # The centre and the landmarks stay those of all: only the item's own equation is left out.
            vectors = compared(looks, SCALES, found.settings.sizes).astype(np.float64)
            kernel = np.exp(-np.square(vectors[:, None] - vectors[rows]).sum(axis=2))
            values, axes = np.linalg.eigh(kernel[rows])
            features = kernel @ (axes / np.sqrt(values)) @ axes.T
            others = rows[rows != row]
            centred, targets = features - features[others].mean(axis=0), ids - ids[others].mean(axis=0)
            normal = centred[others].T @ centred[others] + penalty * np.eye(len(rows))
            left_out.append(centred[row] @ np.linalg.solve(normal, centred[others].T @ targets[others]))
        weighed = np.array(left_out) @ np.sqrt(gram)
        own = (ids[rows] - ids[rows].mean(axis=0)) @ np.sqrt(gram)
        correlations.append((weighed * own).sum() / np.linalg.norm(weighed))
    assert found.settings.penalty == InitialConfig().id_penalties[int(np.argmax(correlations))]


def test_fewer_landmarks_predict_nearly_as_well() -> None:
    ids, content = planted()
    known, new = ROWS[:200], ROWS[200:]
    found = fitted(ids, content, known, landmarks=60)
    assert found.landmarks.shape == (60, 2 * WIDTH) and found.coefficients.shape == (60, DIM)
    assert share_explained(ids[new], found.predict(content)[new]) > 0.8


def test_compared_vectors_have_the_length_of_their_modality_and_that_of_an_absent_one_is_0() -> None:
    content = {
        "visual": np.array([[3.0, 4.0], [0.0, 0.0]], np.float32),
        "acoustic": np.array([[2.0], [-5.0]], np.float32),
    }
    scales = {"visual": np.array([1.0, 0.0], np.float32), "acoustic": np.array([7.0], np.float32)}
    np.testing.assert_allclose(compared(content, scales, np.array([2.0, 0.5])), [[2, 0, 0.5], [0, 0, -0.5]])


def test_errors_count_by_the_scores_of_users_with_their_clicks_to_the_power() -> None:
    clicks = csr_matrix([[1.0, 1, 0], [0, 0, 1], [0, 0, 0]])
    histories = np.array([[1.0, 0], [3, 2], [0, 1]], np.float32)
    # Means [2, 1] of two clicks and [0, 1] of one; twice power 1/2 is the number of clicks.
    expected = 2 * np.outer([2, 1], [2, 1]) + np.outer([0, 1], [0, 1])
    np.testing.assert_allclose(score_gram(clicks, histories, 0.5), expected)


@pytest.mark.parametrize("rows", [ROWS[:0], ROWS[:1], ROWS[:2]])
def test_of_hardly_any_items_with_ids_the_prediction_is_their_mean(rows: np.ndarray) -> None:
    ids, content = planted()
    found = fitted(ids, content, rows)
    expected = ids[rows].mean(axis=0) if len(rows) else np.zeros(DIM)
    np.testing.assert_allclose(found.predict(content)[:FIRST_ROW], [expected] * FIRST_ROW, atol=np.ptp(ids[:, 0]))
    assert np.isfinite(found.predict(content)).all()


def test_without_any_content_the_prediction_is_the_mean_id() -> None:
    ids, content = planted()
    nothing = {name: np.zeros_like(vectors) for name, vectors in content.items()}
    found = fitted(ids, nothing).predict(nothing)
    np.testing.assert_allclose(found, np.broadcast_to(ids[ROWS].mean(axis=0), found.shape), atol=1e-3)


def test_where_all_content_is_the_same_the_prediction_is_the_mean_id() -> None:
    ids, content = planted()
    same = {name: np.broadcast_to(vectors[5], vectors.shape).copy() for name, vectors in content.items()}
    found = fitted(ids, same).predict(same)
    np.testing.assert_allclose(found, np.broadcast_to(ids[ROWS].mean(axis=0), found.shape), atol=1e-3)


@pytest.mark.parametrize("kind", ["absent", "constant", "nearly constant", "on hardly any item"])
def test_a_modality_that_tells_no_items_apart_does_not_count(kind: str) -> None:
    ids, content = planted()
    alone = fitted(ids, {"visual": content["visual"]}).predict({"visual": content["visual"]})
    other = np.zeros_like(content["acoustic"])
    if kind == "on hardly any item":
        other[5:10] = content["acoustic"][5:10]
    elif kind != "absent":
        noise = 1e-6 * (kind == "nearly constant") * np.random.default_rng(0).normal(size=other.shape)
        other[FIRST_ROW:] = (0.5 + noise[FIRST_ROW:]).astype(np.float32)
    both = {"visual": content["visual"], "acoustic": other}
    found = fitted(ids, both)
    assert found.settings.sizes[1] == 0
    assert share_explained(alone[FIRST_ROW:], found.predict(both)[FIRST_ROW:]) > 0.99


def test_items_that_lack_a_modality_and_those_that_have_it_are_predicted_from_one_another() -> None:
    ids, content = planted()
    content["acoustic"] = content["visual"].copy()  # Sounds say the same, on two items of five.
    content["acoustic"][np.random.default_rng(1).random(ITEMS) < 0.6] = 0
    known, new = ROWS[:200], ROWS[200:]
    found = fitted(ids, content, known)
    assert found.settings.sizes[1] < 2 * found.settings.sizes[0]
    assert share_explained(ids[new], found.predict(content)[new]) > 0.85


def test_many_items_are_predicted_in_blocks_like_few() -> None:
    ids, content = planted()
    found = fitted(ids, content)
    many = {name: np.tile(vectors, (30, 1)) for name, vectors in content.items()}
    np.testing.assert_allclose(found.predict(many), np.tile(found.predict(content), (30, 1)), rtol=1e-4, atol=1e-4)
