"""Where each part of a vector lies: the id, each modality, popularity, so that a score is a sum of parts."""

from __future__ import annotations

from collections.abc import Sequence

from m3csr_tf.config import ModelConfig

ID_PART = "id"
POPULARITY_PART = "popularity"


def modal_width(model: ModelConfig) -> int:
    """Width h of one modality's representation (equation 2): 2d, or d with model.width=half."""
    return 2 * model.dim if model.width == "full" else model.dim


def parts(model: ModelConfig, modalities: Sequence[str]) -> dict[str, slice]:
    """Slices of a user or item vector: "id" and the modalities in order (equations 9 and 11), then "popularity".

    The last is one number: the user's is 1 and the item's what its popularity bin alone is worth (`ItemTower`).
    """
    width = modal_width(model)
    slices = {ID_PART: slice(0, model.dim)}
    for position, modality in enumerate(modalities):
        start = model.dim + position * width
        slices[modality] = slice(start, start + width)
    if model.popularity_bias:
        slices[POPULARITY_PART] = slice(vector_width(model, modalities) - 1, vector_width(model, modalities))
    return slices


def vector_width(model: ModelConfig, modalities: Sequence[str]) -> int:
    """Width of user and item vectors: d + h * |M|, and 1 for popularity."""
    return model.dim + modal_width(model) * len(modalities) + int(model.popularity_bias)
