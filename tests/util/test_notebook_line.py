"""A stage in a notebook: one line with a bar that changes in its place, and is taken away in the end."""

from __future__ import annotations

import sys
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from m3csr_tf.util import progress as module
from m3csr_tf.util.notebook import in_notebook
from m3csr_tf.util.progress import progress


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a stand-in for a notebook's frontend shows, in order."""
    texts: list[str] = []

    def display(bundle: dict[str, str], **options: Any) -> SimpleNamespace:
        assert options == {"raw": True, "display_id": True} and not texts
        texts.append(bundle["text/html"])
        return SimpleNamespace(update=lambda bundle, raw: texts.append(bundle["text/html"]))

    kernel, frontend = ModuleType("IPython"), ModuleType("IPython.display")
    kernel.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    frontend.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", frontend)
    monkeypatch.setattr(module, "SAID_AFTER", 0.02)
    monkeypatch.setattr(module, "_CHANGED_EVERY", 0.02)
    return texts


def wait_for(texts: list[str], text: str) -> None:
    deadline = time.perf_counter() + 20
    while not any(text in one for one in texts) and time.perf_counter() < deadline:
        time.sleep(0.01)


def test_a_line_with_a_bar_changes_in_its_place_and_goes(shown: list[str]) -> None:
    with progress("embedding <b>, items", 4) as stage:
        stage(1)
        wait_for(shown, "1 of 4")
        stage(3)
        wait_for(shown, "3 of 4")
    assert '<progress max="1" value="0.250"></progress> embedding &lt;b&gt;: 1 of 4 items' in shown[0]
    assert any('value="0.750"' in one for one in shown) and shown[-1] == ""


def test_what_cannot_tell_its_share_has_no_bar(shown: list[str]) -> None:
    with progress("opening the release"):
        wait_for(shown, "opening")
    assert shown[0] == "opening the release" and shown[-1] == ""


def test_a_short_stage_shows_nothing(shown: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAID_AFTER", 60.0)
    with progress("reading"):
        pass
    assert shown == []


def test_a_process_without_a_kernel_is_no_notebook() -> None:
    assert not in_notebook()
