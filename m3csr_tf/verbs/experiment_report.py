"""The report of an experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from m3csr_tf.experiments.comparison.sheet import Sheet


def write_report(
    tree: Mapping[str, Any], sheets: Sequence[Sheet], drawn: Mapping[str, pd.DataFrame], finals: object, folder: Path
) -> Path | None:
    """TODO."""
    return None
