"""The tables that a night trains on, and its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from m3csr_tf.data import formats
from m3csr_tf.simulation.nights import night_config, tables_folder, training_log, write_tables
from m3csr_tf.simulation.plan import Plan, read_plan
from m3csr_tf.simulation.population import Population
from m3csr_tf.util.documents import dump_yaml


@pytest.fixture
def plan(population: Population, tmp_path: Path) -> Plan:
    world = population.world.model_dump(mode="json")
    systems = {"ours": {"warm_start": True, "settings": ["model.dim=32"]}, "popularity": {"kind": "popularity"}}
    file = tmp_path / "small.yaml"
    settings = [f"data.world.{name}={world[name]}" for name in ("users", "items", "clicks", "modalities")]
    file.write_text(dump_yaml({"systems": systems, "settings": settings}))
    return read_plan(file, [f"run.folder={tmp_path / 'runs'}"])


def test_a_log_of_several_arms_knows_users_by_the_names_of_each(population: Population) -> None:
    clicks = pd.DataFrame({"user": [1, 0], "item": [5, 6], "time": [30, 10]})
    other = pd.DataFrame({"user": [1], "item": [5], "time": [20]})
    ids = [np.asarray([f"{user}@{arm}" for user in population.user_ids], dtype=object) for arm in ("a", "b")]
    log = training_log(population, [(ids[0], clicks), (ids[1], other)])
    users, items = population.user_ids, population.item_ids
    assert log["user_id"].tolist() == [f"{users[0]}@a", f"{users[1]}@b", f"{users[1]}@a"]
    assert log["item_id"].tolist() == [items[6], items[5], items[5]]
    assert log["timestamp"].tolist() == [10, 20, 30]


def test_the_tables_of_a_night_are_read_as_they_were_written(
    population: Population, plan: Plan, tmp_path: Path
) -> None:
    folder = tables_folder(plan, "ours", 0)
    log = training_log(population, [(population.user_ids, population.past)])
    available, views = population.available(population.begins), np.arange(len(population.item_ids))
    write_tables(folder, log, population, available, views)
    raw = formats.read(night_config(plan, "ours", 0).data, tmp_path)
    pd.testing.assert_frame_equal(raw.interactions, log, check_dtype=False)
    np.testing.assert_array_equal(raw.catalogue.frame["item_id"], population.item_ids[available])
    np.testing.assert_array_equal(raw.catalogue.frame["view_count"], views[available])
    for name, vectors in population.content.items():
        np.testing.assert_array_equal(raw.catalogue.content[name], vectors[available])
    # A night that was stopped finds the tables that it began with.
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_tables(folder, log[:5], population, available, views)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_night_has_the_systems_settings_and_goes_on_from_the_one_before_where_it_should(plan: Plan) -> None:
    first, second = (night_config(plan, "ours", night) for night in (0, 1))
    assert first.model.dim == 32 and first.data.format == "table"
    assert first.run_folder == plan.folder / "runs" / "ours-night0"
    assert first.release_folder == second.release_folder == plan.folder / "saved_models" / "ours"
    assert first.training.warm_start is None and second.training.warm_start == "ours-night0"
