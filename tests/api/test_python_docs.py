"""docs/python.md, the README and the notebook: what they show runs from top to bottom."""

from __future__ import annotations

import functools
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import m3csr_tf as m3
from m3csr_tf.config import WorldConfig
from m3csr_tf.data.world import make_world

ROOT = Path(m3.__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SMALL = {
    "model.dim": 8,
    "clusters.count": 8,
    "negatives.count": 32,
    "training.max_steps": 4,
    "training.evaluate_every": 2,
    "evaluation.bootstrap": 0,
}
SECONDS = 180
"""Of processor time that the notebook may take: on two cores, that is at least half of its time on the clock."""


def snippet(page: Path, heading: str) -> str:
    """The first block of Python below a heading."""
    return page.read_text(encoding="utf-8").split(f"{heading}\n")[1].split("```python\n")[1].split("```")[0]


def test_the_calls_of_the_pages_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(m3, "train", functools.partial(m3.train, settings=SMALL))  # The pages' takes minutes.
    world = make_world(WorldConfig(users=150, items=120, clicks=1500, modalities={"visual": 12, "acoustic": 5}))
    videos = world.catalogue.frame[["item_id"]].copy()
    for name, vectors in world.catalogue.content.items():
        videos[name] = list(np.nan_to_num(vectors))
    known = {"clicks": world.interactions[["user_id", "item_id", "timestamp"]], "videos": videos}
    known["users"] = pd.DataFrame({"user_id": ["u001"], "history": [["v001"]]})
    known["new_videos"] = videos.iloc[:2].assign(item_id=["n1", "n2"])
    for page, heading in ((ROOT / "docs" / "python.md", "# The Python API"), (ROOT / "README.md", "## From Python")):
        names: dict[str, Any] = dict(known)
        exec(compile(snippet(page, heading), str(page), "exec"), names)
        assert names["release"].version == 1 and names["run"].name == "tonight"
    assert len(names["release"].items) == 122  # What python.md refreshed, the README's finds.


def test_the_notebook_runs_from_top_to_bottom_and_its_outputs_are_small(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra dev is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra dev is not installed")
    kept = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))}
    environment["IPYTHONDIR"] = str(tmp_path / "ipython")
    client = nbclient.NotebookClient(
        notebook, timeout=800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    client.execute(env=environment)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    assert 1 < seconds < SECONDS
    assert (tmp_path / "saved_models" / "quickstart" / "manifest.json").exists()
    for before, after in zip(kept.cells, notebook.cells, strict=True):
        if after.cell_type != "code":
            continue
        # What is kept in the file was executed, in order, and gives the same kinds of output.
        assert before.execution_count == after.execution_count
        results = [[one.output_type for one in cell.outputs if one.output_type != "stream"] for cell in (before, after)]
        assert [one for one in results[0] if one == "execute_result"] == [
            one for one in results[1] if one == "execute_result"
        ]
    assert NOTEBOOK.stat().st_size < 60_000
