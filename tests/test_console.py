"""What verbs print of ids, names and paths."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from m3csr_tf.verbs import release as release_verb
from m3csr_tf.verbs import retrieve
from m3csr_tf.verbs.console import console

ODD = ["[/b]", "[red]x", ":smile:"]


@pytest.mark.parametrize("odd", ODD)
def test_what_looks_like_markup_is_printed_as_it_is(odd: str, capsys: pytest.CaptureFixture) -> None:
    console.print(f"{odd}: 1 new")
    assert capsys.readouterr().out == f"{odd}: 1 new\n"


def test_so_are_ids_in_the_example_lists(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    lists = pd.DataFrame({"user_id": "[bold]", "rank": [1, 2, 3], "item_id": ODD, "score": 0.5, "part_id": 0.5})
    lists.to_parquet(tmp_path / "part-00000.parquet")
    released: Any = SimpleNamespace(layout={"id": slice(0, 2)})
    retrieve._print_examples(tmp_path, released)
    shown = capsys.readouterr().out
    assert [odd for odd in ["[bold]", *ODD] if odd not in shown] == []


def test_so_is_the_run_of_a_version(
    release: Any, untrained_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    [version] = release_verb.versions.listing(release.folder)
    odd = dataclasses.replace(version, manifest={**version.manifest, "run": "[/b]"})
    monkeypatch.setattr(release_verb.versions, "listing", lambda _: [odd])
    release_verb.list_versions(untrained_run.config)
    assert "[/b]" in capsys.readouterr().out
