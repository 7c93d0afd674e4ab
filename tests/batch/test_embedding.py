"""The job that embeds items: the tower's vectors, of a release or of a file, whatever its kind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.batch import embedding
from m3csr_tf.batch.embedding import embed
from m3csr_tf.batch.items import FileOfItems
from m3csr_tf.batch.job import JobStatus
from m3csr_tf.cli import app
from m3csr_tf.config import EmbedConfig
from m3csr_tf.errors import InputError
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import open_release

SMALL = EmbedConfig(batch_size=16, shard_items=50)
"""Of 120 items: three parts, of 50, 50 and 20."""
BY_NAME = {"visual": "visual", "acoustic": "acoustic"}


def items_frame(release: Any) -> pd.DataFrame:
    """The release's items as a table; an item without a modality has nothing there."""
    catalogue = release.items.catalogue(release.items.ids)
    lists = {
        name: [None if np.isnan(vector).all() else vector.tolist() for vector in vectors]
        for name, vectors in catalogue.content.items()
    }
    return catalogue.frame.drop(columns="view_count").assign(**lists)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        texts = {name: frame[name].map(lambda vector: vector and " ".join(map(repr, vector))) for name in BY_NAME}
        frame.assign(**texts).to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=33)
    else:
        path.mkdir()
        for number, start in enumerate(range(0, len(frame), 70)):
            frame.iloc[start : start + 70].to_parquet(path / f"part-{number}.parquet")
    return path


def embed_file(release: Any, path: Path, output: Path) -> JobStatus:
    return embed(release, FileOfItems(path, BY_NAME, release.modalities), output, SMALL)


def vectors_at(output: Path) -> np.ndarray:
    return np.stack(pd.read_parquet(output)[columns.ITEM_VECTOR])


def test_vectors_of_a_release_are_those_of_its_index(release: Any, tmp_path: Path) -> None:
    done = embed(release, None, tmp_path / "vectors", SMALL)
    assert (done.inputs, done.rows, done.parts, done.made, done.missing) == (120, 120, 3, 3, 0)
    table = pd.read_parquet(tmp_path / "vectors")
    assert table[columns.ITEM_ID].tolist() == release.items.ids.tolist()
    assert set(table[columns.MODEL_VERSION]) == {release.version}
    np.testing.assert_allclose(vectors_at(tmp_path / "vectors"), release.index.vectors(release.items.ids), atol=1e-5)


def test_a_part_has_the_types_and_row_groups_promised(release: Any, tmp_path: Path) -> None:
    embed(release, None, tmp_path / "vectors", SMALL)
    file = pq.ParquetFile(min((tmp_path / "vectors").glob("*.parquet")))
    assert [str(field.type) for field in file.schema_arrow] == ["string", "list<element: float>", "int32"]
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [16, 16, 16, 2]


@pytest.mark.parametrize("name", ["items.parquet", "items.csv", "items"])
def test_vectors_of_a_file_are_those_of_the_tower(name: str, release: Any, tmp_path: Path) -> None:
    frame = items_frame(release).assign(view_count=lambda frame: range(len(frame)))
    frame.loc[0, columns.ITEM_ID] = "new"
    embed_file(release, write(frame, tmp_path / name), tmp_path / "vectors")
    catalogue = release.items.catalogue(release.items.ids)
    catalogue.frame[columns.ITEM_ID] = frame[columns.ITEM_ID]
    catalogue.frame[columns.VIEW_COUNT] = frame["view_count"]
    np.testing.assert_allclose(vectors_at(tmp_path / "vectors"), release.item_vectors(catalogue), atol=1e-5)


@pytest.mark.parametrize("form", ["items.jsonl.gz", "items.feather", "dimensions.parquet", "spark.parquet"])
def test_items_may_be_in_any_form_that_a_catalogue_may_have(form: str, release: Any, tmp_path: Path) -> None:
    frame, by_name, path = items_frame(release), dict(BY_NAME), tmp_path / form
    if form == "dimensions.parquet":
        by_name["visual"] = "visual_*"
        width = release.modalities["visual"]
        vectors = np.array([[np.nan] * width if one is None else one for one in frame.pop("visual")])
        frame = frame.assign(**{f"visual_{axis}": vectors[:, axis] for axis in range(width)})
    elif form == "spark.parquet":
        of_spark = pa.struct(
            {"type": pa.int8(), "size": pa.int32(), "indices": pa.list_(pa.int32()), "values": pa.list_(pa.float64())}
        )
        cells = [None if one is None else {"type": 1, "values": one} for one in frame["visual"]]
        frame["visual"] = pd.arrays.ArrowExtensionArray(pa.array(cells, of_spark))
    if form.startswith("items.jsonl"):
        frame.to_json(path, orient="records", lines=True, double_precision=15, compression="gzip")
    elif form == "items.feather":
        frame.to_feather(path)
    else:
        frame.to_parquet(path)
    embed(release, FileOfItems(path, by_name, release.modalities), tmp_path / "vectors", SMALL)
    embed_file(release, write(items_frame(release), tmp_path / "plain.parquet"), tmp_path / "expected")
    np.testing.assert_allclose(vectors_at(tmp_path / "vectors"), vectors_at(tmp_path / "expected"), atol=1e-5)


def test_a_job_that_died_goes_on_and_gives_the_same_files(
    release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = embedding.vectors_table, iter(range(1, 100))

    def dying(*args: Any) -> Any:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    embed(release, None, tmp_path / "whole", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "vectors_table", dying)
        with pytest.raises(KeyboardInterrupt):
            embed(release, None, tmp_path / "vectors", SMALL)
    assert not (tmp_path / "vectors").exists()
    assert embed(release, None, tmp_path / "vectors", SMALL).made == 2
    assert [path.read_bytes() for path in sorted((tmp_path / "vectors").glob("*.parquet"))] == [
        path.read_bytes() for path in sorted((tmp_path / "whole").glob("*.parquet"))
    ]
    assert embed(release, None, tmp_path / "vectors", SMALL).made == 0


def test_fresh_items_of_a_release_are_embedded_by_the_next_job_but_do_not_touch_that_of_a_file(
    release: Any, tmp_path: Path
) -> None:
    living = open_release(Path(shutil.copytree(release.folder, tmp_path / "saved_models" / "small")))
    path = write(items_frame(living), tmp_path / "items.parquet")
    embed(living, None, tmp_path / "all", SMALL)
    embed_file(living, path, tmp_path / "given")
    refresh(living, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), living.items.content(living.index.ids[:1]))
    assert embed(living, None, tmp_path / "all", SMALL).rows == 121
    assert pd.read_parquet(tmp_path / "all")[columns.ITEM_ID].iloc[-1] == "fresh"
    assert embed_file(living, path, tmp_path / "given").made == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="visual"), "column visual is missing; the item tower takes visual vectors"),
        (
            lambda frame: frame.assign(visual=[[1.0]] * len(frame)),
            "visual holds vectors of 1 numbers in data rows from 1",
        ),
        (lambda frame: frame.assign(item_id=["a"] * len(frame)), "data row 2 is 'a', which data row 1 has too"),
        (lambda frame: frame.assign(view_count=-1), "view_count of item .* is -1"),
        (lambda frame: frame.head(0), "no items; expected a row for each item"),
    ],
)
def test_items_at_fault_are_one_message_and_leave_nothing(
    change: Any, message: str, release: Any, tmp_path: Path
) -> None:
    path = write(change(items_frame(release)), tmp_path / "items.parquet")
    with pytest.raises(InputError, match=message):
        embed_file(release, path, tmp_path / "out" / "vectors")
    assert [one for one in (tmp_path / "out").iterdir() if not one.name.endswith(".lock")] == []


def test_a_vector_of_another_width_is_named_with_its_row_in_the_file(release: Any, tmp_path: Path) -> None:
    frame = items_frame(release).assign(acoustic=[[1.0] * 5] * 117 + [[1.0] * 4] + [[1.0] * 5] * 2)
    with pytest.raises(InputError, match="acoustic in data row 118 has 4 entries"):
        embed_file(release, write(frame, tmp_path / "items.parquet"), tmp_path / "vectors")


def test_the_verb_embeds_the_release_of_a_run(release: Any, untrained_run: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(untrained_run.config.to_yaml())
    command = ["embed", "-c", str(tmp_path / "config.yaml"), f"embed.output={tmp_path / 'vectors'}"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0
    assert f"120 item vectors of {release.width} numbers" in done.stdout
    assert len(pd.read_parquet(tmp_path / "vectors")) == 120
    assert "made before" in CliRunner().invoke(app, command).stdout
