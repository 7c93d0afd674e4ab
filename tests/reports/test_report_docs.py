"""docs/report.md: its example runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"


def test_the_example_of_a_page_of_ones_own_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(DOCUMENT), "exec"), {})
    page = (tmp_path / "runs" / "mine" / "report.html").read_text()
    assert "0.1850" in page and "0.1750 to 0.1950" in page and "<svg" in page
    assert (tmp_path / "runs" / "mine" / "figures" / "quality.png").exists()
