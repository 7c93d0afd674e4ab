"""Simple rivals that give user and item vectors, as the towers do, and so are ranked by the same code."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf import columns
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import InputError
from m3csr_tf.evaluation import metrics
from m3csr_tf.evaluation.ranking import Csr, Matrix, top_n
from m3csr_tf.features.content import ContentScaler
from m3csr_tf.features.histories import click_matrix
from m3csr_tf.features.walks import content_neighbours, item_walk, joined_content
from m3csr_tf.ids import FIRST_ROW
from m3csr_tf.threads import one_blas_thread

PENALTIES = tuple(np.geomspace(1e-2, 1e2, 9).tolist())
"""Ridge penalties tried, a training item: lambda = penalty * items."""

SMOOTHED, DIRECT = 0.1, 0.05
"""What content neighbours add to a walk: their own scores, and their being in the history (see `rp3beta_content`)."""

_JUDGED_AT = 20
_HELD_OUT = 0.2  # Share of the training items that plays cold in a draw.
_MOST_JUDGES = 4000  # Users of a draw: enough for a standard error of Recall@20 below 0.005.


class Vectors(NamedTuple):
    """User and item vectors by row, reserved rows included: float32 [users, dim] and [items, dim], of one kind.

    Those of users may be anything that gives some rows' by `user_vectors[rows]`.
    """

    user_vectors: Any
    item_vectors: Matrix


def popularity(prepared: Prepared) -> Vectors:
    """The same list for everybody: items by training clicks."""
    clicks = prepared.train_clicks.astype(np.float32)
    return Vectors(np.ones((len(prepared.users), 1), np.float32), clicks[:, None])


def random_order(prepared: Prepared) -> Vectors:
    """Chance: zero vectors, so that every score ties and ties are broken at random."""
    return Vectors(np.zeros((len(prepared.users), 1), np.float32), np.zeros((len(prepared.items), 1), np.float32))


def true_utilities(prepared: Prepared) -> Vectors:
    """The synthetic world's own utilities: the ceiling that no model can be expected to pass.

    Raises:
      InputError: the data is real, so that nobody knows its truth.
    """
    truth = prepared.truth()
    if truth is None:
        raise InputError(f"{prepared.folder}: no truth.npz, since only data.format=world knows its truth; leave it out")
    return Vectors(_with_reserved_rows(truth["user_utilities"]), _with_reserved_rows(truth["item_utilities"]))


def rp3beta(prepared: Prepared) -> Vectors:
    """Walks from the history over other users to other items: what clicks alone say, with nothing to train.

    Source: Paudel et al. 2016 (see `item_walk`), the strongest rival of published models in Ferrari Dacrema et al.
    2019. A user's vector is her history, an item's the weights that lead to it.
    """
    clicks = _train_clicks(prepared)
    return _item_scores(clicks, item_walk(clicks))


def rp3beta_content(prepared: Prepared) -> Vectors:
    """`rp3beta` and content: an item is helped by the scores of its content neighbours, and by those in the history.

    With H the histories, W the walk and N the content neighbours, rows of W and N of sum 1, the scores are
    S + SMOOTHED S N' + DIRECT H N where S = H W; as weights from item to item, W + SMOOTHED W N' + DIRECT N. Averaging
    the histories would scale all scores of a user alike, so they stay sums.
    """
    clicks = _train_clicks(prepared)
    walk = normalize(item_walk(clicks), norm="l1")
    alike = content_neighbours(joined_content(prepared.content, np.flatnonzero(prepared.train_clicks)))
    return _item_scores(clicks, walk + SMOOTHED * (walk @ alike.T) + DIRECT * alike)


def ridge(prepared: Prepared, *, draws: int = 5, seed: int = 0) -> Vectors:
    """One linear model a user from content to clicks: what content alone says, cold items included.

    Over the training items, B = (X'X + lambda I)^-1 X'Y with X the content, standardised a dimension, modalities
    concatenated, zeros where absent, and Y their clicks by user. X is centred, so the intercepts (one a user, which
    cannot change her ranking) need no solving. A user's vector is her column of B, an item's its row of X; a user
    without clicks gets zeros, and so a random list.

    Args:
      prepared: the data.
      draws: pseudo-cold draws that choose lambda (see `choose_penalty`).
      seed: of the draws.
    """
    clicks = _train_clicks(prepared)
    training = np.flatnonzero(prepared.train_clicks)
    scaler = ContentScaler.fit("standard", prepared.content, training)
    content = np.concatenate([scaler.transform(name, raw) for name, raw in prepared.content.items()], axis=1)
    penalty = choose_penalty(content[training], clicks[:, training], draws=draws, seed=seed)
    centre = content[training].mean(axis=0)
    return Vectors(fit_ridge(content[training], clicks[:, training], penalty), content - centre)


def fit_ridge(content: np.ndarray, clicks: Csr, penalty: float) -> np.ndarray:
    """The users' columns of B, transposed, float32 [users, width].

    Args:
      content: X, float32 [items, width]; centred here.
      clicks: Y', [users, items].
      penalty: lambda / items.
    """
    values, axes = _spectrum(content)
    projected = (clicks @ (content - content.mean(axis=0))) @ axes
    return ((projected / (values + penalty * len(content))) @ axes.T).astype(np.float32)


def choose_penalty(content: np.ndarray, clicks: Csr, *, draws: int, seed: int) -> float:
    """The penalty of PENALTIES with the best Recall@20 on items held out as if they were cold.

    Every draw takes a fifth of the items out of the fit, ranks them alone for users who clicked one, and judges every
    penalty on the same users. Several draws, because a single one is a poor judge of cold items. The mean over draws
    decides, and of equals the larger penalty.

    Args:
      content: X, float32 [items, width], training items only.
      clicks: their clicks, [users, items].
      draws: how many.
      seed: of the draws.
    """
    random = np.random.default_rng(seed)
    recalls = np.zeros(len(PENALTIES))
    for _ in range(draws):
        held_out = np.zeros(len(content), bool)
        held_out[random.choice(len(content), max(1, round(_HELD_OUT * len(content))), replace=False)] = True
        judges = np.flatnonzero(np.diff(clicks[:, held_out].indptr))
        judges = np.sort(random.choice(judges, min(len(judges), _MOST_JUDGES), replace=False))
        kept, truth = content[~held_out], clicks[judges][:, held_out]
        values, axes = _spectrum(kept)
        centre = kept.mean(axis=0)
        projected = (clicks[judges][:, ~held_out] @ (kept - centre)) @ axes
        items = (content[held_out] - centre) @ axes
        for place, penalty in enumerate(PENALTIES):
            users = projected / (values + penalty * len(kept))
            ranked = top_n(users.astype(np.float32), items, _JUDGED_AT, seed=seed)
            recalls[place] += metrics.per_user(ranked, truth, [_JUDGED_AT])[
                metrics.name(metrics.RECALL, _JUDGED_AT)
            ].mean()
    return PENALTIES[len(PENALTIES) - 1 - int(np.argmax(recalls[::-1]))]


def _spectrum(content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues [width] and eigenvectors [width, width] of the centred X'X: they solve for every penalty at once."""
    centred = content - content.mean(axis=0)
    with one_blas_thread():  # On busy cores BLAS threads wait for each other: seconds for what takes milliseconds.
        values, axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    return np.maximum(values, 0).astype(np.float32), axes.astype(np.float32)


def _train_clicks(prepared: Prepared) -> sparse.csr_matrix:
    return click_matrix(prepared.split(columns.TRAIN), len(prepared.users), len(prepared.items))


def _item_scores(histories: Csr, weights: Csr) -> Vectors:
    """Scores histories @ weights, float32 [users, items] @ [items, items], as products of sparse vectors."""
    return Vectors(histories, weights.T.tocsr())


def _with_reserved_rows(values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((FIRST_ROW, values.shape[1]), np.float32), values.astype(np.float32)])
