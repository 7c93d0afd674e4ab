"""What people see of items, from the catalogue's table to the prepared data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from small_logs import Logs


def prepared_items(logs: Logs) -> pd.DataFrame:
    result = logs.run("prepare")
    assert result.exit_code == 0, result.output
    return pd.read_parquet(logs.root / "runs" / "case" / "prepared" / "items.parquet")


def test_a_title_may_have_another_name_in_the_catalogue(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.catalogue["name"] = [f"Film {place}" for place in range(len(logs.catalogue))]
    logs.overrides["data.columns"] = "{title: name}"
    items = prepared_items(logs)
    assert items["title"].tolist() == logs.catalogue["name"].tolist()


def test_pictures_as_bytes_and_titles_as_lists_are_left_out_and_not_kept_in_memory(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.catalogue["image"] = [b"\x89PNG"] * len(logs.catalogue)
    logs.catalogue["title"] = [["a", "b"]] * len(logs.catalogue)
    logs.catalogue["url"] = "https://example.org"
    items = prepared_items(logs)
    assert "image" not in items and "title" not in items and {*items["url"]} == {"https://example.org"}


def test_a_modality_may_be_a_column_called_title(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.catalogue = logs.catalogue.rename(columns={"clip": "title"})
    logs.overrides["data.modalities"] = "{visual: title, acoustic: sound}"
    assert "title" not in prepared_items(logs)
