"""Why an item is in a list: parts of a score as a line to read, and all that a release says of a user and an item."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from m3csr_tf import columns
from m3csr_tf.cli import app
from m3csr_tf.errors import InputError, RunError
from m3csr_tf.explain import explain_pair, explanation, reasons
from m3csr_tf.explain.explanation import Attended


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        ((1.0, -0.5, 3.0), "acoustic 75%, id 25%; against: visual"),
        ((1.0, 1.0, 2.0), "acoustic 50%, id 25%, visual 25%"),
        ((0.0, 0.0, 2.0), "acoustic 100%"),
        ((-3.0, -1.0, 0.0), "nothing for it; against: id, visual"),
        ((0.0, 0.0, 0.0), "nothing for it"),
    ],
)
def test_reasons_are_shares_of_what_speaks_for_the_item(parts: tuple[float, float, float], line: str) -> None:
    row = dict(zip(("part_id", "part_visual", "part_acoustic"), parts, strict=True))
    assert reasons(row, ["id", "visual", "acoustic"]) == line


def overrides(release: Any) -> list[str]:
    return [f"run.release_folder={release.folder.parent}", f"run.name={release.folder.name}"]


def test_the_parts_sum_to_the_score_that_the_index_gives(release: Any, untrained_run: Any) -> None:
    user, items = untrained_run.prepared.users.known[3], untrained_run.prepared.items.known
    history = list(items[10:14])
    frame = pd.DataFrame({columns.USER_ID: [user], columns.HISTORY: [history]})
    [found], [scores] = release.index.search(release.user_vectors(frame), len(items))
    for item, score in zip(found[[0, 5, -1]], scores[[0, 5, -1]], strict=True):
        said = explain_pair(release, user, item, history)
        assert said.score == pytest.approx(score, abs=1e-5)
        assert sum(said.parts.values()) == pytest.approx(score, abs=1e-5)
        assert list(said.parts) == ["id", "visual", "acoustic", "popularity"]
        assert sum(said.intensities.values()) == pytest.approx(1, abs=1e-5)


def test_gate_bin_and_clusters_are_those_of_the_training(release: Any, untrained_run: Any) -> None:
    prepared, gate = untrained_run.prepared, untrained_run.model.item_tower.gate
    row = int(np.flatnonzero((prepared.train_clicks > 2) & (prepared.cluster_ids[:, 1] == 0))[0])  # Without sound.
    [item] = prepared.items.ids(np.array([row]))
    said = explain_pair(release, prepared.users.known[0], item, [])
    assert said.popularity_bin == prepared.bins[row] > 0
    assert said.gate == pytest.approx(float(gate(prepared.bins[[row]])[0, 0]), abs=1e-6)
    assert said.clusters == {"visual": int(prepared.cluster_ids[row, 0]), "acoustic": None}
    assert said.parts["acoustic"] == 0 and said.views is None


def test_attention_is_of_the_history_that_counts_highest_first(release: Any, untrained_run: Any) -> None:
    prepared = untrained_run.prepared
    items = prepared.items.known
    silent = items[np.flatnonzero(prepared.cluster_ids[2:, 1] == 0)[0]]
    others = [item for item in items if item != silent][:7]
    given = [others[0], "never heard of", others[1], silent, *others[2:], others[2]]
    said = explain_pair(release, prepared.users.known[0], items[50], given)
    # Of the eight different items that the tower knows, the latest six; of the one given twice, its later place.
    used = [silent, others[3], others[4], others[5], others[6], others[2]]
    assert untrained_run.config.history.length == 6 and said.history == used
    assert said.skipped == [others[0], "never heard of", others[1], others[2]]
    assert {one.item for one in said.attention["id"]} == set(used)
    assert {one.item for one in said.attention["acoustic"]} <= set(used) - {silent}
    for attended in said.attention.values():
        weights = [one.weight for one in attended]
        assert weights == sorted(weights, reverse=True) and sum(weights) == pytest.approx(1, abs=1e-5)


def test_a_fresh_video_is_explained_and_counts_in_a_history(release: Any, tmp_path: Path) -> None:
    from m3csr_tf.releases.refresh import refresh
    from m3csr_tf.releases.release import open_release

    live = open_release(Path(shutil.copytree(release.folder, tmp_path / "small")))
    content = {name: np.ones([1, width], np.float32) for name, width in live.modalities.items()}
    frame = pd.DataFrame({columns.ITEM_ID: ["fresh"], columns.VIEW_COUNT: np.array([1], np.int64)})
    refresh(live, frame, content)
    known = live.items.ids[0]
    said = explain_pair(live, "somebody", "fresh", ["fresh", known, "unheard of"])
    assert not said.known_user and said.views == 1 and said.popularity_bin == 1
    assert said.history == ["fresh", known] and said.skipped == ["unheard of"]
    assert "fresh" in {one.item for one in said.attention["visual"]}
    frame = pd.DataFrame({columns.USER_ID: ["somebody"], columns.HISTORY: [["fresh", known]]})
    assert said.score == pytest.approx(float(live.user_vectors(frame)[0] @ live.index.vectors(["fresh"])[0]), abs=1e-5)


def test_an_unknown_item_is_an_error_and_an_unknown_user_is_said(release: Any, untrained_run: Any) -> None:
    with pytest.raises(InputError, match=r"item 'nothing' is not in version 1 of .*small \(120 items\)"):
        explain_pair(release, "u", "nothing", [])
    item = untrained_run.prepared.items.known[0]
    arguments = ["explain", "--user", "a stranger [x]", "--item", item, "--history", "", *overrides(release)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "user a stranger [x], unknown to the user tower" in result.output
    result = CliRunner().invoke(
        app, ["explain", "--user", "u", "--item", "nothing", "--history", "", *overrides(release)]
    )
    assert result.exit_code == 2 and "item 'nothing' is not in version 1" in result.stderr


def test_the_json_has_a_stable_schema_and_the_text_its_figures(release: Any, untrained_run: Any) -> None:
    user, items = untrained_run.prepared.users.known[3], untrained_run.prepared.items.known
    arguments = ["explain", "--user", user, "--item", items[50], *overrides(release)]
    arguments += ["--history", f"{items[10]},gone,{items[11]}"]
    explained = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert explained == explain_pair(release, user, items[50], [items[10], "gone", items[11]]).to_json()
    names = ["format", "release", "model", "user", "item", "score", "parts"]
    names += ["intensities", "attention", "attention_is_uniform"]
    assert list(explained) == names
    assert explained["format"] == 1
    assert explained["release"] == {"name": "small", "version": 1, "fingerprint": release.manifest["fingerprint"]}
    assert explained["user"] == {"id": user, "known": True, "history": [items[10], items[11]], "skipped": ["gone"]}
    assert set(explained["item"]) == {"id", "view_count", "popularity_bin", "gate", "clusters"}
    assert list(explained["attention"]) == ["id", "visual", "acoustic"]
    assert set(explained["attention"]["id"][0]) == {"item", "weight"}
    page = (Path(__file__).parent.parent / "docs" / "explain.md").read_text()
    assert list(json.loads(page.split("```json\n")[1].split("```")[0])) == list(explained)
    text = CliRunner().invoke(app, arguments).output
    for figure in (
        f"{explained['score']:+.4f}",
        f"{explained['intensities']['visual']:.3f}",
        f"gate {explained['item']['gate']:.3f}",
    ):
        assert figure in text
    assert "not used: gone" in text and f"bin {explained['item']['popularity_bin']}" in text


@pytest.mark.parametrize(
    ("weights", "is_uniform"),
    [
        ({"id": [0.52, 0.48]}, True),  # 0.52 is 4% above 1/2.
        ({"id": [0.53, 0.47]}, False),  # 0.53 is 6% above it.
        ({"id": [0.5, 0.5], "visual": [0.3, 0.3, 0.2, 0.2]}, False),
        ({"id": [0.5, 0.5], "visual": [1.0], "acoustic": []}, True),
        ({"id": [1.0], "visual": []}, None),
    ],
)
def test_attention_is_uniform_where_all_weights_lie_within_5_percent_of_1_over_n(
    weights: dict[str, list[float]], is_uniform: bool | None, release: Any
) -> None:
    said = explain_pair(release, "u", release.items.ids[0], [])
    attention = {part: [Attended(f"i{n}", one) for n, one in enumerate(ones)] for part, ones in weights.items()}
    found = dataclasses.replace(said, attention=attention)
    assert found.attention_is_uniform is is_uniform
    assert found.to_json()["attention_is_uniform"] is is_uniform


def test_the_text_says_that_attention_is_uniform_where_it_is(
    release: Any, untrained_run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = untrained_run.prepared.items.known
    arguments = ["explain", "--user", "u", "--item", items[50], *overrides(release)]
    line = "attention is uniform over the history"
    monkeypatch.setattr(explanation, "UNIFORM_WITHIN", 1000)
    assert line in CliRunner().invoke(app, [*arguments, "--history", f"{items[10]},{items[11]}"]).output
    assert line not in CliRunner().invoke(app, [*arguments, "--history", f"{items[10]}"]).output
    monkeypatch.setattr(explanation, "UNIFORM_WITHIN", 0)
    assert line not in CliRunner().invoke(app, [*arguments, "--history", f"{items[10]},{items[11]}"]).output


@pytest.mark.parametrize("written", ["{0},{1}", " {0} , {1} ,", '["{0}", "{1}"]', ' [ "{0}","{1}"]'])
def test_a_history_is_ids_with_commas_or_a_json_list(written: str, release: Any, untrained_run: Any) -> None:
    first, second, item = untrained_run.prepared.items.known[10:13]
    history = written.format(first, second)
    arguments = ["explain", "--user", "u", "--item", item, "--history", history, "--json", *overrides(release)]
    said = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert said["user"]["history"] == [first, second] and said["user"]["skipped"] == []


def test_ids_in_a_json_list_may_hold_commas_and_spaces(release: Any, untrained_run: Any) -> None:
    arguments = ["explain", "--user", "u", "--item", untrained_run.prepared.items.known[0], *overrides(release)]
    result = CliRunner().invoke(app, [*arguments, "--history", '["a, b", " c"]', "--json"])
    assert json.loads(result.stdout)["user"]["skipped"] == ["a, b", " c"]
    for history, refusal in (
        ('["a', "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1, 2]", "expected a list of item ids in quotes"),
    ):
        result = CliRunner().invoke(app, [*arguments, "--history", history])
        assert result.exit_code == 2 and "--history" in result.stderr and refusal in result.stderr


@pytest.mark.parametrize(
    "history", ['{"a": 1}', '{"a": 1, "a": 2}', " {a, b", "[1, 2]", '["a"', '["a"] b', '["\\ud800"]']
)
def test_a_history_that_begins_like_json_is_a_list_of_ids_or_an_error(
    history: str, release: Any, untrained_run: Any
) -> None:
    arguments = ["explain", "--user", "u", "--item", str(untrained_run.prepared.items.known[0])]
    result = CliRunner().invoke(app, [*arguments, "--history", history, *overrides(release)])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert "explain: --history" in result.stderr and "expected a list of item ids" in result.stderr


@pytest.mark.parametrize("option", ["--user", "--item", "--history"])
def test_an_id_that_is_no_utf8_says_so(option: str, release: Any) -> None:
    words = {"--user": "u", "--item": "v", "--history": "a"} | {option: "u\udcff"}
    flat = [word for pair in words.items() for word in pair]
    result = CliRunner().invoke(app, ["explain", *flat, *overrides(release)])
    assert result.exit_code == 2, result.output
    assert result.stderr == f"error: explain: {option} 'u\\udcff' is no UTF-8; give ids in UTF-8\n"


def test_without_a_history_it_is_that_of_the_whole_log(
    release: Any, untrained_run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from m3csr_tf.data.audience import Audience
    from m3csr_tf.verbs import explain, origin, retrieve

    prepared = untrained_run.prepared
    monkeypatch.setattr(origin, "load_released", lambda _: untrained_run)
    slots = Audience(prepared, untrained_run.config, columns.SPLITS).histories(np.arange(len(prepared.users)))
    row = int(np.argmax((slots > 0).sum(axis=1)))
    [user] = prepared.users.ids(np.array([row]))
    explained = explain.explain(untrained_run.config, user, prepared.items.known[0], None, True)
    assert explained.history == list(prepared.items.ids(slots[row])) and len(explained.history) == 6
    assert json.loads(capsys.readouterr().out) == explained.to_json()
    assert explain.explain(untrained_run.config, "a stranger", prepared.items.known[0], None, True).history == []
    other = untrained_run.config.model_copy(update={"run": untrained_run.config.run.model_copy(update={"seed": 9})})
    monkeypatch.setattr(origin, "load_released", lambda _: type(untrained_run)(other, prepared, untrained_run.model))
    with pytest.raises(RunError, match=r"version 1, .* came from another training of run small; .* or pass --history"):
        explain.explain(untrained_run.config, user, prepared.items.known[0], None, True)
    named = other.model_copy(update={"run": other.run.model_copy(update={"name": "tuesday", "release_name": "small"})})
    advice = (
        r"small: version 1, the current one, came from run small, not from tuesday; publish tuesday with "
        r"pipelines/release.py, name that run \(run.name=small run.release_name=small\), or "
    )
    monkeypatch.setattr(origin, "load_released", lambda _: replace(untrained_run, config=named))
    with pytest.raises(RunError, match=advice + "pass --history"):
        explain.explain(named, user, prepared.items.known[0], None, True)
    with pytest.raises(RunError, match=advice + "name a file of users"):
        retrieve.retrieve(named)
