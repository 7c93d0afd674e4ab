"""Where each part of a vector lies: the id part, then each modality, so that a score is a sum of parts."""

from __future__ import annotations

from collections.abc import Sequence

from m3csr_tf.config import ModelConfig

ID_PART = "id"


def modal_width(model: ModelConfig) -> int:
    """Width h of one modality's representation (equation 2): 2d, or d with model.width=half."""
    return 2 * model.dim if model.width == "full" else model.dim


def parts(model: ModelConfig, modalities: Sequence[str]) -> dict[str, slice]:
    """Slices of a user or item vector, by part (equations 9 and 11): "id", then the modalities in order."""
    width = modal_width(model)
    slices = {ID_PART: slice(0, model.dim)}
    for position, modality in enumerate(modalities):
        start = model.dim + position * width
        slices[modality] = slice(start, start + width)
    return slices


def vector_width(model: ModelConfig, modalities: Sequence[str]) -> int:
    """Width of user and item vectors: d + h * |M|."""
    return model.dim + modal_width(model) * len(modalities)
