"""The ids that the towers of a version hold in their tables, read from beside them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from m3csr_tf.ids import IdTable

ITEM_VOCABULARY = "items.txt"
USER_VOCABULARY = "users.txt"


def vocabulary(tower: Path, name: str) -> IdTable | None:
    """The ids of a table of a SavedModel, in some 35 bytes an id; None where ids are hashed, and there is no table.

    Args:
      tower: the SavedModel's folder.
      name: ITEM_VOCABULARY or USER_VOCABULARY.
    """
    path = Path(tower) / "assets" / name
    if not path.exists():
        return None
    text = pa.array([path.read_bytes().decode("utf-8")], pa.large_string())
    return IdTable(pc.split_pattern(text, "\n").flatten()[:-1])
