"""Implicit ALS (Hu et al. 2008): user and item factors of a click matrix, with the settings of Rendle et al. 2022.

Minimises sum_ui c_ui (p_ui - x_u . y_i)^2 + sum_u lambda |x_u|^2 + sum_i lambda |y_i|^2, where p is 1 for a click and
0 else and the confidence c is 1 + alpha for a click and 1 else, by turns over users and items: each turn is exact.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from scipy import sparse

from m3csr_tf.config import IalsConfig
from m3csr_tf.features.histories import length_groups
from m3csr_tf.util.progress import Tell
from m3csr_tf.util.threads import cores, each_worker, one_blas_thread

Csr: TypeAlias = sparse.csr_matrix | sparse.csr_array


_START = 0.1
"""Length, about, of the items' first vectors, as in Rendle et al. 2022; without clicks they stay zeros."""
_CELLS = 1 << 19
"""Entries of other vectors that a thread gathers at once."""


class Factors(NamedTuple):
    """float64 [users, factors] and [items, factors]; zeros without clicks."""

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
    start: np.ndarray | None = None,
    told: Tell | None = None,
) -> Factors:
    """The factors after `sweeps` turns of users and items each.

    Args:
      clicks: [users, items] of 1s.
      factors: width of the vectors.
      alpha, penalty, sweeps: see the module; `sweeps` are turns over both sides.
      seed: of the items' first vectors.
      start: those vectors float64 [items, factors], instead of a draw.
      told: told how many turns are done, and of how many.
    """
    by_user = sparse.csr_matrix(clicks)
    by_item = by_user.T.tocsr()
    if start is None:
        items = np.random.default_rng(seed).normal(0, _START / np.sqrt(factors), (by_item.shape[0], factors))
    else:
        items = start.copy()
    items[np.diff(by_item.indptr) == 0] = 0
    users = np.zeros((by_user.shape[0], factors))
    for sweep in range(sweeps):
        users = solve_side(by_user, items, alpha, penalty)
        items = solve_side(by_item, users, alpha, penalty)
        if told is not None:
            told(sweep + 1, sweeps)
    return Factors(users, items)


def solve_side(clicks: Csr, others: np.ndarray, alpha: float, penalty: float) -> np.ndarray:
    """The best vectors of one side, those of the other side fixed.

    With G = F'F + lambda I over all other vectors F and F_u those that were clicked, x = A^-1 (1 + alpha) F_u' 1 where
    A = G + alpha F_u' F_u. On the principal axes of F, G is diagonal, D; and x = D^-1 F_u' s, where s solves
    (I + alpha F_u D^-1 F_u') s = (1 + alpha) 1: as many equations as clicks, instead of factors, and no approximation.
    Whoever has more clicks than factors is solved as A says.

    Args:
      clicks: [n, m] of 1s.
      others: F, float64 [m, factors].
      alpha, penalty: see the module.

    Returns:
      float64 [n, factors]; zeros without clicks.
    """
    width = others.shape[1]
    with one_blas_thread():
        values, axes = np.linalg.eigh(others.T @ others)
        rotated = np.concatenate([others @ axes, np.zeros((1, width))])  # The last row pads.
    diagonal = np.maximum(values, 0) + penalty
    sizes = np.diff(clicks.indptr)
    solved = np.zeros((clicks.shape[0], width))
    rows = np.flatnonzero(sizes)
    groups = [rows[group] for group in length_groups(sizes[rows], max(1, _CELLS // width))]
    workers = max(1, min(cores(), len(groups)))

    def work(worker: int) -> None:
        for group in groups[worker::workers]:
            longest = sizes[group].max()
            slots = np.arange(longest)
            places = np.minimum(clicks.indptr[group][:, None] + slots, clicks.indptr[group + 1][:, None] - 1)
            clicked = np.where(slots < sizes[group][:, None], clicks.indices[places], len(others))
            theirs = rotated[clicked]
            if longest <= width:
                inner = alpha * (theirs / diagonal) @ theirs.transpose(0, 2, 1)
                inner += np.eye(longest)
                shares = np.linalg.solve(inner, np.full((len(group), longest, 1), 1.0 + alpha))
                solved[group] = (theirs.transpose(0, 2, 1) @ shares)[:, :, 0] / diagonal
            else:
                inner = alpha * theirs.transpose(0, 2, 1) @ theirs
                inner += np.diag(diagonal)
                solved[group] = np.linalg.solve(inner, (1 + alpha) * theirs.sum(axis=1)[:, :, None])[:, :, 0]

    each_worker(work, workers)
    return solved @ axes.T


def tries_ials(clicks: int, items: int, config: IalsConfig) -> bool:
    """Whether implicit ALS may take its time, once for each setting of its grid and once for each part.

    Args:
      clicks: training clicks of the whole log.
      items: of the catalogue.
      config: its most_clicks and most_items.
    """
    return items <= config.most_items and clicks <= config.most_clicks
