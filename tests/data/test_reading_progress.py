"""How far the reading, the checks and the split of a log say that they are."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3csr_tf.config import Config, DataConfig
from m3csr_tf.data import formats
from m3csr_tf.data.interactions import CHECK_STEPS, check_interactions
from m3csr_tf.data.logs import SPLIT_STEPS, split_in_memory
from m3csr_tf.data.parts import lines
from m3csr_tf.data.tables import TableFiles
from m3csr_tf.ids import IdTable
from m3csr_tf.util.digests import Digests
from m3csr_tf.util.progress import Stage

WANTED, STRINGS = ["user_id", "item_id", "timestamp"], ["user_id", "item_id"]
COUNTED, TEXT = ["parquet", "feather", "orc"], ["csv", "csv.gz", "tsv.bz2", "jsonl", "jsonl.gz"]


class Heard:
    """A progress callback that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int | None = None) -> None:
        assert total is not None
        self.told.append((done, total))

    @property
    def done(self) -> list[int]:
        return [done for done, _ in self.told]

    def never_goes_back_and_ends_at_the_total(self) -> bool:
        never_back = all(one <= next_one for one, next_one in pairwise(self.done))
        return never_back and all(done <= total for done, total in self.told) and self.told[-1][0] == self.told[-1][1]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 64)


def clicks(rows: int) -> pd.DataFrame:
    numbers = np.arange(rows)
    ids = {"user_id": [f"u{number % 3}" for number in numbers], "item_id": [f"i{number}" for number in numbers]}
    return pd.DataFrame(ids | {"timestamp": 1_600_000_000 + numbers})


def write(path: Path, frame: pd.DataFrame) -> None:
    kind = path.name.split(".")[1]
    if kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind in ("csv", "tsv"):
        frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    else:
        getattr(frame, f"to_{kind}")(path)


def test_a_file_that_knows_its_rows_is_read_in_rows_and_text_in_bytes(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", clicks(10))
    write(tmp_path / "log.csv", clicks(2000))
    heard = Heard()
    in_rows = TableFiles(tmp_path / "log.parquet")
    in_rows.load(WANTED, STRINGS, heard)
    assert (in_rows.unit, heard.told[0], heard.told[-1]) == ("rows", (0, 10), (10, 10))
    heard, in_bytes = Heard(), TableFiles(tmp_path / "log.csv")
    in_bytes.load(WANTED, STRINGS, heard)
    size = (tmp_path / "log.csv").stat().st_size
    assert (in_bytes.unit, heard.told[0], heard.told[-1]) == ("bytes", (0, size), (size, size))
    assert len(set(heard.done)) > 3


def test_what_has_been_yielded_counts_as_read_once_the_next_block_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "log.parquet", clicks(5))
    heard, before = Heard(), []
    for block in TableFiles(tmp_path / "log.parquet").blocks(WANTED, STRINGS, 2, heard):
        before.append((len(block), heard.told[-1]))
    assert before == [(2, (0, 5)), (2, (2, 5)), (1, (4, 5))] and heard.told[-1] == (5, 5)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    kinds=st.lists(st.sampled_from([*COUNTED, *TEXT]), min_size=4, max_size=4),
    rows=st.integers(1, 5),
)
def test_progress_never_goes_back_and_ends_at_the_total_whatever_is_read(
    sizes: list[int], kinds: list[str], rows: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("logs") / "log"
    folder.mkdir()
    for number, (size, kind) in enumerate(zip(sizes, kinds, strict=False)):
        write(folder / f"part-{number}.{kind}", clicks(size))
    counted, loaded, in_blocks = Heard(), Heard(), Heard()
    table = TableFiles(folder)
    count = table.count(counted)
    whole = table.load(WANTED, STRINGS, loaded)
    blocks = pa.concat_tables(table.blocks(WANTED, STRINGS, rows, in_blocks))
    assert whole.equals(blocks) and count == len(whole)
    for heard in (counted, loaded, in_blocks):
        assert heard.never_goes_back_and_ends_at_the_total()
    if table.unit == "rows":
        assert loaded.told[-1] == (count, count)


def test_text_that_is_read_again_for_another_type_makes_the_total_grow(tmp_path: Path) -> None:
    frame = clicks(20).assign(timestamp=[*range(19), 0.5])
    text = frame.to_csv(index=False).replace(".0\n", "\n")
    (tmp_path / "log.csv").write_text(text)
    heard = Heard()
    assert TableFiles(tmp_path / "log.csv").load(WANTED, STRINGS, heard)["timestamp"].to_pylist()[-2:] == [18.0, 0.5]
    assert heard.never_goes_back_and_ends_at_the_total()
    # A first reading, which fails at the last row at the latest, one for the types, and one of the rows.
    assert heard.told[0][1] == len(text) and 2 * len(text) < heard.told[-1][1] <= 3 * len(text)


@pytest.mark.parametrize("is_repeated", [False, True])
def test_the_checks_of_a_log_count_their_steps(is_repeated: bool) -> None:
    frame, heard = clicks(4), Heard()
    check_interactions(pd.concat([frame, frame]) if is_repeated else frame, "log", on_progress=heard)
    assert heard.never_goes_back_and_ends_at_the_total() and heard.told[-1] == (CHECK_STEPS, CHECK_STEPS)
    assert sorted(set(heard.done)) == ([1, 2, 3, 4, 5, 6] if is_repeated else [1, 2, 3, 6])


def table_of(folder: Path, kind: str) -> DataConfig:
    write(folder / f"interactions.{kind}", clicks(30))
    pd.DataFrame({"item_id": clicks(30)["item_id"]}).to_csv(folder / "catalogue.csv", index=False)
    np.save(folder / "clip.npy", np.ones((30, 2), np.float32))
    return DataConfig(format="table", path=folder, modalities={"visual": "clip.npy"})


def test_the_split_of_a_log_counts_its_steps(tmp_path: Path) -> None:
    data, heard = table_of(tmp_path, "parquet"), Heard()
    config = Config(data=data)
    (tmp_path / "into").mkdir()
    raw = formats.read(data, tmp_path / "into")
    items = IdTable(raw.catalogue.frame["item_id"].to_numpy())
    split_in_memory(raw, items, config, tmp_path / "into", heard)
    assert heard.done == list(range(1, SPLIT_STEPS + 1)) and heard.never_goes_back_and_ends_at_the_total()


@pytest.mark.parametrize(("kind", "unit"), [("parquet", "rows"), ("csv", "bytes"), ("csv.gz", "bytes")])
def test_the_lines_of_a_log_file_show_how_far_each_stage_of_the_reading_is(
    kind: str, unit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = table_of(tmp_path, kind)
    (tmp_path / "into").mkdir()
    said: list[str] = []
    plain = Stage.__call__

    def heard(stage: Stage, *told: Any) -> None:
        plain(stage, *told)
        said.append(stage.line().split(", 0:")[0])

    monkeypatch.setattr(Stage, "__call__", heard)
    formats.read(data, tmp_path / "into")
    amount = f"{30 if unit == 'rows' else (tmp_path / f'interactions.{kind}').stat().st_size:,}"
    size = f"{(tmp_path / 'catalogue.csv').stat().st_size:,}"
    for line in (
        f"reading the interactions: 0 of {amount} {unit}",
        f"reading the interactions: {amount} of {amount} {unit}",
        "checking the interactions: 3 of 9 steps",
        f"counting the items of the catalogue: {size} of {size} bytes",
        f"reading the catalogue: {size} of {size} bytes",
        "checking the catalogue: 2 of 2 columns",
        "reading visual content: 30 of 30 items",
    ):
        assert line in said


def test_checksums_count_bytes_read_or_not(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "other"]
    paths[0].write_bytes(b"x" * 3)
    paths[1].write_bytes(b"y" * (5 << 20))
    heard = Heard()
    Digests(tmp_path / "known").of_all(paths, heard)
    assert heard.never_goes_back_and_ends_at_the_total() and heard.told[-1] == (3 + (5 << 20), 3 + (5 << 20))
    assert 3 + (1 << 20) in heard.done
