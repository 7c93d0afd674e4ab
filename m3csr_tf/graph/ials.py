"""Implicit ALS (Hu et al. 2008): user and item factors of a click matrix, with the settings of Rendle et al. 2022.

It minimises sum_ui c_ui (p_ui - x_u . y_i)^2 + sum_u lambda |x_u|^2 + sum_i lambda |y_i|^2. The preference p is 1 for a
click and otherwise 0, and the confidence c is 1 + alpha w for a click of weight w and otherwise 1. User and item
factors are solved in alternation, each time exactly.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf.config import IalsConfig
from m3csr_tf.features.histories import length_groups
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.threads import cores, each_worker, one_blas_thread

Csr: TypeAlias = sparse.csr_matrix | sparse.csr_array


_START = 0.1
"""Expected length of the random initial item vectors, as in Rendle et al. 2022. Items without a click have zeros."""
_CELLS = 1 << 19
"""Largest number of entries of the other side's vectors that a thread gathers at once, which bounds its memory."""


class Factors(NamedTuple):
    """Factors of users and items.

    Attributes:
      users: float64 [users, factors]; zeros for users without a click.
      items: float64 [items, factors]; zeros for items without a click.
    """

    users: np.ndarray
    items: np.ndarray


def factorise(
    clicks: Csr,
    *,
    factors: int,
    alpha: float,
    penalty: float,
    sweeps: int,
    seed: int = 0,
    initial_items: np.ndarray | None = None,
    on_progress: ProgressCallback | None = None,
) -> Factors:
    """Factorises a click matrix.

    Args:
      clicks: sparse [users, items] of 1s, or of weights w above 0.
      factors: width of the vectors.
      alpha: the confidence that a click of weight 1 adds.
      penalty: lambda, the weight of the squared vectors.
      sweeps: how often users and then items are solved.
      seed: seed of the random initial item vectors.
      initial_items: initial item vectors float64 [items, factors]; None draws them at random.
      on_progress: progress callback, which gets the number of sweeps that are done and the number of all sweeps.
    """
    by_user = sparse.csr_matrix(clicks)
    by_item = by_user.T.tocsr()
    if initial_items is None:
        items = np.random.default_rng(seed).normal(0, _START / np.sqrt(factors), (by_item.shape[0], factors))
    else:
        items = initial_items.copy()
    items[np.diff(by_item.indptr) == 0] = 0
    users = np.zeros((by_user.shape[0], factors))
    for sweep in range(sweeps):
        users = solve_side(by_user, items, alpha, penalty)
        items = solve_side(by_item, users, alpha, penalty)
        if on_progress is not None:
            on_progress(sweep + 1, sweeps)
    return Factors(users, items)


def solve_side(clicks: Csr, others: np.ndarray, alpha: float, penalty: float) -> np.ndarray:
    """Computes the optimal vectors of one side (users or items) for fixed vectors of the other side.

    Let F be the vectors of the other side, F_u those that were clicked, W the diagonal matrix of the clicks' weights w,
    and G = F'F + lambda I. The solution is x = A^-1 F_u' (1 + alpha w) with A = G + alpha F_u' W F_u. On the principal
    axes of F, G is a diagonal matrix D, and x = D^-1 F_u' s, where s solves (I + alpha W F_u D^-1 F_u') s = 1 + alpha
    w. This exact form has one equation for each click instead of one for each factor. It is used for rows with no more
    clicks than factors; others are solved by A.

    Args:
      clicks: [n, m] of 1s, or of weights above 0.
      others: F, float64 [m, factors].
      alpha, penalty: as in `factorise`.

    Returns:
      float64 [n, factors]; zeros for rows without a click.
    """
    width = others.shape[1]
    with one_blas_thread():
        values, axes = np.linalg.eigh(others.T @ others)
        rotated = np.concatenate([others @ axes, np.zeros((1, width))])  # The row of zeros pads rows with fewer clicks.
    diagonal = np.maximum(values, 0) + penalty
    sizes = np.diff(clicks.indptr)
    solved = np.zeros((clicks.shape[0], width))
    rows = np.flatnonzero(sizes)
    # Clicks that all weigh 1 take the shorter formulas, which differ from the others in rounding alone.
    weights = None if (clicks.data == 1).all() else clicks.data.astype(np.float64)
    groups = [rows[group] for group in length_groups(sizes[rows], max(1, _CELLS // width))]
    workers = max(1, min(cores(), len(groups)))

    def work(worker: int) -> None:
        for group in groups[worker::workers]:
            longest = sizes[group].max()
            slots = np.arange(longest)
            positions = np.minimum(clicks.indptr[group][:, None] + slots, clicks.indptr[group + 1][:, None] - 1)
            clicked = np.where(slots < sizes[group][:, None], clicks.indices[positions], len(others))
            theirs = rotated[clicked]
            weight = None if weights is None else weights[positions][:, :, None]  # Those of padding meet zeros alone.
            if longest <= width:
                inner = alpha * (theirs / diagonal) @ theirs.transpose(0, 2, 1)
                if weight is not None:
                    inner *= weight
                inner += np.eye(longest)
                sides = np.full((len(group), longest, 1), 1.0 + alpha) if weight is None else 1 + alpha * weight
                shares = np.linalg.solve(inner, sides)
                solved[group] = (theirs.transpose(0, 2, 1) @ shares)[:, :, 0] / diagonal
            else:
                weighed = theirs if weight is None else weight * theirs
                inner = alpha * theirs.transpose(0, 2, 1) @ weighed
                inner += np.diag(diagonal)
                sums = (1 + alpha) * theirs.sum(axis=1) if weight is None else (theirs + alpha * weighed).sum(axis=1)
                solved[group] = np.linalg.solve(inner, sums[:, :, None])[:, :, 0]

    each_worker(work, workers)
    return solved @ axes.T


def tries_ials(clicks: int, items: int, config: IalsConfig) -> bool:
    """Returns whether the log is small enough for implicit ALS.

    ALS is fitted once for each setting of its grid, and once for each part of the users (`graph.cross_fitting`).

    Args:
      clicks: number of training clicks of the whole log.
      items: number of items of the catalogue.
      config: the section ials, of which most_clicks and most_items count.
    """
    return items <= config.most_items and clicks <= config.most_clicks
