"""Settings that are too large for data or memory, of another type, contradictory, or not meant: one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_logs import Logs

from m3csr_tf.config import described, load
from m3csr_tf.errors import ConfigError

HUGE = [
    "retrieve.top_n=1e8",
    "retrieve.batch_size=1000000000",
    "retrieve.shard=1/99999999999",
    f"retrieve.shard={'9' * 5000}/1",
    "history.length=1000000000",
    "history.training_length=1000000000",
    "model.dim=1000000",
    "model.id_dim=1000000",
    "model.heads=1000000",
    "model.user_hash_rows=1000000000000",
    "model.item_hash_rows=1000000000000",
    "model.temperature=1e-30",
    "model.temperature=1e30",
    "training.batch_size=1000000000",
    "training.learning_rate=1e300",
    "training.alpha=1e300",
    "training.beta=1e300",
    "training.epochs=1e300",
    "training.max_steps=1e18",
    "negatives.count=1000000000",
    "negatives.whole_pool=1000000000",
    "item_graph.walks=1000000000",
    "item_graph.neighbours=1000000000",
    "ials.grid=[[1e300, 1]]",
    "ials.grid=[[1, 1e-300]]",
    "ials.sweeps=1000000000",
    "ials.fold_in=1e300",
    "evaluation.bootstrap=1000000000",
    "evaluation.block=1000000000",
    "evaluation.top_n=[20, 1000000000]",
    "popularity.bins=1000000000",
    "clusters.count=1000000000",
    "content.components=1000000000",
    "index.recall_at=1000000000",
    "data.world.users=1000000000000",
    "data.world.items=1000000000000",
    "data.world.modalities={visual: 1000000000}",
    "data.world.topics=1000000000",
    "data.world.taste_spread=1e-300",
    "data.world.scale=1e300",
    "run.threads=1000000000",
]
MISTYPED = {
    "run.seed=true": "run.seed: expected a number, got True",
    "training.learning_rate=false": "training.learning_rate: expected a number, got False",
    "evaluation.top_n=[20, true]": "expected a number",
    "data.world.modalities={visual: true}": "expected a number",
    "split.ratios=[true, 0.1, 0.1]": "expected a number",
    "run.seed=0x": "'0x'",
    "run.seed=0x1F": "'0x1F'",
    "run.seed=2026-02-30": "'2026-02-30'",
    "run.seed=25:00": "'25:00'",
    'run.seed="seven"': "'seven'",
    "run.seed=1.5": "1.5",
    "run.seed=[1]": "[1]",
    "model.gate=2": "model.gate",
    "run.folder=[a]": "run.folder",
    'run.folder="a\\0b"': "expected text without a NUL",
    'data.path="a\\ud800"': "half a surrogate pair",
    f"run.folder={'x' * 300}": "at most 255 bytes",
    f"retrieve.users=a/{'x' * 300}": "at most 255 bytes",
    f"nosection.{'x' * 100_000}=1": "unknown setting nosection",
    f"run.seed={'x' * 100_000}": "(100,000 characters)",
}


@pytest.mark.parametrize("override", HUGE)
def test_a_setting_that_no_sensible_use_reaches_is_refused_by_name(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [override])
    assert override.partition("=")[0] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("override", MISTYPED)
def test_a_value_of_another_type_is_refused_by_name_in_a_short_line(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [override])
    assert MISTYPED[override] in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 400


def test_the_list_of_settings_says_the_range_of_each_number() -> None:
    rows = described()
    said = {name: meaning for name, _, meaning in rows}
    assert said["history.length"].startswith("from 1 to 10,000; ")
    assert any(name == "model.dim" and "m3csr: from 2 to 4,096; " in meaning for name, _, meaning in rows)
    assert said["history.dropout"].startswith("from 0 below 1; ")
    numbers = [(name, meaning) for name, default, meaning in rows if default.replace(".", "").isdigit()]
    assert not [name for name, meaning in numbers if " to " not in meaning and "below" not in meaning]


def test_of_thousands_of_unknown_settings_the_first_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("".join(f"key{number}: 1\n" for number in range(5000)))
    with pytest.raises(
        ConfigError, match=r"unknown setting key0; .*unknown setting key4; .*; and 4,995 more$"
    ) as error:
        load(tmp_path / "config.yaml")
    assert "key5" not in str(error.value)


def test_an_override_that_is_no_utf8_says_so() -> None:
    with pytest.raises(ConfigError, match=r"override 'run\.name=u\\udcff': it is no UTF-8; give"):
        load(None, ["run.name=u\udcff"])


@pytest.mark.parametrize("text", ["1e3", "1E5", ".5e3", "1e400", "0x1F", "yes", "1:30", "2026-11-01", "~", "<<"])
def test_text_of_a_condition_is_the_same_text_in_the_runs_configuration(text: str, tmp_path: Path) -> None:
    given = ["data.format=table", "data.path=logs", "data.modalities={visual: v}"]
    config = load(None, [*given, f'data.where={{tag: "{text}", "{text}": 1e3}}'])
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    again = load(tmp_path / "config.yaml")
    assert again.data.where == {"tag": text, text: 1000.0}
    assert again.fingerprint() == config.fingerprint()


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.world.users=60", "data.world={users: 50}"],
        ["data.world={users: 50}", "data.world.users=60"],
        ["data.world.users=60", "data.world={items: 50}"],
        ["data.world.modalities.visual=3", "data.world.modalities={sound: 4}"],
    ],
)
def test_overrides_that_contradict_each_other_nested_and_dotted_are_refused(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"override 'data\.world.*another override says otherwise"):
        load(None, overrides)


def test_overrides_that_complete_each_other_are_taken_and_the_last_of_a_setting_counts() -> None:
    overrides = ["data.world={users: 500}", "data.world.items=70", "data.world.clicks=900", "run.seed=1", "run.seed=2"]
    config = load(None, overrides)
    assert (config.data.world.users, config.data.world.items, config.run.seed) == (500, 70, 2)


def test_a_dotted_name_in_a_file_is_told_from_an_unknown_one(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("run.seed: 3\n")
    with pytest.raises(ConfigError, match=r"unknown setting run\.seed; write section and name on two levels"):
        load(tmp_path / "config.yaml")


def test_tables_larger_than_the_machines_memory_are_refused_before_they_are_made(untrained_run: Any) -> None:
    from m3csr_tf.errors import RunError
    from m3csr_tf.training.runs import build_model

    model = untrained_run.config.model.model_copy(update={"user_hash_rows": 10**9, "dim": 4096})
    with pytest.raises(RunError, match=r"GiB in training, and this machine has .*; lower model\.dim"):
        build_model(untrained_run.config.model_copy(update={"model": model}), untrained_run.prepared)


def test_vectors_that_are_not_finite_say_what_to_change() -> None:
    import numpy as np

    from m3csr_tf.errors import RunError
    from m3csr_tf.ranking.full_ranking import top_n

    users, items = np.ones((5, 2), np.float32), np.full((4, 2), np.nan, np.float32)
    with pytest.raises(RunError, match=r"item_vectors: 4 of 4 vectors are not finite.*lower training\.learning_rate"):
        top_n(users, items, 2)


@pytest.mark.parametrize("word", ["list", "verify", "rollback", "prune"])
def test_verbs_of_a_release_ask_for_the_release_and_not_for_the_data(word: str, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    del logs.overrides["data.path"], logs.overrides["data.modalities"]
    result = logs.run("release", word)
    assert result.exit_code == 2 and "no release here" in result.stderr, result.output
    assert "data.path" in logs.run("release").stderr


def test_refresh_asks_for_no_data_either(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    del logs.overrides["data.path"], logs.overrides["data.modalities"]
    result = logs.run("refresh", "--compact")
    assert result.exit_code == 2 and "no release here" in result.stderr, result.output
