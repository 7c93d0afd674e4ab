"""The layout of a vector: the slices of the id, of each modality and of popularity, whose scores are summed."""

from __future__ import annotations

from collections.abc import Sequence

from m3csr_tf.config import M3CSRConfig

ID_PART = "id"
POPULARITY_PART = "popularity"
_POPULARITY_WIDTH = 2


def modal_width(model: M3CSRConfig) -> int:
    """Returns the width h of one modality's representation (equation 2): 2d, or d with model.width=half."""
    return 2 * model.dim if model.width == "full" else model.dim


def parts(model: M3CSRConfig, modalities: Sequence[str]) -> dict[str, slice]:
    """Returns the slices of a vector: "id" and the modalities in order (equations 9 and 11), then "popularity".

    "popularity" has two entries. The user's history weight is multiplied by the item's content popularity, and the
    user's 1 by the number of the item's popularity bin (`ItemTower`, `UserTower`).
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
    """Returns the width of user and item vectors: d + h * |M|, plus 2 for popularity."""
    return model.id_width + modal_width(model) * len(modalities) + _POPULARITY_WIDTH * int(model.popularity_bias)
