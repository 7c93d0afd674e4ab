"""Implicit ALS (Hu et al. 2008), with the settings that Rendle et al. 2022 found it to need.

Minimises sum_ui c_ui (p_ui - x_u . y_i)^2 + sum_u lambda |x_u|^2 + sum_i lambda |y_i|^2, where p is 1 for a click and
0 else and the confidence c is 1 + alpha for a click and 1 else, by turns over users and items: each turn is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from m3csr_tf.baselines.log import Baseline, Limits, Log, Settings
from m3csr_tf.evaluation.ranking import Csr, Vectors
from m3csr_tf.features.histories import length_groups
from m3csr_tf.threads import cores, each_worker, one_blas_thread

# Good penalties grow with alpha, so they are tried as multiples of it. Alphas of 80 and more matter: on logs of a few
# clicks a user they find a tenth more than 20 does, on logs of dozens a little less.
GRID: tuple[Settings, ...] = tuple(
    {"factors": 128, "alpha": alpha, "penalty": multiple * alpha, "sweeps": 15}
    for alpha, multiple in itertools.product((5, 20, 80, 320), (5, 4, 3, 1.5, 0.5))
)

_START = 0.1
"""Length, about, of the items' first vectors, as in Rendle et al. 2022; without clicks they stay zeros."""
_CELLS = 1 << 19
"""Entries of other vectors that a thread gathers at once."""


class Factors(NamedTuple):
    """float64 [users, factors] and [items, factors]; zeros without clicks."""

    users: np.ndarray
    items: np.ndarray


def fits(log: Log, grid: Sequence[Settings]) -> Iterator[Vectors]:
    """User and item factors, dense [users, factors] and [items, factors].

    Settings: `factors`; `alpha`, the confidence that a click adds; `penalty`, lambda; `sweeps` over both sides.
    """
    for settings in grid:
        found = factorise(log.clicks, **settings)
        yield Vectors(found.users.astype(np.float32), found.items.astype(np.float32))


def factorise(clicks: Csr, *, factors: int, alpha: float, penalty: float, sweeps: int, seed: int = 0) -> Factors:
    """The factors after `sweeps` turns of users and items each.

    Args:
      clicks: [users, items] of 1s.
      factors: width of the vectors.
      alpha, penalty, sweeps: see the module and `fits`.
      seed: of the items' first vectors.
    """
    by_user = sparse.csr_matrix(clicks)
    by_item = by_user.T.tocsr()
    items = np.random.default_rng(seed).normal(0, _START / np.sqrt(factors), (by_item.shape[0], factors))
    items[np.diff(by_item.indptr) == 0] = 0
    users = np.zeros((by_user.shape[0], factors))
    for _ in range(sweeps):
        users = solve_side(by_user, items, alpha, penalty)
        items = solve_side(by_item, users, alpha, penalty)
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


IALS = Baseline(fits, lambda log: GRID, limits=Limits(clicks=5_000_000))
