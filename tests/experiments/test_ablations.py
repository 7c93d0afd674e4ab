"""What the components of the model are worth: contributions, shares of the variance, and the verb on a tiny world."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import Config, load
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.evaluation.report import Evaluation, Slice
from m3csr_tf.experiments import ablations, variance


def evaluation(recalls: list[float], name: str = "all") -> Evaluation:
    values = np.asarray(recalls, float)
    return Evaluation({name: Slice(np.arange(2, 2 + len(values)), {"recall@20": values, "ndcg@20": values / 2})})


PARTS = {"id": slice(0, 1), "visual": slice(1, 3)}
ITEMS = np.array([[1, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]], np.float32)
# Means are 0; the variances of the three entries are 2/4, 8/4 and 0, and no two vary together.


def test_shares_are_those_worked_out_by_hand() -> None:
    # User (2, 1, 5): id varies by 4 * 0.5 = 2, visual by 1 * 2 = 2: shares 1/2 and 1/2.
    # User (2, 0, 0): id alone. Means 3/4 and 1/4.
    users = np.array([[2, 1, 5], [2, 0, 0]], np.float32)
    assert variance.shares(users, ITEMS, PARTS) == pytest.approx({"id": 0.75, "visual": 0.25})


def test_a_part_that_works_against_the_others_has_a_negative_share() -> None:
    # Parts 3x and -x of the score 2x: cov(3x, 2x) / var(2x) = 6/4, cov(-x, 2x) / var(2x) = -2/4.
    items = np.array([[3, -1], [-3, 1]], np.float32)
    parts = {"id": slice(0, 1), "visual": slice(1, 2)}
    assert variance.shares(np.ones((1, 2), np.float32), items, parts) == pytest.approx({"id": 1.5, "visual": -0.5})


def test_users_whose_scores_are_all_alike_are_left_out() -> None:
    users = np.array([[2, 1, 0], [0, 0, 7], [0, 0, 0]], np.float32)
    assert variance.shares(users, ITEMS, PARTS) == pytest.approx({"id": 0.5, "visual": 0.5})
    assert variance.shares(users[1:], ITEMS, PARTS) == {}
    assert variance.lost(users[1:], ITEMS, users[1:], ITEMS) == 0


@given(seed=st.integers(0, 2**32 - 1), users=st.integers(1, 5), items=st.integers(2, 9))
def test_shares_sum_to_one_and_agree_with_scores_written_out(seed: int, users: int, items: int) -> None:
    random = np.random.default_rng(seed)
    left = random.normal(size=(users, 3)).astype(np.float32)
    right = random.normal(loc=5, size=(items, 3)).astype(np.float32)
    found = variance.shares(left, right, PARTS)
    assert sum(found.values()) == pytest.approx(1)
    scores = left.astype(float) @ right.astype(float).T
    part = left[:, :1].astype(float) @ right[:, :1].astype(float).T
    expected = [np.cov(one, all_, ddof=0)[0, 1] / np.var(all_) for one, all_ in zip(part, scores, strict=True)]
    assert found["id"] == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-4)


def test_blocks_of_users_do_not_change_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    users = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    other = users * np.array([1, 0.5, 1], np.float32)
    whole = variance.shares(users, ITEMS, PARTS), variance.lost(users, ITEMS, other, ITEMS)
    monkeypatch.setattr(variance, "_BLOCK", 3)
    assert variance.shares(users, ITEMS, PARTS) == pytest.approx(whole[0])
    assert variance.lost(users, ITEMS, other, ITEMS) == pytest.approx(whole[1])


def test_parts_that_leave_a_gap_or_overlap_are_refused() -> None:
    for parts in ({"id": slice(0, 2)}, {"id": slice(0, 2), "visual": slice(1, 3)}):
        with pytest.raises(ValueError, match="cover"):
            variance.shares(np.ones((1, 3), np.float32), ITEMS, parts)


def test_what_is_lost_is_one_less_the_squared_correlation() -> None:
    # Scores of (2, 1): 2, -2, 2, -2. Of (2, 0): 2, -2, 0, 0. Covariance 8/4, variances 16/4 and 8/4: r^2 = 4/8.
    users, others = np.array([[2, 1, 0]], np.float32), np.array([[2, 0, 0]], np.float32)
    assert variance.lost(users, ITEMS, others, ITEMS) == pytest.approx(0.5)


def test_a_rescaled_score_loses_nothing_and_a_constant_one_all() -> None:
    users = np.array([[2, 1, 0]], np.float32)
    assert variance.lost(users, ITEMS, -3 * users, ITEMS) == pytest.approx(0)
    assert variance.lost(users, ITEMS, users, ITEMS * 0) == 1


def test_other_users_or_items_are_refused() -> None:
    users = np.ones((2, 3), np.float32)
    for others, items in ((users[:1], ITEMS), (users, ITEMS[:2])):
        with pytest.raises(ValueError, match="same users and items"):
            variance.lost(users, ITEMS, others, items)


def test_weights_are_replaced_where_they_were_carried_and_nowhere_else() -> None:
    # Weights 0.5 and 0.25 of the values 8 and 8, replaced by 0.375: 3 and 3; a weight of 0 left 0.
    vectors = np.array([[1, 4, 4], [1, 2, 2], [1, 0, 0]], np.float32)
    weights = {"visual": np.array([0.5, 0.25, 0], np.float32)}
    found = variance.reweighed(vectors, weights, {"visual": 0.375}, PARTS)
    assert found.tolist() == [[1, 3, 3], [1, 3, 3], [1, 0, 0]]


def test_a_modality_is_halved_into_content_and_cluster_and_the_id_is_not() -> None:
    assert variance.halved({"id": slice(0, 2), "visual": slice(2, 6)}, ["visual"]) == {
        "id": slice(0, 2),
        "visual: content": slice(2, 4),
        "visual: cluster": slice(4, 6),
    }


def test_contributions_pair_users_and_seeds_as_worked_out_by_hand() -> None:
    full = [evaluation([0.5, 1.0, 0.25, 1.0]), evaluation([0.5, 1.0, 0.25, 0.6])]
    ablated = [evaluation([0.0, 0.5, 0.25, 1.0]), evaluation([0.0, 0.5, 0.25, 0.6])]
    found = ablations.contributions(full, ablated)["all"]["recall@20"]
    # Averaged over seeds the users differ by 0.5, 0.5, 0, 0: 0.25 +- 0.45935, p 0.1817 (test_significance). Either
    # seed differs by 0.25, so that training again adds no doubt.
    assert found["difference"] == pytest.approx(0.25)
    assert (found["low"], found["high"]) == (pytest.approx(-0.20935, abs=1e-4), pytest.approx(0.70935, abs=1e-4))
    assert found["p"] == pytest.approx(0.1817, abs=1e-4)
    assert (found["seeds"], found["error"]) == (pytest.approx([0.25, 0.25]), pytest.approx(0, abs=1e-12))


def test_the_error_over_seeds_is_that_of_their_paired_differences() -> None:
    full, ablated = [evaluation([0.5, 0.5]), evaluation([0.9, 0.9])], [evaluation([0.4, 0.4]), evaluation([0.6, 0.6])]
    # Differences 0.1 and 0.3: standard deviation sqrt(0.02) = 0.14142, over sqrt(2) 0.1.
    found = ablations.contributions(full, ablated)["all"]["recall@20"]
    assert (found["difference"], found["error"]) == (pytest.approx(0.2), pytest.approx(0.1))


def test_one_seed_and_one_user_leave_open_what_they_cannot_tell() -> None:
    found = ablations.contributions([evaluation([1.0])], [evaluation([0.5])])["all"]["recall@20"]
    assert found == {"difference": 0.5, "low": None, "high": None, "p": None, "seeds": [0.5], "error": None}
    assert ablations.figures([evaluation([1.0])])["all"]["recall@20"]["sd"] is None


def test_seeds_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="pair them"):
        ablations.contributions([evaluation([1.0])], [])


def test_runs_are_named_by_ablation_and_seed_and_differ_in_one_switch() -> None:
    config = Config.model_validate({"run": {"name": "night"}})
    found = ablations.variants(config, 2)
    assert [one.run.name for one in found["full"]] == ["night-seed0", "night-seed1"]
    assert [one.run.name for one in found["gate"]] == ["night-gate-seed0", "night-gate-seed1"]
    for name in ablations.ABLATIONS:
        assert [one.run.seed for one in found[name]] == [0, 1]
        assert found[name][0].model == config.model.model_copy(update={name: False})
        assert found[name][0].training == config.training


@pytest.mark.parametrize("count", [0, -1])
def test_fewer_runs_than_one_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="count must be at least 1"):
        ablations.variants(Config(), count)


def test_a_model_that_lacks_a_component_already_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.gate is off"):
        ablations.variants(Config.model_validate({"model": {"gate": False}}), 1)


def overrides(folder: Path) -> list[str]:
    return [
        f"run.folder={folder / 'runs'}",
        "run.name=tiny",
        "data.world={users: 60, items: 80, clicks: 900, modalities: {visual: 4, acoustic: 3}}",
        "split.kind=random",
        "split.cold_share=0.1",
        "clusters.count=3",
        "history.length=4",
        "model.dim=8",
        "negatives.count=8",
        "training.batch_size=32",
        "training.max_steps=4",
        "training.evaluate_every=4",
        "evaluation.bootstrap=0",
        "exposure.cold_share=trained",
        "evaluation.baselines=[popularity]",
    ]


def invoke(folder: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["ablations", *arguments, *overrides(folder)])


def finish(config: Config, prepared: Prepared, on_validation: Any = None) -> Path:
    """Leaves what training leaves, with the weights that it would start from: training itself takes too long here."""
    from m3csr_tf.training import finished as endings
    from m3csr_tf.training import run_files, runs

    folder = config.run_folder
    if not (folder / runs.FINISHED_FILE).exists():
        runs.weights_checkpoint(runs.build_model(config, prepared)).write(str(runs.best_weights(folder, 1)))
        finished = {"best_step": 1, "steps": 1, "recall@20": 0.0, "ndcg@20": 0.0, "training_seconds": 0.0}
        facts = finished | {"prepared": run_files.data_digest(prepared)}
        endings.write(folder, facts, config.fingerprint(), runs.best_weights(folder, 1))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the full model's run had finished, as after the verb `seeds`, and then the verb has run."""
    import tensorflow as tf

    from m3csr_tf.verbs import train

    place = tmp_path_factory.mktemp("ablations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "fit", finish)
        tf.config.run_functions_eagerly(True)  # Tracing the towers of five runs takes longer than running them.
        try:
            train.train(load(None, [*overrides(place), "run.name=tiny-seed0"]))
            (place / "finished.txt").write_text(str((place / "runs/tiny-seed0/finished.json").stat().st_mtime_ns))
            done = invoke(place, "--count", "1")
        finally:
            tf.config.run_functions_eagerly(False)
    assert done.exit_code == 0, done.output
    (place / "printed.txt").write_text(done.output)
    return place


def written(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs" / "tiny-ablations.json").read_text())


def test_every_ablation_has_figures_and_contributions_for_test_and_validation(folder: Path) -> None:
    variants = written(folder)["variants"]
    assert list(variants) == ["full", *ablations.ABLATIONS, *ablations.UNTRAINED]
    for name in (*ablations.ABLATIONS, *ablations.UNTRAINED):
        for split in ("test", "val"):
            full, own = variants["full"][split]["figures"], variants[name][split]
            assert own["contribution"].keys() == own["figures"].keys() == full.keys()
            for slice_name, metrics in own["contribution"].items():
                for metric, found in metrics.items():
                    means = (tree[slice_name][metric]["mean"] for tree in (full, own["figures"]))
                    assert found["difference"] == pytest.approx(np.subtract(*means))
    assert list(variants["full"]["test"]["figures"]) == list(ablations.SLICES)


def test_shares_of_the_trained_model_sum_to_one_and_halves_to_their_modality(folder: Path) -> None:
    parts = {name: found["mean"] for name, found in written(folder)["variance"]["parts"].items()}
    assert sum(share for name, share in parts.items() if ":" not in name) == pytest.approx(1)
    for name in ("visual", "acoustic"):
        assert parts[f"{name}: content"] + parts[f"{name}: cluster"] == pytest.approx(parts[name])
    components = {name: found["mean"] for name, found in written(folder)["variance"]["components"].items()}
    assert components["clusters"] == pytest.approx(parts["visual: cluster"] + parts["acoustic: cluster"])
    assert 0 <= components["gate"] <= 1 and 0 <= components["intensity"] <= 1
    assert "orthogonality" not in components


def test_the_console_names_every_ablation_as_the_paper_does(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text()
    for words in (
        *ablations.ABLATIONS.values(),
        *ablations.UNTRAINED.values(),
        "no part of a score",
        "cold_only",
    ):
        assert words in printed


def test_runs_share_the_files_of_one_prepared_folder(folder: Path) -> None:
    found = {path.parents[1].name: path.stat() for path in (folder / "runs").glob("*/prepared/train.parquet")}
    assert len(found) == 5
    assert len({stat.st_ino for stat in found.values()}) == 1


def test_a_run_that_has_finished_is_taken_as_it_is(folder: Path) -> None:
    finished = folder / "runs" / "tiny-seed0" / "finished.json"
    assert str(finished.stat().st_mtime_ns) == (folder / "finished.txt").read_text()


def test_each_run_keeps_its_own_metrics_and_only_the_full_model_has_baselines(folder: Path) -> None:
    found = {
        path.parent.name: json.loads(path.read_text())["baselines"]
        for path in (folder / "runs").glob("tiny-*/metrics.json")
    }
    assert len(found) == 5
    assert {name for name, baselines in found.items() if baselines} == {"tiny-seed0"}


def test_a_name_that_is_taken_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    taken = tmp_path / "runs" / "tiny-orthogonality-seed0"
    taken.mkdir(parents=True)
    (taken / "config.yaml").write_text(Config.model_validate({"model": {"dim": 4}}).to_yaml())
    done = invoke(tmp_path, "--count", "1")
    assert done.exit_code == 2 and "another configuration" in done.output
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [taken.name]


def test_the_ablations_of_another_kind_of_model_are_refused_with_what_to_do_instead() -> None:
    with pytest.raises(ConfigError, match=r"model\.kind=vbpr, and ablations .* M3CSR alone; pipelines/experiment\.py"):
        ablations.variants(load(None, ["model.kind=vbpr"]), 2)
