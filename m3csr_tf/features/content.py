"""Scaling of the content vectors: fitted on the training items, repeated inside the item tower's graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

Scaling = Literal["none", "rms", "standard", "l2", "standard_l2"]

_CONSTANT = 1e-6
"""A dimension whose spread is below this share of its size counts as constant."""


@dataclass(frozen=True)
class ContentScaler:
    """x' = (x - shift) * scale and then, with `l2`, x' / |x'|; an absent vector becomes zeros.

    | kind | shift | scale | l2 |
    | --- | --- | --- | --- |
    | none | 0 | 1 | no |
    | rms | 0 | one number a modality: entries of the training items have a root mean square of 1 | no |
    | standard | mean of each dimension | 1 / standard deviation; 0 for a dimension that is constant | no |
    | l2 | 0 | 1 | yes |
    | standard_l2 | as standard | as standard | yes |

    Attributes:
      shift, scale: modality -> float32 [width].
      l2: whether rows are brought to length 1 at the end; a row of zeros stays zeros.
    """

    shift: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    l2: bool

    @classmethod
    def fit(cls, kind: Scaling, content: Mapping[str, np.ndarray], rows: np.ndarray) -> ContentScaler:
        """Fits one shift and scale a modality.

        Args:
          kind: see the class.
          content: modality -> raw vectors float [n, width]; a row of NaN is absent and left out.
          rows: the items to fit on, bool [n] or indices.
        """
        shift, scale = {}, {}
        for name, raw in content.items():
            vectors = np.asarray(raw[rows], np.float64)
            vectors = vectors[~np.isnan(vectors).any(axis=1)]
            shift[name], scale[name] = _shift_and_scale(kind, vectors)
        return cls(shift=shift, scale=scale, l2=kind in {"l2", "standard_l2"})

    def transform(self, modality: str, raw: np.ndarray) -> np.ndarray:
        """Scales the raw vectors [n, width] of one modality, float32 [n, width]; a row of NaN becomes zeros."""
        scaled = (np.asarray(raw, np.float32) - self.shift[modality]) * self.scale[modality]
        scaled[np.isnan(raw).any(axis=1)] = 0
        if self.l2:
            norms = np.linalg.norm(scaled, axis=1, keepdims=True)
            scaled = np.divide(scaled, norms, out=scaled, where=norms > 0)
        return scaled

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        arrays = {f"{name}_shift": values for name, values in self.shift.items()}
        arrays |= {f"{name}_scale": values for name, values in self.scale.items()}
        np.savez(
            path,
            allow_pickle=False,
            modalities=np.array(list(self.shift), dtype=np.str_),
            l2=np.array(self.l2),
            **arrays,
        )

    @classmethod
    def load(cls, path: Path) -> ContentScaler:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            names = [str(name) for name in stored["modalities"]]
            return cls(
                shift={name: stored[f"{name}_shift"] for name in names},
                scale={name: stored[f"{name}_scale"] for name in names},
                l2=bool(stored["l2"]),
            )


def _shift_and_scale(kind: Scaling, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = vectors.shape[1]
    shift, scale = np.zeros(width), np.ones(width)
    if len(vectors) and kind == "rms":
        size = np.sqrt(np.mean(vectors**2))
        scale[:] = 1 / size if size > 0 else 1
    elif len(vectors) and kind in {"standard", "standard_l2"}:
        shift, spread = vectors.mean(axis=0), vectors.std(axis=0)
        # A huge scale on a dimension that never varied in training would let one odd new video blow up its tower.
        varies = spread > _CONSTANT * np.maximum(np.abs(shift), np.finfo(np.float32).tiny)
        scale = np.divide(1, spread, out=np.zeros(width), where=varies)
    return shift.astype(np.float32), scale.astype(np.float32)
