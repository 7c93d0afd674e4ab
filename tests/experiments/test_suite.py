"""One recipe on many data sets: ratios worked out by hand, and the verb on a suite of tiny worlds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from test_ablations import finish
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError, InputError
from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.experiments import suite
from m3csr_tf.util.files import write_json

REPOSITORY = Path(__file__).parents[2]


def evaluation(recalls: list[float], ndcgs: list[float], name: str = "all") -> Evaluation:
    values = {"recall@20": np.asarray(recalls, float), "ndcg@20": np.asarray(ndcgs, float)}
    return Evaluation({name: Slice(np.arange(2, 2 + len(recalls)), values), "few": Slice(np.zeros(0, int), {})})


TRAININGS = [
    {"best_step": 40, "steps": 100, "recall@20": 0.5, "initial_recall@20": 0.4},
    {"best_step": 60, "steps": 100, "recall@20": 0.6, "initial_recall@20": 0.3},
]
OURS = [evaluation([0.5, 0.5], [0.2, 0.4]), evaluation([0.7, 0.7], [0.2, 0.4])]  # Means 0.6 and 0.3.
BASELINES = {
    "ease": evaluation([0.4, 0.6], [0.1, 0.3]),  # 0.5 and 0.2.
    "ials": evaluation([0.3, 0.5], [0.5, 0.7]),  # 0.4 and 0.6.
    "truth (ceiling)": evaluation([1, 1], [1, 1]),
}


def test_each_metric_is_compared_with_its_own_best_baseline_and_a_ceiling_is_none() -> None:
    found = suite.summarise_member(OURS, BASELINES, "all", TRAININGS, leave_out=["truth (ceiling)"])
    recall, ndcg = found["metrics"]["recall@20"], found["metrics"]["ndcg@20"]
    assert (recall["baseline"], recall["ratio"]) == ("ease", pytest.approx(0.6 / 0.5))
    assert (ndcg["baseline"], ndcg["ratio"]) == ("ials", pytest.approx(0.3 / 0.6))
    # Seeds have 0.5 and 0.7: standard deviation sqrt(2 * 0.1 ** 2 / 1).
    assert (recall["mean"], recall["sd"]) == (pytest.approx(0.6), pytest.approx(0.02**0.5))
    # Users differ from EASE by 0.2 and 0: mean 0.1, error 0.1, t = 1 with one degree of freedom, so p = 0.5.
    assert recall["p"] == pytest.approx(0.5)
    assert found["training"]["best_steps"] == [40, 60] and found["training"]["steps"] == [100, 100]
    assert found["training"]["gains"] == pytest.approx([0.1, 0.3])


def test_a_run_whose_start_was_not_validated_has_no_gain() -> None:
    old = {"best_step": 40, "steps": 100, "recall@20": 0.5}
    found = suite.summarise_member(OURS[:1], BASELINES, "all", [old])
    assert found["training"]["gains"] == [None]
    assert suite.summarise_member(OURS[:1], BASELINES, "all", [old | {"initial_recall@20": None}])["training"][
        "gains"
    ] == [None]


def test_without_a_baseline_or_beside_one_of_zero_there_is_no_ratio() -> None:
    alone = suite.summarise_member(OURS, {}, "all", TRAININGS)
    assert {alone["metrics"]["recall@20"][name] for name in ("baseline", "baseline_mean", "ratio", "p")} == {None}
    nothing = suite.summarise_member(OURS, {"zero": evaluation([0, 0], [0, 0])}, "all", TRAININGS)
    assert nothing["metrics"]["recall@20"]["baseline"] == "zero" and nothing["metrics"]["recall@20"]["ratio"] is None
    assert suite.worst({"alone": alone, "nothing": nothing, "broken": {"failed": "why"}}) is None
    assert "none" in suite.in_words(None)


def test_the_worst_ratio_is_of_all_members_and_metrics() -> None:
    good = suite.summarise_member(OURS, {"ease": BASELINES["ease"]}, "all", TRAININGS)  # 1.2 and 1.5.
    bad = suite.summarise_member(OURS, {"ials": BASELINES["ials"]}, "all", TRAININGS)  # 1.5 and 0.5.
    found = suite.worst({"good": good, "broken": {"failed": "why"}, "bad": bad})
    assert found == {"ratio": pytest.approx(0.5), "member": "bad", "metric": "ndcg@20", "baseline": "ials"}
    assert suite.in_words(found) == "worst ratio: 0.500, NDCG@20 of bad, where ials is the best baseline"


@pytest.mark.parametrize("slice_name", ["few", "absent"])
def test_a_slice_without_users_is_refused_with_a_way_out(slice_name: str) -> None:
    with pytest.raises(InputError, match=r"split\.pseudo_cold_share"):
        suite.summarise_member(OURS, BASELINES, slice_name, TRAININGS)


TINY = [
    "data.world={users: 60, items: 80, clicks: 900, modalities: {visual: 4, acoustic: 3}}",
    "split.kind=random",
    "clusters.count=3",
    "history.length=4",
    "model.dim=8",
    "negatives.count=8",
    "training.batch_size=32",
    "evaluation.baselines=[popularity, truth]",
]
SUITE: dict[str, Any] = {
    "name": "tiny",
    "seeds": 2,
    "data": {"films": None},
    "settings": TINY,
    "members": {
        "broken": {"settings": ["split.cold_file=nothing.json"]},
        "films": {"data": "films", "settings": ["data.format=table", "data.modalities={visual: clip}"]},
        "warm": {},
        "cold": {"settings": ["split.pseudo_cold_share=0.3"], "slice": "cold_only"},
    },
}


def finish_and_count(config: Config, prepared: Prepared, on_validation: Any = None) -> Path:
    """As a training that gained 0.25, and notes that it was one."""
    from m3csr_tf.training import runs

    fresh = not (config.run_folder / runs.FINISHED_FILE).exists()
    folder = finish(config, prepared)
    if fresh:
        written = json.loads((folder / runs.FINISHED_FILE).read_text())
        write_json(folder / runs.FINISHED_FILE, written | {"recall@20": 0.75, "initial_recall@20": 0.5})
        with (config.run.folder / "trained.txt").open("a") as trained:
            trained.write(f"{config.run.name}\n")
    return folder


def invoke(folder: Path, *arguments: str, tree: dict[str, Any] = SUITE) -> Any:
    import tensorflow as tf

    from m3csr_tf.verbs import train

    (folder / "suite.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", finish_and_count)
        tf.config.run_functions_eagerly(True)  # Tracing the towers of many runs takes longer than running them.
        try:
            command = ["suite", "--config", str(folder / "suite.yaml"), *arguments]
            return CliRunner().invoke(app, [*command, f"run.folder={folder / 'runs'}"])
        finally:
            tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has run, and then run again."""
    place = tmp_path_factory.mktemp("suite")
    done = invoke(place)
    (place / "printed.txt").write_text(done.output)
    (place / "code.txt").write_text(str(done.exit_code))
    return place


def written(folder: Path, name: str = "tiny") -> dict[str, Any]:
    return json.loads((folder / "runs" / f"{name}-suite.json").read_text())


def test_ratios_of_the_verb_are_those_of_the_written_means(folder: Path) -> None:
    members = written(folder)["members"]
    assert list(members) == ["broken", "films", "warm", "cold"]
    for name, slice_name in (("warm", "all"), ("cold", "cold_only")):
        assert (members[name]["split"], members[name]["slice"]) == ("val", slice_name)
        assert members[name]["training"]["gains"] == [0.25, 0.25]
        for figures in members[name]["metrics"].values():
            assert len(figures["seeds"]) == 2 and figures["mean"] == pytest.approx(np.mean(figures["seeds"]))
            assert (
                set(figures["baselines"]) == {"popularity", "truth (ceiling)"} and figures["baseline"] == "popularity"
            )
            assert figures["baseline_mean"] == figures["baselines"]["popularity"]["mean"]
            if figures["baseline_mean"]:
                assert figures["ratio"] == pytest.approx(figures["mean"] / figures["baseline_mean"])
    ratios = [one["ratio"] for name in ("warm", "cold") for one in members[name]["metrics"].values() if one["ratio"]]
    assert written(folder)["worst"]["ratio"] == min(ratios)


def test_a_member_that_fails_says_why_the_others_go_on_and_the_exit_code_says_so(folder: Path) -> None:
    printed = " ".join((folder / "printed.txt").read_text().split())
    assert (folder / "code.txt").read_text() == "2"
    assert "nothing.json" in written(folder)["members"]["broken"]["failed"]
    assert "broken has failed: " in printed and "1 of 3 members of the suite have failed: broken" in printed


def test_a_member_without_its_data_is_left_out_and_the_output_says_so(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    assert "films is left out: no folder for films; pass --data films=FOLDER" in printed
    assert "left_out" in written(folder)["members"]["films"]
    given = invoke(folder, "--data", "films=nowhere", "--member", "films", "run.name=given")
    assert given.exit_code == 2 and "nowhere" in written(folder, "given")["members"]["films"]["failed"]


def test_the_table_and_the_worst_ratio_are_printed(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    for words in ("val all", "val cold_only", "popularity", "+0.2500", "best steps 1, 1 of 1", "member 3 of 3: cold"):
        assert words in printed
    assert suite.in_words(written(folder)["worst"]) in printed


def test_a_finished_run_is_not_trained_again_and_test_must_be_asked_for(folder: Path) -> None:
    names = ["tiny-warm-seed0", "tiny-warm-seed1", "tiny-cold-seed0", "tiny-cold-seed1"]
    validation = written(folder)["members"]["warm"]["metrics"]
    done = invoke(folder, "--member", "warm", "--split", "test")
    assert done.exit_code == 0, done.output
    assert (folder / "runs" / "trained.txt").read_text().split() == names
    assert list(written(folder)["members"]) == ["warm"] and written(folder)["members"]["warm"]["split"] == "test"
    assert written(folder)["members"]["warm"]["metrics"] != validation
    assert not list((folder / "runs").glob("tiny-*/metrics.json"))  # It would hold figures of the test split.


def test_a_recipe_of_all_members_needs_a_name_of_its_own(folder: Path) -> None:
    arguments = ["--member", "warm", "--count", "1", "model.dim=4"]
    refused = invoke(folder, *arguments)
    assert refused.exit_code == 2 and "model.dim: 8 -> 4" in " ".join(refused.output.split())
    done = invoke(folder, *arguments, "run.name=narrow")
    assert done.exit_code == 0, done.output
    assert "dim: 4" in (folder / "runs" / "narrow-warm-seed0" / "config.yaml").read_text()
    assert written(folder, "narrow")["settings"][-3:] == ["model.dim=4", "run.name=narrow", f"run.folder={folder}/runs"]


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"members": {}}, [], "members"),
        ({"members": {"a": {"data": "absent"}}}, [], "members.a.data is 'absent', but data names films"),
        ({"members": {"a": {"settings": ["model.width=2"]}}}, [], "members.a: model.width"),
        ({"members": {"a": {"slice": "warmest"}}}, [], "members.a.slice"),
        ({"members": {"a": {"data": "films"}}}, [], "every member is left out"),
        ({}, ["--data", "tiktok=folder"], "--data tiktok=folder: expected NAME=FOLDER"),
        ({}, ["--member", "hot"], "--member hot: the suite has no such member"),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_trained(
    change: dict[str, Any], arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = invoke(tmp_path, *arguments, tree=SUITE | change)
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert not (tmp_path / "runs").exists()


def test_the_suite_of_the_repository_is_read_and_every_member_has_a_valid_configuration() -> None:
    from m3csr_tf.verbs import suite as verb
    from m3csr_tf.verbs.suite_file import read_suite

    path = REPOSITORY / "pipelines" / "configs" / "suite.yaml"
    asked = read_suite(path)
    assert len(asked.members) == 10 and {member.split for member in asked.members.values()} == {"val"}
    for name, member in asked.members.items():
        found = verb._base(path, asked, name, member, {"tiktok": Path("t"), "mlsmall": Path("m")}, [])
        assert (member.slice == "cold_only") == (found.split.pseudo_cold_share > 0)
        assert found.model == Config().model and found.training == Config().training
        if member.data is not None:
            assert found.data.path == Path(member.data[0])
    with pytest.raises(ConfigError, match="check --config"):
        read_suite(path.with_name("absent.yaml"))
