"""The file of a simulation: what it may say, and what it is told where it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from m3csr_tf.errors import ConfigError
from m3csr_tf.simulation.plan import read_plan
from m3csr_tf.util.documents import dump_yaml

REPOSITORY = Path(__file__).parents[2]
GOOD: dict[str, Any] = {
    "systems": {"ours": {"settings": ["training.epochs=2"]}, "popularity": {"kind": "popularity"}},
    "settings": ["data.world.users=50", "data.world.clicks=500"],
    "simulation": {"days": 2},
    "quick": ["simulation.days=1", "training.epochs=1"],
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "tonight.yaml"
    path.write_text(dump_yaml(GOOD | changes), encoding="utf-8")
    return path


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path))
    assert plan.folder == Path("runs/tonight") and plan.control == "popularity"
    assert (plan.simulation.days, plan.simulation.traffic, plan.simulation.learns_from) == (2, "twins", "own")
    assert list(plan.configs) == ["ours"] and plan.configs["ours"].training.epochs == 2
    assert plan.world.users == 50 and plan.configs["ours"].data.world == plan.world


def test_overrides_come_last_and_quick_has_settings_and_a_name_of_its_own(tmp_path: Path) -> None:
    plan = read_plan(written(tmp_path), ["simulation.round_hours=6", "training.epochs=5", "run.seed=3"], quick=True)
    assert plan.folder.name == "tonight-quick"
    assert (plan.simulation.days, plan.simulation.round_hours) == (1, 6)
    assert plan.configs["ours"].training.epochs == 5 and plan.configs["ours"].run.seed == 3
    assert read_plan(written(tmp_path), ["run.name=another"], quick=True).folder.name == "another"


def test_another_setting_makes_another_simulation_and_the_number_of_resamples_does_not(tmp_path: Path) -> None:
    file = written(tmp_path)
    identity = read_plan(file).identity()
    for override in ("simulation.visits=0.2", "training.epochs=5", "exposure.few_share=0.1", "data.world.items=300"):
        assert read_plan(file, [override]).identity() != identity, override
    assert read_plan(file, ["simulation.bootstrap=500", "evaluation.bootstrap=0"]).identity() == identity


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"systems": {"alone": {}}}, "systems"),
        ({"control": "nobody"}, "control is 'nobody', but systems are ours, popularity"),
        ({"systems": {"a": {"kind": "popularity", "settings": ["run.seed=1"]}, "b": {}}}, "nothing to train"),
        ({"systems": {"a": {"kind": "magic"}, "b": {}}}, "systems.a.kind"),
        ({"systems": {"a": {"settings": ["data.world.seed=1"]}, "b": {}}}, "systems.a: its settings change section"),
        ({"systems": {"a": {"settings": ["training.warm_start=x"]}, "b": {}}}, "warm_start: true"),
        ({"systems": {"a": {"settings": ["training.epoch=x"]}, "b": {}}}, "systems.a: unknown setting training.epoch"),
        ({"simulation": {"days": 9}}, "end on day 29"),
        ({"simulation": {"round_hours": 5}}, "must divide 24, got 5"),
        ({"simulation": {"climbing": [0]}}, "simulation.climbing must be different numbers from 1, got [0]"),
        ({"simulation": {"visits": 0}}, "simulation.visits"),
        ({"simulation": {"day": 1}}, "unknown entry simulation.day"),
        ({"simulation": 3}, "simulation: expected entries, name: value, got 3; write {} for none"),
        ({"systems": {"a": None, "b": {}}}, "systems.a: expected entries, name: value, got None; write {} for none"),
        ({"systems": {"a": {"kind": "als"}, "b": {}}}, "'popularity' or 'truth', got 'als'"),
        ({"settings": ["data.format=table", "data.path=x", "data.modalities={a: b}"]}, "synthetic world alone"),
        ({"settings": ["run.strategy=multi_worker"]}, "run.strategy=multi_worker"),
        ({"name": "a/b"}, "name"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        read_plan(written(tmp_path, **changes))
    message = str(refused.value)
    assert named in message and "\n" not in message and message.startswith(str(tmp_path / "tonight.yaml"))


def test_an_override_that_is_none_is_refused(tmp_path: Path) -> None:
    for override, named in (
        ("simulation.days", "expected simulation.name=value"),
        ("simulation.days=[", "not valid YAML"),
        ("simulation.nights=3", "simulation.nights"),
    ):
        with pytest.raises(ConfigError, match=named):
            read_plan(written(tmp_path), [override])
    with pytest.raises(ConfigError, match="no settings for --quick"):
        read_plan(written(tmp_path, quick=[]), quick=True)
    with pytest.raises(ConfigError, match="cannot read the simulation"):
        read_plan(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("file", sorted((REPOSITORY / "pipelines" / "configs").glob("simulate*.yaml")))
@pytest.mark.parametrize("quick", [False, True])
def test_the_files_that_come_with_the_package_are_good(file: Path, quick: bool) -> None:
    assert read_plan(file, quick=quick).configs


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", ["simulate_demo", "simulate_bpr_mf"])
def test_every_simulation_of_the_pipelines_is_a_plan_of_its_name(name: str, quick: bool) -> None:
    plan = read_plan(REPOSITORY / "pipelines" / "configs" / f"{name}.yaml", quick=quick)
    assert plan.folder.name == f"{name}{'-quick' if quick else ''}"
    assert plan.control in {"popularity", *plan.configs}
