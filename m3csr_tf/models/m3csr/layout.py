"""Where each part of a vector lies: the id, each modality, popularity, so that a score is a sum of parts."""

from __future__ import annotations

from collections.abc import Sequence

from m3csr_tf.config import M3CSRConfig

ID_PART = "id"
POPULARITY_PART = "popularity"
_POPULARITY_WIDTH = 2


def modal_width(model: M3CSRConfig) -> int:
    """Width h of one modality's representation (equation 2): 2d, or d with model.width=half."""
    return 2 * model.dim if model.width == "full" else model.dim


def parts(model: M3CSRConfig, modalities: Sequence[str]) -> dict[str, slice]:
    """Slices of a user or item vector: "id" and the modalities in order (equations 9 and 11), then "popularity".

    The last are two numbers: the user's history weight times what the item's content says of popularity, and 1 times
    what its popularity bin alone is worth (`ItemTower`, `UserTower`).
    """
    width = modal_width(model)
    slices = {ID_PART: slice(0, model.id_width)}
    for position, modality in enumerate(modalities):
        start = model.id_width + position * width
        slices[modality] = slice(start, start + width)
    if model.popularity_bias:
        width = vector_width(model, modalities)
        slices[POPULARITY_PART] = slice(width - _POPULARITY_WIDTH, width)
    return slices


def vector_width(model: M3CSRConfig, modalities: Sequence[str]) -> int:
    """Width of user and item vectors: d + h * |M|, and 2 for popularity."""
    return model.id_width + modal_width(model) * len(modalities) + _POPULARITY_WIDTH * int(model.popularity_bias)
