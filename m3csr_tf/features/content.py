"""Scaling of content vectors, fitted on the training items. The exported item tower repeats it inside its graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from m3csr_tf.config import ContentConfig
from m3csr_tf.features.blocks import take
from m3csr_tf.util.progress import ProgressCallback
from m3csr_tf.util.samples import sample

Scaling = Literal["none", "rms", "standard", "l2", "standard_l2", "whitened"]

FITTED_ROWS = 100_000
"""Largest number of items that a scaler is fitted on; a seeded sample of more items is precise enough."""
_CONSTANT = 1e-6
"""A dimension counts as constant if its standard deviation is below this share of its mean."""
_SMALLEST = float(np.finfo(np.float32).tiny)
"""Smallest standard deviation whose reciprocal fits float32."""
_WIDE = 4096
"""Width beyond which the principal axes of fewer items than dimensions are computed from the dot products of items. The
covariance of the dimensions would take minutes."""
_NOISE = 1e-10
"""A variance below this share of the largest one counts as 0, since rounding alone can cause it."""


@dataclass(frozen=True)
class ContentScaler:
    """Scales content: x' = (x - shift) * scale, then P^T x' if there is a projection P, then x' / |x'| with `l2`.

    The scaled vector of an absent modality is zeros.

    | kind | shift | scale | l2 |
    | --- | --- | --- | --- |
    | none | 0 | 1 | no |
    | rms | 0 | one number for each modality, which makes the root mean square over the training items 1 | no |
    | standard | mean of each dimension | 1 / standard deviation; 0 for a constant dimension | no |
    | l2 | 0 | 1 | yes |
    | standard_l2 | as standard | as standard | yes |
    | whitened | as standard | as standard | yes |

    Only `whitened` has a projection. It projects on the strongest `components` principal axes of the standardised
    training items, each divided by its standard deviation, which is shrunk (`fit`). The cosine of whitened vectors is
    the similarity that a ridge regression on content uses, in which directions of large variance over all items count
    for little.

    Attributes:
      shift, scale: modality -> float32 [width].
      projection: modality -> float32 [width, components]; empty but for `whitened`.
      l2: whether vectors are scaled to length 1 at the end; a vector of zeros stays zeros.
    """

    shift: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]
    projection: dict[str, np.ndarray]
    l2: bool

    @classmethod
    def fit(
        cls,
        kind: Scaling,
        content: Mapping[str, np.ndarray],
        item_rows: np.ndarray,
        components: int = 64,
        seed: int = 0,
        on_progress: ProgressCallback | None = None,
        shrinkage: float = ContentConfig().shrinkage,
    ) -> ContentScaler:
        """Fits shift, scale and projection of each modality.

        Args:
          kind: as in the table of the class.
          content: modality -> raw vectors float [n, width], which may be mapped from files; a row with a NaN is absent
            and left out.
          item_rows: bool [n] or indices, the items to fit on; of more than FITTED_ROWS a seeded sample is taken.
          components: largest number of axes of `whitened`; a narrower modality keeps its width.
          seed: seed of the sample.
          on_progress: progress callback, which gets the number of modalities that are done and of all modalities.
          shrinkage: for `whitened`, the share of the mean variance that is added to the variance of each axis, since
            weak axes are mostly noise.
        """
        shift, scale, projection = {}, {}, {}
        chosen = sample(np.flatnonzero(item_rows) if item_rows.dtype == bool else item_rows, FITTED_ROWS, seed)
        for position, (name, raw) in enumerate(content.items(), start=1):
            vectors = take(raw, chosen).astype(np.float64)
            vectors = vectors[~np.isnan(vectors).any(axis=1)]
            shift[name], scale[name] = _shift_and_scale(kind, vectors)
            if kind == "whitened":
                projection[name] = _whitening((vectors - shift[name]) * scale[name], components, shrinkage)
            if on_progress is not None:
                on_progress(position, len(content))
        return cls(shift=shift, scale=scale, projection=projection, l2=kind in {"l2", "standard_l2", "whitened"})

    def width(self, modality: str) -> int:
        """Returns the width of a modality's scaled vectors."""
        return (self.projection[modality] if self.projection else self.shift[modality][None]).shape[1]

    def spreads(self, modality: str) -> np.ndarray:
        """Returns the standard deviations by which `whitened` divides the principal axes, float32 [width].

        They are ones for the other kinds, which divide no axis. An axis that is projected to zeros has 0.
        """
        if not self.projection:
            return np.ones(self.width(modality), np.float32)
        # An axis has length 1 before it is divided.
        lengths = np.linalg.norm(self.projection[modality], axis=0)
        return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)

    def transform(self, modality: str, raw: np.ndarray) -> np.ndarray:
        """Scales vectors of one modality.

        Args:
          modality: name of the modality.
          raw: float [n, raw width]; a row with a NaN is absent.

        Returns:
          float32 [n, width]; zeros where absent.
        """
        scaled = (np.asarray(raw, np.float32) - self.shift[modality]) * self.scale[modality]
        scaled[np.isnan(raw).any(axis=1)] = 0
        if self.projection:
            scaled = scaled @ self.projection[modality]
        if self.l2:
            norms = np.linalg.norm(scaled, axis=1, keepdims=True)
            scaled = np.divide(scaled, norms, out=scaled, where=norms > 0)
        return scaled

    def save(self, path: Path) -> None:
        """Writes shift, scale, projection and l2 to an .npz file, which holds no pickle."""
        arrays = {f"{name}_shift": values for name, values in self.shift.items()}
        arrays |= {f"{name}_scale": values for name, values in self.scale.items()}
        arrays |= {f"{name}_projection": values for name, values in self.projection.items()}
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
                projection={name: stored[key] for name in names if (key := f"{name}_projection") in stored},
                l2=bool(stored["l2"]),
            )


@dataclass(frozen=True)
class ScaledContent:
    """The scaled vectors of one modality, of which rows are computed when they are taken.

    Clusters are fitted on it, so that the scaled content of a large catalogue is never in memory as a whole.

    Attributes:
      scaler: a fitted scaler.
      modality: name of the modality.
      raw: float [n, raw width], which may be mapped from a file.
    """

    scaler: ContentScaler
    modality: str
    raw: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Number and width of the scaled vectors, [n, width]."""
        return len(self.raw), self.scaler.width(self.modality)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Returns the scaled vectors of `rows`, which must ascend, float32 [rows, width]."""
        return self.scaler.transform(self.modality, take(self.raw, rows))


def _shift_and_scale(kind: Scaling, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns shift and scale of the kind, float32 [width] each, for vectors float64 [items, width] without NaN."""
    width = vectors.shape[1]
    shift, scale = np.zeros(width), np.ones(width)
    if len(vectors) and kind == "rms":
        size = np.sqrt(np.mean(vectors**2))
        scale[:] = 1 / size if size > _SMALLEST else 1
    elif len(vectors) and kind in {"standard", "standard_l2", "whitened"}:
        shift, spread = vectors.mean(axis=0), vectors.std(axis=0)
        # If a dimension that is constant in training had a huge scale, a new video that differs in it would get an
        # enormous vector.
        varies = spread > np.maximum(_CONSTANT * np.abs(shift), _SMALLEST)
        scale = np.divide(1, spread, out=np.zeros(width), where=varies)
    return shift.astype(np.float32), scale.astype(np.float32)


def _whitening(standardised: np.ndarray, components: int, shrinkage: float) -> np.ndarray:
    """Computes the strongest principal axes, each divided by its shrunk standard deviation.

    Args:
      standardised: float64 [items, width].
      components: largest number of axes.
      shrinkage: share of the mean variance that is added to the variance of each axis.

    Returns:
      float32 [width, components], or [width, width] where the width is smaller.
    """
    if standardised.shape[1] > max(_WIDE, len(standardised)):
        variances, axes = _few_items_axes(standardised, components)
    else:
        covariance = standardised.T @ standardised / max(1, len(standardised))
        variances, axes = np.linalg.eigh(covariance)
        strongest = np.argsort(variances)[::-1][:components]
        variances, axes = np.maximum(variances[strongest], 0), axes[:, strongest]
    spread = np.sqrt(variances + shrinkage * variances.mean())
    # The sign of an eigenvector is arbitrary. Its largest entry is made positive, so that all libraries give the same.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return np.divide(axes, spread, out=np.zeros_like(axes), where=spread > 0).astype(np.float32)


def _few_items_axes(standardised: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Computes principal axes of fewer vectors than dimensions.

    Returns:
      Variances [components], descending, and axes [width, components]. Axes beyond the rank of the vectors are zeros,
      since any others would be arbitrary.
    """
    items, width = standardised.shape
    count = min(width, components)
    found, item_axes = np.linalg.eigh(standardised @ standardised.T / max(1, items))
    strongest = np.argsort(found)[::-1][:count]
    strongest = strongest[found[strongest] > _NOISE * found.max(initial=0)]
    variances, axes = np.zeros(count), np.zeros((width, count))
    variances[: len(strongest)] = found[strongest]
    axes[:, : len(strongest)] = standardised.T @ item_axes[:, strongest] / np.sqrt(items * found[strongest])
    return variances, axes
