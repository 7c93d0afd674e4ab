"""Faults of vectors: text that is ambiguous or none, other types, widths, and numbers too small or too large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_logs import Logs
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.data.vectors import vectors_of
from m3csr_tf.errors import InputError

PATH = Path("items.csv")
UNREADABLE = [
    "0,1 0,2",
    "0,1  0,2 0,3",
    "1,5|2,5",
    "1,000.5",
    "[1,000.5, 2]",
    "1,000 2,000",
    "1.234,5 2",
    "[1,,2,3]",
    "[0,10, 1,20]",
    "{1,2, 3}",
    "1||2",
    "[1, 2,]",
    "[, 1]",
    ",1,2",
    "1,2,",
    "|1|2",
    "[1, 2",
    "1, 2]",
    "[1, 2}",
    "{1, 2]",
    "[[1, 2]]",
    "{{1, 2}}",
    "(1, 2)",
    "<1 2>",
    "1;2",
    "1/2",
    "1:0.5 2:0.3",
    "['1', '2']",
    '["1", "2"]',
    '{"a": 1}',
    "1 2, 3",
    "1, 2 3",
    "1|2 3",
    "1|2,3",
    "a b",
    "1 x",
    "0x1 0x2",
    "1_000 2",
    "1..2 3",
    "1.2.3 4",
    "1e 2",
    "1e5.5 2",
    "--1 2",
    "+-1 2",
    "1- 2",
    "1 - 2",
    "007 1",
    "00.5 1",
    "\u0661 \u0662",
    "1\xa02",
    "1\u20092",
    "\u22121 2",
    "1\x002",
    "True False",
    "[true, false]",
    "[null, 1]",
    "None 1",
    "nan, null",
    "array([1, 2])",
    "[1 2 ... 3]",
    "tensor([1., 2.])",
    "1+2j 3",
    "50% 50%",
    "$1 $2",
    "1f 2f",
    "unknown",
    "[nan",
    "-",
    ".",
    "\x1b[31m1 2",
]
ONE_OR_SEVERAL = ["0,1", "-0,5", "1,5e-3", "1,234.5", "12,345", "12,345,678", "1,234,567.", "1.234,5", "+7,25"]


def refused(cells: Any) -> str:
    column = cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([pa.array(cells)])
    with pytest.raises(InputError) as caught:
        vectors_of(column, "clip", PATH, before=10)
    message = str(caught.value)
    assert "\n" not in message and "\x1b" not in message and len(message) < 400
    return message


@pytest.mark.parametrize("cell", UNREADABLE)
def test_text_that_is_no_vector_is_refused_by_its_row(cell: str) -> None:
    message = refused(["1 2", None, cell])
    assert message.startswith("items.csv: clip in data row 13 is ")
    assert "which cannot be read as a vector; expected numbers with points for decimals" in message


@pytest.mark.parametrize("cell", ONE_OR_SEVERAL)
def test_text_that_may_be_one_number_or_several_is_refused_by_its_row(cell: str) -> None:
    assert "clip in data row 12 is" in refused(["1 2", cell])
    assert "which may be one number or several" in refused(["1 2", cell])


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), min_size=2, max_size=5), st.sampled_from(" |\t"))
def test_decimal_commas_never_double_a_width(parts: list[tuple[int, int]], between: str) -> None:
    assert "cannot be read as a vector" in refused([between.join(f"{whole},{part}" for whole, part in parts)])


@given(st.lists(st.integers(1_000, 999_999_999), min_size=2, max_size=4), st.sampled_from([" ", ", ", "|"]))
def test_commas_between_thousands_never_widen_a_vector(numbers: list[int], between: str) -> None:
    message = refused([between.join(f"{number:,}.5" for number in numbers)])
    assert "cannot be read as a vector" in message


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (pa.array([1.0, 2.0]), "column clip holds double values; expected a list of numbers a row"),
        (pa.array([b"\0\0\0\0"]), "column clip holds binary values"),
        (pa.array([True]), "column clip holds bool values"),
        (pa.array([0], pa.timestamp("s")), "column clip holds timestamp[s] values"),
        (pa.array([0], pa.duration("s")), "column clip holds duration[s] values"),
        (pa.array([{"a": 1}]), "column clip holds struct<a: int64> values"),
        (pa.array([["a", "b"]]), "column clip does not hold numbers"),
        (pa.array([["0,1", "0,2"]]), "column clip does not hold numbers"),
        (pa.array([[0]], pa.list_(pa.timestamp("s"))), "column clip does not hold numbers"),
        (pa.array([[0]], pa.list_(pa.date32())), "column clip does not hold numbers"),
        (pa.array([[0]], pa.list_(pa.duration("s"))), "column clip does not hold numbers"),
        (pa.array([[b"a"]]), "column clip does not hold numbers"),
        (pa.array([[[1.0]]]), "column clip does not hold numbers"),
        (pa.array([[1.0], [1.0, 2.0]]), "clip in data row 12 has 2 entries, 1 in the first; expected one width"),
        (pa.array(["1 2", "1 2 3"]), "clip in data row 12 has 3 entries, 2 in the first; expected one width"),
        (pa.array(["null", "", None]), "column clip has no vector in any row; drop the modality"),
        (pa.array([None, None]), "column clip"),
    ],
)
def test_columns_without_vectors_are_refused(cells: pa.Array, says: str) -> None:
    assert says in refused(pa.chunked_array([cells]))


def in_csv(logs: Logs, cells: list[str]) -> Any:
    """Runs `prepare` on a catalogue in CSV whose first vectors are these cells."""
    texts = [*cells, *["1 2"] * len(logs.catalogue)][: len(logs.catalogue)]
    catalogue = logs.catalogue.drop(columns="sound").assign(clip=texts)
    catalogue.to_csv(logs.folder / "catalogue.csv", index=False)
    logs.interactions.to_parquet(logs.folder / "interactions.parquet")
    logs.overrides["data.modalities"] = "{visual: clip}"
    return CliRunner().invoke(app, ["prepare", *(f"{key}={value}" for key, value in logs.overrides.items())])


@pytest.mark.parametrize("cell", ["0,1 0,2", "1,000.5", "[1,,2,3]", "1 2 3", "inf 1", "1 nan", "1e13 2", "1e400 2"])
def test_prepare_refuses_such_vectors_in_one_message(cell: str, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    result = in_csv(logs, ["3 4", cell])
    assert result.exit_code == 2, result.output + str(result.exception)
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ") and ("clip in data row 2" in message or "of item 'i1'" in message), message
    assert logs.written() == []


def test_prepare_reads_every_form_of_text(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    result = in_csv(logs, ["[0.5, 2]", "0.5 2", "0.5,2", "{0.5,2}", "0.5|2", "null", "None", "nan", ""])
    assert result.exit_code == 0, result.output
    vectors = np.load(tmp_path / "runs" / "case" / "prepared" / "content_visual.npy")[2:]
    assert (vectors[:5] == [0.5, 2]).all() and np.isnan(vectors[5:9]).all() and vectors[9].tolist() == [1, 2]


RANDOM = np.random.default_rng(0).normal(size=(10, 4))
EXTREMES: dict[str, np.ndarray] = {
    "denormal": RANDOM * 1e-40,
    "denormal in float64": RANDOM * 1e-310,
    "denormal in one item": RANDOM * np.where(np.arange(10) == 9, 1e-42, 1)[:, None],
    "denormal in one dimension": RANDOM * [1, 1, 1e-20, 1e-42],
    "tiny": RANDOM * 1e-30,
    "as large as may be": RANDOM / np.abs(RANDOM).max() * 1e12,
    "large and denormal": np.where(RANDOM > 0, 1e12, 1e-42),
    "large, small and denormal": RANDOM * [2.5e11, 1, 1e-20, 1e-42],
    "zero": np.zeros((10, 4)),
    "constant and large": np.full((10, 4), 1e12),
    "in one item alone": np.where(np.arange(10)[:, None] == 3, RANDOM, np.nan),
}


@pytest.mark.parametrize("scaling", ["rms", "standard", "standard_l2", "whitened"])
@pytest.mark.parametrize("case", EXTREMES)
def test_vectors_of_any_size_are_scaled_to_finite_ones(case: str, scaling: str, tmp_path: Path) -> None:
    from m3csr_tf.features.content import ContentScaler

    vectors = EXTREMES[case].astype(np.float32)
    scaler = ContentScaler.fit(scaling, {"visual": vectors}, np.arange(10), 256)
    with np.errstate(over="ignore", under="ignore"):
        scaled = scaler.transform("visual", vectors)
    assert np.isfinite(scaled).all() and all(np.isfinite(scaler.scale[name]).all() for name in scaler.scale)


@pytest.mark.parametrize("case", EXTREMES)
def test_prepare_takes_vectors_of_any_size(case: str, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.catalogue["clip"] = list(EXTREMES[case].astype(np.float32))
    result = logs.run()
    assert result.exit_code == 0, result.output + str(result.exception)
