"""release compare, as one types it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from m3csr_tf.errors import RunError
from m3csr_tf.export.requests import flatten
from m3csr_tf.releases.release import open_release
from m3csr_tf.training import runs

PAGE = (Path(__file__).parents[2] / "docs" / "releases.md").read_text(encoding="utf-8")


def as_json(two: Any, *words: str) -> dict[str, Any]:
    done = two.release_verb("compare", *words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_two_versions_are_compared_on_the_test_users_of_the_run_that_one_came_from(two: Any) -> None:
    tree = as_json(two, "1", "2")
    test_users = two.run.prepared.split("test")["user_row"].nunique()
    assert tree["users"] == test_users and (tree["first"], tree["second"]) == ("version 1", "version 2")
    old, new = tree["figures"]["version 1"], tree["figures"]["version 2"]
    # The item that came by refresh is carried by version 2 alone.
    assert new["items"] == old["items"] + 1 and old["new_share"] == 0 and new["new_share"] >= 0
    assert 0 < tree["overlap"] < 1 and -1 <= tree["rank_correlation"] <= 1
    assert sum(one["first"] for one in tree["intensities"].values()) == pytest.approx(1, abs=1e-5)
    assert tree["intensity_drift"] > 0
    quality = tree["quality"]["recall@20"]
    assert quality["difference"] == pytest.approx(quality["second"] - quality["first"])
    assert 0 <= quality["p_value"] <= 1 and tree["notes"] == []
    again = as_json(two, "2", "1")
    assert again["overlap"] == tree["overlap"]
    assert again["quality"]["recall@20"]["difference"] == pytest.approx(-quality["difference"])


def test_a_run_is_what_its_own_version_is_but_for_what_came_since(two: Any) -> None:
    tree = as_json(two, "run", "2")
    assert tree["first"] == "run small" and tree["figures"]["run small"]["items"] == 120
    assert tree["overlap"] > 0.9 and tree["rank_correlation"] == pytest.approx(1, abs=1e-3)
    assert tree["scores"]["absolute_difference"] < 1e-5 and tree["intensity_drift"] < 1e-5
    assert tree["quality"]["recall@20"]["difference"] == pytest.approx(0, abs=0.02)
    # From the current version, which is 2, to the run; five users alone.
    assert as_json(two, "run", "--users", "5")["first"] == "version 2"


def test_a_run_knows_users_by_the_histories_that_are_given_as_its_version_does(two: Any) -> None:
    """So a final fit, whose own log has the clicks that judge, is asked what its version is asked."""
    from m3csr_tf.training.runs import load_trained
    from m3csr_tf.verbs.compared_runs import of_run, users_of_run
    from m3csr_tf.verbs.released_vectors import released

    frame = users_of_run(two.run, 6, []).frame[["user_id", "history"]].copy()
    frame["history"] = [[], ["nowhere"], *(list(history)[-2:] for history in frame["history"][2:])]
    frame.loc[5, "user_id"] = "new"
    trained = load_trained(two.root / "runs" / "small")
    system = of_run(trained, released(trained))
    version = open_release(two.release, 2)
    np.testing.assert_allclose(system.user_vectors(frame), version.user_vectors(frame), atol=1e-5)
    assert system.intensities is not None
    np.testing.assert_allclose(system.intensities(frame), version.user_intensities(frame), atol=1e-5)


def test_recall_is_that_of_the_lists_that_the_index_gives(two: Any) -> None:
    from m3csr_tf.verbs.compare_versions import users_of_run

    tree = as_json(two, "1", "2")
    users = users_of_run(two.run, None, [])
    release = open_release(two.release, 2)
    vectors = release.user_vectors(users.frame[["user_id", "history"]])
    found, scores = release.index.search(vectors, len(release.index))
    least, most = [], []
    for line, (clicked, excluded) in enumerate(zip(users.clicked, users.frame["exclusions"], strict=True)):
        allowed = ~np.isin(found[line], excluded)
        items, values = found[line][allowed], scores[line][allowed]
        # Items that tie for the last place are drawn.
        sure, perhaps = (items[values > values[19] + margin] for margin in (1e-4, -1e-4))
        least.append(np.isin(clicked, sure).mean())
        most.append(np.isin(clicked, perhaps).mean())
    assert np.mean(least) <= tree["quality"]["recall@20"]["second"] <= np.mean(most) < np.mean(least) + 0.05
    assert len(flatten(users.clicked)[0]) == two.run.prepared.clicks("test")


def test_the_tables_fit_a_terminal_and_say_everything(two: Any) -> None:
    done = two.release_verb("compare", "1", "2")
    assert done.exit_code == 0, done.output
    for said in ("coverage", "overlap of lists at 20", "Kendall", "intensity drift", "paired t-test p ="):
        assert said in done.output, said


def test_the_run_keeps_the_latest_comparison_as_it_was_printed(
    two: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = two.run.config.run_folder / "comparison.json"
    for words in (("1", "2"), ("2", "run")):
        assert as_json(two, *words) == json.loads(kept.read_text())
    assert json.loads(kept.read_text())["release"] == "small"
    before = kept.read_bytes()
    as_json(two, "1", "2", "run.name=nobody", "run.release_name=small")  # Nobody's run, so nothing is kept.

    def refuse(trained: Any) -> None:
        raise RunError(f"{trained.config.run_folder}: it may not be written")

    monkeypatch.setattr(runs, "check_figures_fit", refuse)
    done = two.release_verb("compare", "1", "2")
    assert done.exit_code == 0 and "overlap of lists" in done.stdout
    assert re.search("not kept for the page of the run: .* it may not be written", caplog.text)
    assert kept.read_bytes() == before


def test_without_the_run_lists_are_compared_and_quality_is_not(two: Any) -> None:
    tree = as_json(two, "1", "2", "run.name=nobody", "run.release_name=small")
    assert tree["quality"] is None and tree["users"] == len(two.run.prepared.users) - 2
    assert "holds no run, so quality is not compared; name the run of a version by run.name=small" in tree["notes"][0]
    assert "training_clicks" not in tree["figures"]["version 1"] and 0 < tree["overlap"] < 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["1", "2", "3"], "got '1', '2', '3'; expected two of"),
        (["yesterday"], "got 'yesterday'; expected a version number"),
        (["0", "1"], "got '0'; expected a version number"),
        (["-1"], "No such option"),
        (["1", "1"], "got 1 twice"),
        (["current"], "got current twice"),
        (["2", "current"], "2 and current are both version 2"),
        (["1", "9"], "there is no version 9; there are: 1, 2"),
        (["run", "run"], "got run twice"),
        (["run", "1", "run.name=nobody", "run.release_name=small"], "no run here"),
        (["1", "2", "run.release_name=nothing"], "there is no version 1"),
        (["1", "2", "--users", "1"], "--users"),
        (["run.release_name=small"], "got nothing; expected two of"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_message(two: Any, words: list[str], message: str) -> None:
    done = two.release_verb("compare", *words)
    # Of a message in a frame, the lines are joined.
    said = " ".join(done.stderr.replace("│", " ").split())
    assert done.exit_code == 2 and message in said, done.output
    assert said.count("error:") <= 1 and not done.stdout.strip()


def test_the_commands_of_the_page_run_as_they_stand_there(two: Any) -> None:
    commands = re.findall(r"^python pipelines/release\.py (compare .*)$", PAGE, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        words = command.split("#")[0].replace("--config CONFIG", "").split()
        done = two.release_verb(*[word for word in words if "=" not in word])
        assert done.exit_code == 0, (command, done.output)


@pytest.mark.parametrize(
    ("split", "said"), [("random", "may have been trained on some"), ("time", "split by time too")]
)
def test_of_a_version_of_other_data_it_is_said_when_its_quality_is_overstated(split: str, said: str, two: Any) -> None:
    from m3csr_tf.training import run_files
    from m3csr_tf.verbs.compare_versions import other_data

    prepared = two.run.prepared
    split_so = dataclasses.replace(prepared, manifest=prepared.manifest | {"split": split})
    trained = dataclasses.replace(two.run, prepared=split_so)
    same = SimpleNamespace(version=3, manifest={"prepared": run_files.data_digest(trained.prepared)})
    other = SimpleNamespace(version=3, manifest={"prepared": "of another night"})
    assert other_data(same, trained) is None
    note = other_data(other, trained)
    assert note is not None and note.startswith("version 3 was trained on other data") and said in note
