"""Chooses the kind of index by the configuration, or by what a saved index says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from m3csr_tf.config import IndexConfig
from m3csr_tf.errors import ReleaseError
from m3csr_tf.index.base import ItemIndex
from m3csr_tf.index.exact import ExactIndex
from m3csr_tf.index.scann_index import SETTINGS, ScannIndex, read_settings
from m3csr_tf.index.tree import FEWEST_ITEMS, TreeIndex
from m3csr_tf.util.quoting import quoted

KINDS: dict[str, type[ScannIndex]] = {kind.kind: kind for kind in (ExactIndex, TreeIndex)}


def build_index(
    ids: Sequence[str] | np.ndarray,
    vectors: np.ndarray,
    config: IndexConfig,
    queries: np.ndarray | None = None,
) -> ItemIndex:
    """Builds the index that `config` asks for; the kind `auto` is exact up to `exact_below` items, and a tree beyond.

    Args:
      ids: distinct ids.
      vectors: float32 [ids, width].
      config: the kind of index, and the recall that a tree must reach.
      queries: sample user vectors, float32 [queries, width]. One half of them decides how widely a tree is searched,
        and its recall is measured on the other half.

    Raises:
      ValueError: for the same reasons as in `ItemIndex.upsert`, a tree is asked for over fewer than 16 items, or its
        recall on the held-out half of the queries is below `config.recall`.
    """
    tree = config.kind == "tree" or (config.kind == "auto" and len(ids) > max(config.exact_below, FEWEST_ITEMS))
    if tree:
        return TreeIndex.build(ids, vectors, config.recall, config.recall_at, queries, config.max_leaves_to_search)
    return ExactIndex.build(ids, vectors, config.recall_at)


def load_index(folder: Path) -> ItemIndex:
    """Loads a saved index of any kind.

    Raises:
      ReleaseError: the folder lacks a file, its files do not belong together, or the kind is unknown.
    """
    kind = read_settings(folder).get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ReleaseError(
            f"{Path(folder) / SETTINGS}: unknown kind of index {quoted(kind)}, expected one of {sorted(KINDS)}"
        )
    return KINDS[kind].load(folder)
