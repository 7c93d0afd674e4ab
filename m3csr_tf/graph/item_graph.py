"""How well items go together: walks of several lengths, similar content and popularity, as one distribution an item.

A click says that its user was at that item; `Affinities` says where such a user may go next. It needs no training,
ranks about as well as any model of clicks on short histories, and is what id embeddings start from (`graph.factors`)
and what training may imitate (`training.walk_positives`): distillation from a teacher that is never written out for
users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.preprocessing import normalize

from m3csr_tf.config import AffinitiesConfig
from m3csr_tf.graph.walks import content_neighbours, item_walk, joined_content, pruned_product
from m3csr_tf.util.progress import Tell, share


@dataclass(frozen=True)
class Affinities:
    """Where a user goes from an item: with chance `popular` to any item by popularity, else by the item's own row.

    Attributes:
      items: float32 [items, items]; a row sums to 1, or to 0 where nothing is known of the item.
      popularity: float32 [items] summing to 1, each user's clicks counting 1 together.
      popular: share of popularity.
    """

    items: sparse.csr_matrix
    popularity: np.ndarray
    popular: float

    @classmethod
    def of(
        cls,
        clicks: sparse.csr_matrix,
        content: Mapping[str, np.ndarray],
        config: AffinitiesConfig,
        told: Tell | None = None,
    ) -> Affinities:
        """Mixes walks of 3, 5, 7, ... steps (user to item to user to item) in equal parts with content neighbours.

        Args:
          clicks: binary [users, items] training clicks.
          content: modality -> raw vectors float [items, width]; a row of NaN is absent.
          config: lengths, shares, and how many items a row keeps.
          told: told how many percent are done.
        """
        of = 2 + config.walks  # Two single steps, the walks beyond the first, and content.
        keep = config.neighbours
        first = normalize(item_walk(clicks, 1.0, config.popularity_exponent, keep, told=share(told, 0, of)), norm="l1")
        onward = item_walk(clicks, 1.0, 0.0, keep, of_users=config.user_exponent, told=share(told, 1, of))
        onward = normalize(onward, norm="l1")
        walked, mixed = first, first
        for step in range(1, config.walks):
            walked = normalize(pruned_product(walked, onward, keep, share(told, 1 + step, of)), norm="l1")
            mixed = mixed + walked
        mixed = normalize(mixed, norm="l1")
        clicked = np.asarray(clicks.sum(axis=0)).ravel() > 0
        if config.similar:
            # Never to an item without a click: nobody could have been led there, and being new is no merit of its own.
            alike = content_neighbours(joined_content(content, clicked), told=share(told, of - 1, of))
            alike = alike @ sparse.diags(clicked.astype(np.float32))
            mixed = (1 - config.similar) * mixed + config.similar * normalize(alike, norm="l1")
        popularity = np.asarray(normalize(clicks, norm="l1").sum(axis=0)).ravel()
        items = normalize(mixed.tocsr(), norm="l1").astype(np.float32)
        items.sort_indices()
        return cls(items, (popularity / popularity.sum()).astype(np.float32), config.popular)
