"""A run on hostile logs with its report, and a browser to look at it with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from browser import Browser
from hostile_logs import hostile_logs
from small_logs import Logs


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    """Logs on which run_all has run, shared: do not change them."""
    logs = hostile_logs(tmp_path_factory.mktemp("reported"))
    result = logs.run("run_all")
    assert result.exit_code == 0, result.output
    return logs


@pytest.fixture(scope="session")
def run_folder(reported: Logs) -> Path:
    """The folder of that run."""
    return reported.root / "runs" / "case"


@pytest.fixture(scope="session")
def items(run_folder: Path) -> pd.DataFrame:
    """Its prepared catalogue."""
    return pd.read_parquet(run_folder / "prepared" / "items.parquet")


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(_browser: Browser) -> Browser:
    """A headless browser that has complained of nothing yet; skipped where none is installed."""
    _browser.complaints.clear()
    _browser.requests.clear()
    return _browser
