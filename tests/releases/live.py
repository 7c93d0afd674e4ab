"""What tests of live releases give them, and do to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from m3csr_tf import columns
from m3csr_tf.releases.release import Release


def videos(release: Release, *ids: str, seed: int = 0) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """New videos with random content."""
    rng = np.random.default_rng(seed)
    content = {
        name: rng.normal(size=(len(ids), width)).astype(np.float32) for name, width in release.modalities.items()
    }
    return pd.DataFrame({columns.ITEM_ID: pd.Series(ids, dtype=object)}), content


def users(*histories: list[str]) -> pd.DataFrame:
    """Users whom no tower knows."""
    ids = [f"somebody {number}" for number in range(len(histories))]
    return pd.DataFrame({columns.USER_ID: ids, columns.HISTORY: pd.Series(list(histories), dtype=object)})


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
