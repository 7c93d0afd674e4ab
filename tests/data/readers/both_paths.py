"""A folder of raw input read the way of small logs and the way of logs larger than memory, which must agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from m3csr_tf import columns
from m3csr_tf.config import DataConfig
from m3csr_tf.data import formats
from m3csr_tf.data.partition import partition, read_bucket
from m3csr_tf.ids import IdTable

Clicks = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Read:
    """What was read: clicks as (user, item, and timestamp, weight, split where there are any), sorted."""

    clicks: Clicks
    items: list[str]
    content: dict[str, np.ndarray]
    counts: dict[str, int]


def read(folder: Path, **data: Any) -> Read:
    """The raw input of a folder, without repeated clicks; both ways where the layout has two."""
    tree = {"format": "table", "path": folder, "modalities": {"visual": "clip"}} | data
    with TemporaryDirectory() as into:
        raw = formats.read(DataConfig.model_validate(tree), Path(into))
        content = {name: np.array(vectors) for name, vectors in raw.catalogue.content.items()}
    items = raw.catalogue.frame[columns.ITEM_ID].tolist()
    names = [name for name in (columns.TIMESTAMP, columns.WEIGHT, columns.SPLIT) if name in raw.interactions]
    clicks = rows(raw.interactions, columns.ITEM_ID, names)
    larger = formats.larger_than_memory(DataConfig.model_validate(tree | {"in_memory_rows": 0}))
    if larger is not None:
        with TemporaryDirectory() as into:
            parts = partition(larger, IdTable(items), Path(into), larger.count(), 3, lambda done, of: None)
            frames = [read_bucket(file).to_pandas() for file in parts.files]
        streamed: Clicks = []
        for frame in frames:
            frame[columns.ITEM_ID] = IdTable(items).ids(frame[columns.ITEM_ROW].to_numpy())
            if columns.SPLIT in frame:
                frame[columns.SPLIT] = [columns.SPLITS[label] for label in frame[columns.SPLIT]]
            streamed += rows(frame, columns.ITEM_ID, names)
        assert sorted(streamed) == clicks
        assert parts.left_out.items() <= raw.counts.items()
    counts = {name: count for name, count in raw.counts.items() if count}
    return Read(clicks, items, content, counts)


def rows(frame: Any, item: str, names: list[str]) -> Clicks:
    """Rows of a frame, sorted."""
    return sorted(frame[[columns.USER_ID, item, *names]].itertuples(index=False, name=None))
