"""The verb: the quick variant, equal arms, stops and kills, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.releases import versions
from m3csr_tf.releases.release import open_release
from m3csr_tf.util.documents import dump_yaml

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "pipelines" / "configs" / "simulate_demo.yaml"
TINY = [
    "data.world={users: 80, items: 150, clicks: 1500, modalities: {visual: 4, acoustic: 3}}",
    "split.kind=random",
    "clusters.count=3",
    "model.dim=4",
    "model.id_dim=8",
    "model.id_initialisation=svd",
    "model.content_initialisation=xavier",
    "exposure.cold_share=trained",
    "training.max_steps=4",
    "training.evaluate_every=2",
    "training.cross_fit=0",
    "training.batch_size=64",
]
UNTRAINED = {"truth": {"kind": "truth"}, "popularity": {"kind": "popularity"}}


def simulate(file: Path, folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["simulate", "--config", str(file), *arguments, f"run.folder={folder}"])


def written(folder: Path, systems: dict[str, Any], **simulation: Any) -> Path:
    path = folder / "small.yaml"
    tree = {"systems": systems, "settings": TINY, "simulation": {"climbing": [3, 10], "cold_views": 5} | simulation}
    path.write_text(dump_yaml(tree), encoding="utf-8")
    return path


def tables(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix == ".csv" or "results" in path.name}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of the quick variant, and what it printed."""
    folder = tmp_path_factory.mktemp("quick")
    done = simulate(DEMO, folder, "--quick")
    assert done.exit_code == 0, done.output + str(done.exception)
    return folder / "simulate_demo-quick", done.stdout


def test_the_quick_variant_gives_all_tables(quick: tuple[Path, str]) -> None:
    folder, printed = quick
    results = json.loads((folder / "results.json").read_text())
    assert list(results["arms"]) == ["m3csr", "truth", "popularity"] and results["control"] == "popularity"
    metrics = ["Click", "Like", "Follow", "WatchTime", "Climbing_5", "Climbing_20", "Coverage"]
    for system in ("m3csr", "truth"):
        assert list(results["differences"][system]) == metrics
        assert f"{system} beside popularity" in printed
    # Nobody can do better than who knows what people want.
    assert results["differences"]["truth"]["Click"]["percent_low"] > 0
    # The same people come to every arm, and every list is full.
    assert len({arm["impressions"] for arm in results["arms"].values()}) == 1
    table = pd.read_csv(folder / "table4.csv")
    assert len(table) == 2 * len(metrics)
    row = table[(table["system"] == "m3csr") & (table["metric"] == "Click")].iloc[0]
    assert row["value"] == results["arms"]["m3csr"]["Click"]
    assert row["control_value"] == results["arms"]["popularity"]["Click"]
    assert len(pd.read_csv(folder / "arms.csv")) == 3 and len(pd.read_csv(folder / "days.csv")) == 6


def test_every_night_publishes_a_version_and_every_round_brings_new_videos_and_views_into_it(
    quick: tuple[Path, str],
) -> None:
    folder, _ = quick
    place = folder / "saved_models" / "m3csr"
    assert [one.version for one in versions.listing(place)] == [1, 2] and versions.current(place) == 2
    catalogue = folder / "arms" / "m3csr" / "logs" / "night_001" / "catalogue.parquet"
    trained = set(pd.read_parquet(catalogue)["item_id"])
    release = open_release(place)
    new = set(release.items.ids) - trained
    assert new and release.items.refreshed(sorted(new)).all()
    # What the loop has clicked until the last round is what the release was told.
    shown = [pd.read_parquet(path) for path in sorted((folder / "arms" / "m3csr" / "rounds").glob("*.parquet"))]
    assert len(shown) == 6
    ids = sorted(new)
    items = [int(one[1:]) for one in ids]
    views = shown[-1].groupby("item")["views"].first()
    for item, known_views in zip(items, release.items.views(ids), strict=True):
        assert known_views == views.get(item, known_views)
    # And they are shown before any training has known them.
    assert shown[-1]["item"].isin(items).any()
    # Nobody is shown a video twice.
    assert not pd.concat(shown).duplicated(["user", "item"]).any()


def test_a_simulation_that_was_stopped_goes_on_to_the_same_tables(quick: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = quick
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    before = tables(copy)
    # As a kill leaves it: new videos and views of the last round are in the release, and its impressions are not there.
    last = copy / "arms" / "m3csr" / "rounds" / "round_00005.parquet"
    for path in (last, copy / "results.json", copy / "table4.csv"):
        path.unlink()
    finished = copy / "runs" / "m3csr-night1" / "finished.json"
    trained = finished.stat().st_mtime_ns
    done = simulate(DEMO, tmp_path, "--quick")
    assert done.exit_code == 0, done.output
    assert tables(copy) == before and finished.stat().st_mtime_ns == trained
    other = simulate(DEMO, tmp_path, "--quick", "simulation.visits=0.1")
    assert other.exit_code == 2 and "other settings (simulation.visits)" in other.stderr, other.output
    assert tables(copy) == before


def test_equal_arms_differ_by_exactly_nothing(tmp_path: Path) -> None:
    settings = {"settings": ["run.threads=1", "run.deterministic=true"]}
    file = written(tmp_path, {"one": settings, "other": settings}, days=1, round_hours=12)
    done = simulate(file, tmp_path / "runs")
    assert done.exit_code == 0, done.output
    results = json.loads((tmp_path / "runs" / "small" / "results.json").read_text())
    for metric, found in results["differences"]["one"].items():
        assert (found["difference"], found["low"], found["high"]) == (0, 0, 0), metric
    assert results["arms"]["one"]["Click"] > 0


@pytest.mark.parametrize("learns_from", ["own", "shared"])
@pytest.mark.parametrize("traffic", ["twins", "split"])
def test_people_are_twins_or_in_one_arm_each(traffic: str, learns_from: str, tmp_path: Path) -> None:
    file = written(tmp_path, UNTRAINED, days=2, round_hours=12, traffic=traffic, learns_from=learns_from)
    done = simulate(file, tmp_path / "runs")
    assert done.exit_code == 0, done.output
    arms = tmp_path / "runs" / "small" / "arms"
    people = {
        system: set(pd.concat(map(pd.read_parquet, (arms / system / "rounds").glob("*.parquet")))["user"])
        for system in UNTRAINED
    }
    results = json.loads((tmp_path / "runs" / "small" / "results.json").read_text())
    counts = [arm["people"] for arm in results["arms"].values()]
    if traffic == "twins":
        assert people["truth"] == people["popularity"] and counts == [80, 80]
    else:
        assert not people["truth"] & people["popularity"] and sum(counts) == 80 and min(counts) > 20
    # Who comes often has soon seen all 150 videos; then places stay empty, and it is said.
    assert all(arm["visits"] * 10 == arm["impressions"] + arm["empty_places"] for arm in results["arms"].values())
    # The clicks before the loop count once, or with a shared log of twins twice; those of the other arm from night on.
    first = pd.read_parquet(arms / "popularity" / "rounds" / "round_00000.parquet")
    past = own_past()
    assert (first["views"] == past[first["item"]] * (2 if (traffic, learns_from) == ("twins", "shared") else 1)).all()


def own_past() -> Any:
    import numpy as np

    from m3csr_tf.config import load
    from m3csr_tf.simulation.population import Population
    from m3csr_tf.simulation.settings import SimulationConfig

    population = Population.of(load(None, TINY).data.world, SimulationConfig())
    return np.bincount(population.past["item"], minlength=150)


def test_a_killed_simulation_goes_on_to_the_same_tables_and_leaves_no_process_behind(tmp_path: Path) -> None:
    file = written(tmp_path, UNTRAINED, days=1, round_hours=1)
    script = [sys.executable, str(REPOSITORY / "pipelines" / "simulate.py")]
    killed = subprocess.Popen(
        [*script, "--config", str(file), f"run.folder={tmp_path / 'killed'}"], start_new_session=True
    )
    rounds = tmp_path / "killed" / "small" / "arms" / "popularity" / "rounds"
    until = time.monotonic() + 120
    while len(list(rounds.glob("round_*.parquet"))) < 3:
        assert killed.poll() is None and time.monotonic() < until, "it got nowhere"
        time.sleep(0.005)
    killed.kill()
    killed.wait()
    until = time.monotonic() + 30
    while group_lives(killed.pid):
        assert time.monotonic() < until, "its worker outlives it"
        time.sleep(0.05)
    assert not (tmp_path / "killed" / "small" / "results.json").exists()
    for name in ("killed", "whole"):
        done = simulate(file, tmp_path / name)
        assert done.exit_code == 0, done.output
    assert tables(tmp_path / "killed" / "small") == tables(tmp_path / "whole" / "small")


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


def test_a_night_that_fails_says_why_in_one_message(tmp_path: Path) -> None:
    file = written(tmp_path, {"ours": {"settings": ["split.cold_file=nothing.json"]}, **UNTRAINED}, days=1)
    done = simulate(file, tmp_path / "runs")
    assert done.exit_code == 2, done.output
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ours, day 1") and "nothing.json" in message, done.output


def test_a_simulation_of_other_settings_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    file = written(tmp_path, UNTRAINED, days=1, round_hours=24)
    results = tmp_path / "runs" / "small" / "results.json"
    visits = []
    for more in ([], ["simulation.visits=0.9"], ["simulation.visits=0.9", "run.overwrite=true"]):
        done = simulate(file, tmp_path / "runs", *more)
        visits.append(json.loads(results.read_text())["arms"]["truth"]["visits"])
        assert done.exit_code == (2 if len(visits) == 2 else 0), done.output
    assert visits[0] == visits[1] < visits[2]


def test_a_broken_round_is_refused_by_name_with_what_helps(tmp_path: Path) -> None:
    file = written(tmp_path, UNTRAINED, days=1, round_hours=24)
    assert simulate(file, tmp_path / "runs").exit_code == 0
    broken = tmp_path / "runs" / "small" / "arms" / "truth" / "rounds" / "round_00000.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    done = simulate(file, tmp_path / "runs")
    assert done.exit_code == 2 and done.stderr.strip().startswith(f"error: {broken}: ")
    assert f"delete {tmp_path / 'runs' / 'small'} and" in done.stderr


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, UNTRAINED, days=1)
    place = tmp_path / "runs" / "small"
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("mine")
    for overwrite in ("false", "true"):
        done = simulate(file, tmp_path / "runs", f"run.overwrite={overwrite}")
        assert done.exit_code == 2 and "something else than a simulation" in done.stderr
    assert [path.name for path in place.iterdir()] == ["mine.txt"]
