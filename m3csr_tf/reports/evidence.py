"""What the figures of a run need beyond its files: plain arrays that a caller who can open the model takes from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Evidence:
    """Arrays and tables of one run; what its model lacks is None, and `lacking` says why.

    Attributes:
      vectors: space ("visual", .., "id") -> the vectors of the same drawn items, float [items, width].
      vector_ids: the ids of these items.
      curves: columns `subset`, `n`, `recall`, `ndcg`, as returned by `evaluation.subsets.curves_by_subset`.
      curve_users: number of test users over whose lists the curves are means.
      intensities: float [users, modalities] of drawn users, indexed by user id.
      by_popularity: columns `bin`, `clicks` and one for each system: the share of held-out clicks that its lists found.
      gate: columns `bin`, `items`, `gate`: the weight of content by popularity bin.
      counted: what the popularity bins count, e.g. "training clicks".
      histories: user id -> item rows int [slots], oldest first, for the users of the case study.
      lists: exact lists of these users, as `retrieve` writes lists, where they were asked for (`experiment_evidence`).
      case_intensities: user id -> modality -> intensity, for the same users.
      lacking: figure -> a sentence that says why it is left out.
    """

    vectors: dict[str, np.ndarray] | None = None
    vector_ids: list[str] = field(default_factory=list)
    curves: pd.DataFrame | None = None
    curve_users: int = 0
    intensities: pd.DataFrame | None = None
    by_popularity: pd.DataFrame | None = None
    gate: pd.DataFrame | None = None
    counted: str = "training clicks"
    histories: dict[str, np.ndarray] = field(default_factory=dict)
    lists: pd.DataFrame | None = None
    case_intensities: dict[str, dict[str, float]] = field(default_factory=dict)
    lacking: dict[str, str] = field(default_factory=dict)
