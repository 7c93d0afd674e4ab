"""Similar items: the nearest by cosine against sorting all, from ids and from content, one by one and as a job."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.batch import similar as similar_module
from m3csr_tf.batch.cosine import CosineSpace
from m3csr_tf.batch.filters import Filters
from m3csr_tf.batch.query_items import FileOfContent, QueryItemBatch, file_of_queries
from m3csr_tf.batch.similar import SimilarItems, similar
from m3csr_tf.cli import app
from m3csr_tf.config import EmbedConfig, SimilarConfig
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.releases.refresh import refresh
from m3csr_tf.releases.release import Release

SMALL = SimilarConfig(top_n=5, batch_size=16, shard_items=50)
"""Of 120 items: three parts, of 50, 50 and 20."""
BY = ("vector", "content", "visual", "acoustic")


def by_sorting(release: Any, vector: np.ndarray, by: str, allowed: list[str]) -> list[tuple[float, str]]:
    """All cosines, by the definition and in double precision, the highest first; items without a direction left out."""
    layout = release.layout
    parts = {"vector": list(layout), "content": ["visual", "acoustic"]}.get(by, [by])
    entries = np.concatenate([np.arange(layout[part].start, layout[part].stop) for part in parts])
    vectors = release.index.vectors(allowed)[:, entries].astype(np.float64)
    query = vector[entries].astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines = np.divide(vectors @ query, lengths, out=np.full(len(allowed), np.nan), where=lengths > 0)
    pairs = zip(cosines, allowed, strict=True)
    return sorted(((cosine, item) for cosine, item in pairs if not np.isnan(cosine)), reverse=True)


def lists_of(release: Any, by: str, ids: list[str], n: int, filters: Filters | None = None) -> pd.DataFrame:
    finder = SimilarItems(release, by, n, filters)
    return finder.table(finder.find(QueryItemBatch(np.array(ids, dtype=object), None))).to_pandas()


def without_sound(release: Any) -> list[str]:
    ids = release.items.ids
    return list(ids[np.isnan(release.items.content(ids)["acoustic"]).all(axis=1)])


def with_all(release: Any) -> list[str]:
    ids = release.items.ids
    lacking = [np.isnan(vectors).all(axis=1) for vectors in release.items.content(ids).values()]
    return list(ids[~np.any(lacking, axis=0)])


def as_catalogue(release: Any, ids: list[str], names: list[str]) -> pd.DataFrame:
    """Items of a release as a catalogue with content, under other names."""
    content = release.items.content(np.array(ids, dtype=object))
    frame = pd.DataFrame({columns.ITEM_ID: names})
    for name, vectors in content.items():
        frame[name] = [None if np.isnan(vector).all() else vector.tolist() for vector in vectors]
    return frame


@pytest.mark.parametrize("by", BY)
def test_lists_are_those_of_sorting_all_cosines_without_the_item_itself(by: str, release: Any) -> None:
    ids = with_all(release)[:7]
    lists = lists_of(release, by, ids, 10)
    assert lists[columns.ITEM_ID].tolist() == np.repeat(ids, 10).tolist()
    for item, of_item in lists.groupby(columns.ITEM_ID):
        others = [one for one in release.items.ids if one != item]
        expected = by_sorting(release, release.index.vectors([item])[0], by, others)[:10]
        np.testing.assert_allclose(of_item[columns.COSINE], [cosine for cosine, _ in expected], atol=1e-5)
        assert set(of_item[columns.SIMILAR_ITEM_ID]) == {one for _, one in expected}
        assert of_item[columns.RANK].tolist() == list(range(1, 11))


@pytest.mark.parametrize("by", BY)
def test_parts_sum_to_the_cosine(by: str, release: Any) -> None:
    lists = lists_of(release, by, list(release.items.ids[:5]), 8)
    parts = [name for name in lists if name.startswith(columns.PART_PREFIX)]
    expected = {"vector": list(release.layout), "content": ["visual", "acoustic"]}.get(by, [by])
    assert parts == [f"part_{part}" for part in expected]
    np.testing.assert_allclose(lists[parts].sum(axis=1), lists[columns.COSINE], atol=1e-5)


def test_an_item_without_a_modality_has_no_list_by_it_and_is_in_none(release: Any) -> None:
    silent = without_sound(release)
    assert silent
    finder = SimilarItems(release, "acoustic", 120)
    found = finder.find(QueryItemBatch(np.array([silent[0], *release.items.ids[:3]], dtype=object), None))
    lists = finder.table(found).to_pandas()
    assert silent[0] not in set(lists[columns.ITEM_ID])
    assert found.facts.empty == 1 + len(set(silent) & set(release.items.ids[:3]))
    assert not set(silent) & set(lists[columns.SIMILAR_ITEM_ID])
    # All others that have sound, without the item itself.
    assert (lists.groupby(columns.ITEM_ID).size() == 120 - len(silent) - 1).all()


def test_content_alone_finds_the_same_content_under_another_id_and_popularity(release: Any) -> None:
    ids = with_all(release)[:3]
    catalogue = release.items.catalogue(np.array(ids, dtype=object))
    catalogue.frame[columns.ITEM_ID] = ["n1", "n2", "n3"]
    finder = SimilarItems(release, "visual", 1)
    found = finder.find(QueryItemBatch(np.array(["n1", "n2", "n3"], dtype=object), catalogue))
    lists = finder.table(found).to_pandas()
    # The gate weighs an item's content by its popularity, which changes the length of a modality's part alone.
    np.testing.assert_allclose(lists[columns.COSINE], 1, atol=1e-5)
    assert lists[columns.SIMILAR_ITEM_ID].tolist() == ids


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    block=st.sets(st.integers(0, 119), max_size=100),
    only_cold=st.booleans(),
    quota=st.sampled_from([0.0, 0.4]),
    query=st.integers(0, 119),
)
def test_filters_hold_whatever_they_are(
    block: set[int], only_cold: bool, quota: float, query: int, release: Any
) -> None:
    ids = release.index.ids
    cold = dict(zip(ids, release.items.is_cold(ids), strict=True))
    blocked = frozenset(ids[list(block)])
    filters = Filters(blocked or None, None, only_cold, quota)
    left = [item for item in ids if item not in blocked and (cold[item] or not only_cold) and item != ids[query]]
    if not left:
        return
    lists = lists_of(release, "vector", [ids[query]], 10, filters)
    found = lists[columns.SIMILAR_ITEM_ID].tolist()
    assert len(found) == min(10, len(left)) and set(found) <= set(left)
    assert lists[columns.COSINE].is_monotonic_decreasing
    cold_found = sum(cold[item] for item in found)
    # At least 4 of 10 are cold, or all that there are.
    assert cold_found >= min(4 if quota else 0, len(found), sum(cold[item] for item in left))
    if not quota:
        expected = by_sorting(release, release.index.vectors([ids[query]])[0], "vector", left)[: len(found)]
        np.testing.assert_allclose(lists[columns.COSINE], [cosine for cosine, _ in expected], atol=1e-5)


def test_the_job_gives_the_lists_of_one_by_one_in_parts(release: Any, tmp_path: Path) -> None:
    done = similar(release, None, tmp_path / "lists", SMALL)
    assert (done.inputs, done.rows, done.parts, done.made, done.missing) == (120, 600, 3, 3, 0)
    lists = pd.read_parquet(tmp_path / "lists")
    assert lists[columns.ITEM_ID].unique().tolist() == release.items.ids.tolist()
    pd.testing.assert_frame_equal(lists, lists_of(release, "vector", list(release.items.ids), 5), atol=1e-5)


def test_a_job_that_died_goes_on_and_gives_the_same_files(
    release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = similar_module.SimilarItems.table, iter(range(1, 100))

    def dying(*args: Any) -> Any:
        if next(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    similar(release, None, tmp_path / "whole", SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(similar_module.SimilarItems, "table", dying)
        with pytest.raises(KeyboardInterrupt):
            similar(release, None, tmp_path / "lists", SMALL)
    assert not (tmp_path / "lists").exists()
    assert similar(release, None, tmp_path / "lists", SMALL).made == 2
    assert [path.read_bytes() for path in sorted((tmp_path / "lists").glob("*.parquet"))] == [
        path.read_bytes() for path in sorted((tmp_path / "whole").glob("*.parquet"))
    ]
    assert similar(release, None, tmp_path / "lists", SMALL).made == 0


def test_what_came_by_refresh_is_asked_for_and_found_by_the_next_job(live: Any, tmp_path: Path) -> None:
    similar(live, None, tmp_path / "lists", SMALL)
    twin = with_all(live)[0]
    refresh(live, pd.DataFrame({columns.ITEM_ID: ["fresh"]}), live.items.content(np.array([twin], dtype=object)))
    refresh(live, removed=[with_all(live)[1]])
    settings = SMALL.model_copy(update={"by": "visual", "top_n": 1})
    done = similar(live, None, tmp_path / "lists", settings)
    assert done.inputs == 120
    lists = pd.read_parquet(tmp_path / "lists").set_index(columns.ITEM_ID)[columns.SIMILAR_ITEM_ID]
    assert lists["fresh"] == twin and lists[twin] == "fresh"


def test_ids_that_the_release_lacks_and_items_without_the_modality_are_counted(release: Any, tmp_path: Path) -> None:
    silent = without_sound(release)[0]
    loud = with_all(release)[0]
    (tmp_path / "ids.txt").write_text(f"{silent}\nunheard\n{loud}\n{loud}\n")
    queries = file_of_queries(tmp_path / "ids.txt", release)
    done = similar(release, queries, tmp_path / "lists", SMALL.model_copy(update={"by": "acoustic"}))
    # Of three different ids, one is unknown, one has no sound, and one has a list of 5.
    assert (done.inputs, done.ids, done.unknown_ids, done.empty, done.rows, done.short) == (3, 3, 1, 1, 5, 0)


@pytest.mark.parametrize("name", ["new.parquet", "new.csv"])
def test_raw_content_of_videos_that_the_release_lacks(name: str, release: Any, tmp_path: Path) -> None:
    frame = as_catalogue(release, list(release.items.ids[:20]), [f"n{row}" for row in range(20)])
    if name.endswith("csv"):
        for part in ("visual", "acoustic"):
            frame[part] = frame[part].map(lambda vector: vector and " ".join(map(repr, vector)))
        frame.to_csv(tmp_path / name, index=False)
    else:
        frame.to_parquet(tmp_path / name)
    queries = file_of_queries(tmp_path / name, release)
    assert isinstance(queries, FileOfContent)
    similar(release, queries, tmp_path / "lists", SMALL)
    [(_, batch)] = queries.read([0], 100, 100)
    assert batch.content is not None
    vectors = release.item_vectors(batch.content)
    for item, of_item in pd.read_parquet(tmp_path / "lists").groupby(columns.ITEM_ID):
        expected = by_sorting(release, vectors[int(item[1:])], "vector", list(release.items.ids))[:5]
        np.testing.assert_allclose(of_item[columns.COSINE], [cosine for cosine, _ in expected], atol=1e-5)


def overrides(release: Any) -> list[str]:
    return [f"run.release_folder={release.folder.parent}", f"run.name={release.folder.name}"]


def run(release: Any, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["similar", *arguments, *overrides(release)])


def test_the_verb_prints_one_item_as_text_and_as_json(release: Any, tmp_path: Path) -> None:
    item = with_all(release)[4]
    lists = lists_of(release, "content", [item], 3)
    text = run(release, "--item", item, "similar.by=content", "similar.top_n=3")
    assert text.exit_code == 0, text.output
    assert f"item {item}; the nearest by cosine in content" in text.stdout
    for _, row in lists.iterrows():
        assert row[columns.SIMILAR_ITEM_ID] in text.stdout and f"{row[columns.COSINE]:.4f}" in text.stdout
    told = json.loads(run(release, "--item", item, "--json", "similar.by=content", "similar.top_n=3").stdout)
    assert list(told) == ["format", "release", "item", "by", "similar"]
    assert told["item"] == {"id": item, "content_given": False} and told["by"] == "content"
    assert [one["item"] for one in told["similar"]] == lists[columns.SIMILAR_ITEM_ID].tolist()
    assert sum(told["similar"][0]["parts"].values()) == pytest.approx(told["similar"][0]["cosine"], abs=1e-5)


def test_the_verb_compares_one_video_by_the_content_that_a_file_has_of_it(release: Any, tmp_path: Path) -> None:
    twin = with_all(release)[4]
    as_catalogue(release, [twin], ["new"]).to_parquet(tmp_path / "new.parquet")
    items = f"similar.items={tmp_path / 'new.parquet'}"
    told = json.loads(run(release, "--item", "new", "--json", items, "similar.by=visual").stdout)
    assert told["item"]["content_given"] and told["similar"][0]["item"] == twin
    assert run(release, "--item", twin, "--json", items).exit_code == 0  # Not in the file, but in the release.


def test_the_verb_makes_the_lists_of_a_file_and_says_what_has_none(release: Any, tmp_path: Path) -> None:
    pd.DataFrame({columns.ITEM_ID: [*release.items.ids[:9], "gone"]}).to_csv(tmp_path / "ids.csv", index=False)
    output = f"similar.output={tmp_path / 'lists'}"
    done = run(release, f"similar.items={tmp_path / 'ids.csv'}", output)
    assert done.exit_code == 0, done.output
    assert "180 rows for 10 items" in done.stdout
    assert "1 of 10 ids are unknown to the release and have no list" in done.stdout
    assert pd.read_parquet(tmp_path / "lists")[columns.ITEM_ID].nunique() == 9


def misuses(release: Any, folder: Path) -> dict[str, tuple[list[str], str]]:
    """What is wrong -> arguments, and a part of the message."""
    item = with_all(release)[0]
    (folder / "none.txt").write_text("gone\nlost\n")
    (folder / "empty.txt").write_text("")
    (folder / "joined.txt").write_text(f"{item},{release.items.ids[1]}\n{item}\n")
    (folder / "items.xml").write_text("[]")
    pd.DataFrame({"video": [item]}).to_csv(folder / "column.csv", index=False)
    frame = as_catalogue(release, [item], ["new"])
    frame.rename(columns={"visual": "visuals"}).drop(columns="acoustic").to_parquet(folder / "nearly.parquet")
    frame.drop(columns="acoustic").to_parquet(folder / "half.parquet")
    frame.assign(visual=[[1.0, 2.0]]).to_parquet(folder / "narrow.parquet")
    pd.concat([frame, frame]).to_parquet(folder / "twice.parquet")
    (folder / "all.txt").write_text("\n".join(release.items.ids))
    (folder / "file").write_text("")
    file, silent = f"similar.items={folder}/", without_sound(release)[0]
    return {
        "unknown item": (["--item", "gone"], "item 'gone' is not in version 1 of"),
        "empty item": (["--item", ""], "similar: --item '' is no id"),
        "json of a job": (["--json"], "similar: --json is for one item"),
        "unknown modality": (["similar.by=smell"], "similar.by is 'smell'; the vectors of"),
        "item without the modality": (["--item", silent, "similar.by=acoustic"], "has nothing of similar.by=acoustic"),
        "no file": ([f"{file}nothing.txt"], "no such file; similar.items must name"),
        "no known id": ([f"{file}none.txt"], "none of the 2 ids of similar.items is known to the release"),
        "empty file": ([f"{file}empty.txt"], "holds no item id"),
        "ids in one line": ([f"{file}joined.txt"], "line 1 holds"),
        "kind of file": ([f"{file}items.xml"], "unknown kind of file; similar.items takes"),
        "no column item_id": ([f"{file}column.csv"], "column item_id is missing"),
        "misspelt modality": ([f"{file}nearly.parquet"], "column 'visuals' is unknown; is it visual?"),
        "a modality is missing": ([f"{file}half.parquet"], "column acoustic is missing"),
        "width": ([f"{file}narrow.parquet"], "holds vectors of 2 numbers"),
        "item twice": ([f"{file}twice.parquet"], "item_id in data row 2 is 'new', which data row 1 has too"),
        "nothing left": ([f"similar.block={folder}/all.txt"], "similar.block: none of the 120 items is left"),
        "filter of strangers": ([f"similar.allow={folder}/none.txt"], "of similar.allow is known to the release"),
        "length": (["similar.top_n=0"], "similar.top_n"),
        "shard": (["--shard", "3/2"], "similar.shard must be i/n"),
        "output": ([f"similar.output={folder}/file"], "is not a link that an earlier job made"),
    }


@pytest.mark.parametrize(
    "what",
    [
        "unknown item",
        "empty item",
        "json of a job",
        "unknown modality",
        "item without the modality",
        "no file",
        "no known id",
        "empty file",
        "ids in one line",
        "kind of file",
        "no column item_id",
        "misspelt modality",
        "a modality is missing",
        "width",
        "item twice",
        "nothing left",
        "filter of strangers",
        "length",
        "shard",
        "output",
    ],
)
def test_misuse_is_one_message_and_leaves_nothing(what: str, release: Any, tmp_path: Path) -> None:
    arguments, message = misuses(release, tmp_path)[what]
    before = sorted(tmp_path.iterdir())
    output = [] if "similar.output" in arguments[0] else [f"similar.output={tmp_path / 'lists'}"]
    done = run(release, *arguments, *output)
    assert done.exit_code == 2, done.output
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    left = [path for path in sorted(tmp_path.iterdir()) if path not in before and not path.name.endswith(".lock")]
    assert not left


def test_lists_of_another_kind_are_not_replaced(release: Any, tmp_path: Path) -> None:
    from m3csr_tf.batch.embedding import embed

    embed(release, None, tmp_path / "there", EmbedConfig())
    with pytest.raises(RunError, match=r"holds item vectors, .* choose another output \(similar.output\)"):
        similar(release, None, tmp_path / "there", SMALL)
    similar(release, None, tmp_path / "lists", SMALL)
    with pytest.raises(RunError, match=r"holds lists of similar items, .* choose another output \(embed.output\)"):
        embed(release, None, tmp_path / "lists", EmbedConfig())


def test_a_model_that_keeps_content_in_no_part_of_its_vectors_says_so() -> None:
    of = SimpleNamespace(
        layout={"id": slice(0, 4)},
        modalities={"visual": 3},
        folder=Path("saved_models/graph"),
        model_title="LightGCN",
    )
    assert CosineSpace.of(cast(Release, of), "vector").parts == of.layout
    for by in ("content", "visual"):
        with pytest.raises(InputError, match=r"can be compared by vector, since LightGCN keeps content in no part"):
            CosineSpace.of(cast(Release, of), by)
