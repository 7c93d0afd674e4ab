"""Logs whose ids, titles and addresses are as hostile as a catalogue allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from small_logs import Logs

HOSTILE = '<b onclick="x()">i0</b>&amp; $x_1'
"""The id of an item."""
TITLE = "</title><script>document.body.remove()</script> $\\frac"
"""The title of every item, with its number behind it."""
SETTINGS = {
    "model.dim": "4",
    "training.batch_size": "8",
    "training.max_steps": "4",
    "training.evaluate_every": "2",
    "negatives.count": "4",
    "evaluation.bootstrap": "20",
    "retrieve.top_n": "4",
}


def hostile_logs(root: Path) -> Logs:
    """Logs whose first item has a hostile id, and all of them hostile titles, a picture and an address."""
    logs = Logs(root)
    logs.overrides |= SETTINGS
    for frame in (logs.interactions, logs.catalogue):
        frame["item_id"] = frame["item_id"].replace("i0", HOSTILE)
    count = len(logs.catalogue)
    logs.catalogue["title"] = [f"{TITLE} {place}" for place in range(count)]
    logs.catalogue["image"] = ["cover.png", "../secret.png", "https://example.org/far.png", *["none.png"] * (count - 3)]
    logs.catalogue["url"] = [
        "javascript:alert(1)",
        *[f"https://example.org/watch?v={place}" for place in range(1, count)],
    ]
    colours = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(colours).save(logs.folder / "cover.png")
    Image.fromarray(colours).save(root / "secret.png")
    return logs
