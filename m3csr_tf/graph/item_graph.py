"""The item graph: for each item a distribution over the items that its users may click next.

It mixes random walks of several lengths, neighbours by content, and popularity. It needs no training, and on short
histories it ranks about as well as any model of clicks. Id embeddings can be initialised from it (`graph.factors`), and
training can imitate it (`training.walk_positives`), which is distillation from a teacher whose scores for users are
never computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.config import ItemGraphConfig
from m3csr_tf.graph.walks import content_neighbours, item_walk, joined_content, pruned_product
from m3csr_tf.util.progress import ProgressCallback, share


@dataclass(frozen=True)
class ItemGraph:
    """The distribution of the next item after each item.

    With probability `popularity_share` the next item is drawn by popularity, otherwise from the row of the item.

    Attributes:
      items: sparse float32 [items, items]; a row sums to 1, or to 0 where nothing is known about the item.
      popularity: float32 [items], summing to 1; the clicks of each user are weighted to sum to 1.
      popularity_share: the probability of a draw by popularity.
    """

    items: sparse.csr_matrix
    popularity: np.ndarray
    popularity_share: float

    @classmethod
    def of(
        cls,
        clicks: sparse.csr_matrix,
        content: Mapping[str, np.ndarray],
        config: ItemGraphConfig,
        on_progress: ProgressCallback | None = None,
    ) -> ItemGraph:
        """Estimates the graph from clicks and content.

        Random walks of 3, 5, 7, ... steps (user to item to user to item) are mixed in equal parts, and then with
        neighbours by content in the share of the settings.

        Args:
          clicks: binary [users, items] training clicks.
          content: modality -> raw vectors float [items, width]; a row of NaN is absent.
          config: number of walks, shares, and how many items a row keeps.
          on_progress: progress callback, which gets the percentage that is done.
        """
        of = 2 + config.walks  # Parts of the work: two single walks, the walks beyond the first, and content.
        keep = config.neighbours
        first = normalize(
            item_walk(clicks, 1.0, config.popularity_exponent, keep, on_progress=share(on_progress, 0, of)), norm="l1"
        )
        onward = item_walk(
            clicks, 1.0, 0.0, keep, user_exponent=config.user_exponent, on_progress=share(on_progress, 1, of)
        )
        onward = normalize(onward, norm="l1")
        walked, mixed = first, first
        for step in range(1, config.walks):
            walked = normalize(pruned_product(walked, onward, keep, share(on_progress, 1 + step, of)), norm="l1")
            mixed = mixed + walked
        mixed = normalize(mixed, norm="l1")
        clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
        if config.content_share:
            # Items without a click are left out: no click could have shown yet that users go on to them, so a link
            # would only be a bonus for being new.
            alike = content_neighbours(joined_content(content, clicked), on_progress=share(on_progress, of - 1, of))
            alike = alike @ sparse.diags(clicked.astype(np.float32))
            mixed = (1 - config.content_share) * mixed + config.content_share * normalize(alike, norm="l1")
        popularity = np.asarray(normalize(clicks, norm="l1").sum(axis=0)).ravel()
        items = normalize(mixed.tocsr(), norm="l1").astype(np.float32)
        items.sort_indices()
        return cls(items, (popularity / popularity.sum()).astype(np.float32), config.popularity_share)
