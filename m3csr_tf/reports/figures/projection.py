"""t-SNE of content and id vectors, with a panel for each space (Figure 1 of the paper)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from m3csr_tf.reports.figures.style import MARKERS, SERIES, WIDTH, label, new_figure, styled

_LEAST = 10
"""Number of items below which a projection says nothing."""
_ITERATIONS = 500
_PERPLEXITY = 30.0


def project(vectors: np.ndarray, seed: int) -> np.ndarray:
    """Projects vectors onto a plane so that neighbours stay neighbours, by t-SNE (van der Maaten and Hinton, 2008).

    Distances are those of directions (cosine), because lengths of id and content vectors have no unit in common.

    Args:
      vectors: float [items, width], of at least 10 items.
      seed: the seed of the optimisation.

    Returns:
      The places, float32 [items, 2].

    Raises:
      ValueError: there are fewer items, or a vector is not finite.
    """
    if len(vectors) < _LEAST:
        raise ValueError(f"t-SNE of {len(vectors)} items says nothing; expected at least {_LEAST}")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = (vectors / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
    search = TSNE(
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        init="pca" if vectors.shape[1] > 1 else "random",
        max_iter=_ITERATIONS,
        random_state=seed,
    )
    with threadpool_limits(1):  # For so few items, waiting threads take longer than the work.
        return search.fit_transform(directions).astype(np.float32)


def groups_of(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Returns k-means groups of directions, int [items], by which the points of all panels are coloured."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    with threadpool_limits(1):
        return KMeans(min(count, len(vectors)), n_init=4, random_state=seed).fit_predict(directions)


@styled
def projection(panels: Mapping[str, np.ndarray], groups: np.ndarray) -> Figure:
    """Draws the panels side by side, two in a row; an item has the same colour and marker in each.

    Args:
      panels: title -> places of the items, float [items, 2], with the same items in each.
      groups: the group of each item, int [items]; there are fewer groups than colours.
    """
    rows = -(-len(panels) // 2)
    columns = min(2, len(panels))
    figure = new_figure(WIDTH, 0.3 + rows * (2.4 if columns == 2 else 4.0))
    for axes, (title, places) in zip(figure.subplots(rows, columns, squeeze=False).flat, panels.items(), strict=False):
        for group in np.unique(groups):
            some = places[groups == group]
            axes.scatter(*some.T, s=7, linewidths=0, color=SERIES[group], marker=MARKERS[group], alpha=0.85)
        axes.set_title(label(title))
        axes.set_xlabel("t-SNE, first axis")
        axes.set_ylabel("t-SNE, second axis")
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in figure.axes[len(panels) :]:
        axes.remove()
    return figure
