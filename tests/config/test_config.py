"""The configuration: one tree, checked once, with a message that names what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from m3csr_tf.config import PREPARE_SECTIONS, Config, described, load
from m3csr_tf.errors import ConfigError

CONFIGS = sorted(
    path
    for path in (Path(__file__).parents[2] / "pipelines" / "configs").glob("*.yaml")
    # Suites, experiments and simulations name configurations and are none themselves.
    if path.stem != "suite" and not path.stem.startswith(("paper_", "simulate_"))
)

positive = st.floats(1e-6, 1e6)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
trees = st.fixed_dictionaries(
    {},
    optional={
        "run": st.fixed_dictionaries(
            {"name": st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,20}\Z"), "seed": st.integers(0, 2**32 - 1)},
            optional={
                "folder": st.sampled_from(["runs", "/tmp/with space", "ünïcode/x"]),
                "deterministic": st.booleans(),
            },
        ),
        "data": st.fixed_dictionaries(
            {"format": st.sampled_from(["table", "mmssl", "mmrec"]), "path": st.just("logs")},
            optional={
                "modalities": st.dictionaries(st.sampled_from(["visual", "sound", "text"]), texts, min_size=1).filter(
                    lambda files: len(set(files.values())) == len(files)
                )
            },
        ).map(lambda data: {"modalities": {"visual": "v.npy"}} | data),
        "split": st.fixed_dictionaries({"cold_share": st.floats(0, 0.9)}),
        "model": st.fixed_dictionaries(
            {"dim": st.sampled_from([2, 8, 64]), "heads": st.sampled_from([1, 2])},
            optional={
                "temperature": st.floats(1e-4, 1e4),
                "width": st.sampled_from(["full", "half"]),
                "gate": st.booleans(),
            },
        ),
        "training": st.fixed_dictionaries(
            {"learning_rate": st.floats(1e-6, 1e3)}, optional={"alpha": positive, "batch_size": st.integers(2, 10**5)}
        ),
        "evaluation": st.fixed_dictionaries({"top_n": st.lists(st.integers(1, 500)).map(lambda few: [*few, 20])}),
    },
)


@settings(deadline=None, max_examples=40)
@given(tree=trees)
def test_the_resolved_tree_reads_back_to_an_equal_one(tree: dict[str, Any], tmp_path_factory: Any) -> None:
    config = Config.model_validate(tree)
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    again = load(path)
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    assert again.to_yaml() == config.to_yaml()


def test_the_resolved_tree_spells_out_every_default() -> None:
    tree = yaml.safe_load(Config().to_yaml())
    nested = {"data.world", "data.events", "model.initial"}
    names = {f"{section}.{name}" for section, values in tree.items() for name in values} - nested
    listed = {name for name, _, _ in described()}
    assert names <= listed
    for section in ("world", "events"):
        assert {f"data.{section}.{name}" for name in tree["data"][section]} <= listed
    assert {f"model.initial.{name}" for name in tree["model"]["initial"]} <= listed


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_every_configuration_of_the_pipelines_loads(path: Path) -> None:
    assert load(path).run.name == path.stem


def test_the_papers_configuration_is_the_paper_to_the_letter() -> None:
    config = load(next(path for path in CONFIGS if path.stem == "tiktok_paper"))
    assert (config.model.dim, config.training.batch_size, config.history.length) == (64, 1024, 20)
    assert (config.negatives.kind, config.training.loss, config.training.bpr_weighting) == ("uniform", "bpr", "uniform")
    assert (config.training.positives, config.training.learning_rate) == ("per_interaction", 1e-3)
    assert (config.training.alpha, config.training.beta, config.model.temperature) == (1e-6, 1e-5, 0.07)
    assert config.training.schedule == "constant"
    assert (config.training.content_rate, config.training.id_rate, config.training.history_power) == (1, 1, 0)
    assert (config.training.walk_positives, config.history.dropout) == (0, 0)
    assert (config.model.id_width, config.model.new_ids, config.model.content_initialisation) == (
        64,
        "shared",
        "xavier",
    )
    assert (config.model.id_initialisation, config.model.attention_initialisation) == ("xavier", "xavier")
    assert (config.training.item_id_dropout, config.training.user_id_dropout) == (0, 0)
    assert config.model.intensity and config.model.clusters and config.model.gate and config.model.orthogonality


def test_without_a_file_everything_is_default_and_nothing_can_change_after() -> None:
    config = load(None)
    assert config == Config()
    with pytest.raises(ValidationError):
        config.run.seed = 1


def test_overrides_are_yaml_values_at_dotted_places_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("run: {name: file, seed: 1}\nmodel:\n")
    overrides = [
        "run.seed=3",
        "data.world.users=50",
        "data.world.clicks=900",
        "evaluation.top_n=[5, 20]",
        "model.gate=false",
        "training.learning_rate=1e-2",
        "retrieve.output=a=b.parquet",
        "run.seed=4",
    ]
    config = load(path, overrides)
    assert (config.run.name, config.run.seed) == ("file", 4)
    assert (config.data.world.users, config.data.world.clicks) == (50, 900)
    assert config.evaluation.top_n == (5, 20)
    assert config.model.gate is False
    assert config.training.learning_rate == 0.01
    assert config.retrieve.output == Path("a=b.parquet")


def test_top_n_is_sorted_without_repeats() -> None:
    assert load(None, ["evaluation.top_n=[50, 20, 50, 5]"]).evaluation.top_n == (5, 20, 50)


BAD = {
    # Unknown, mistyped, out of range.
    "nosection.x=1": ["unknown setting nosection"],
    "training.learningrate=1": ["unknown setting training.learningrate"],
    "data.world.user=1": ["unknown setting data.world.user"],
    # Of another name in earlier versions.
    "training.cold_items=0.1": ["unknown setting training.cold_items; it is called training.item_id_dropout now"],
    "affinities.walks=2": ["unknown setting affinities; it is called item_graph now"],
    "model.id_start=svd": ["unknown setting model.id_start", "it is called model.id_initialisation now"],
    "model.initial.fold_choices=9": ["model.initial.fold_choices", "it is called model.initial.fold_samples now"],
    "training.learning_rate=fast": ["training.learning_rate", "'fast'"],
    "training.learning_rate=0": ["training.learning_rate", "0"],
    "training.learning_rate=.inf": ["training.learning_rate", "inf"],
    "training.alpha=.nan": ["training.alpha", "nan"],
    "training.batch_size=1": ["training.batch_size", "1"],
    "training.batch_size=1.5": ["training.batch_size", "1.5"],
    "training.loss=hinge": ["training.loss", "'hinge'"],
    "training.averaging=1": ["training.averaging", "1"],
    "training.item_id_dropout=1.5": ["training.item_id_dropout", "1.5"],
    "training.patience=0": ["training.patience", "0"],
    "run.seed=-1": ["run.seed", "-1"],
    "run.seed=4294967296": ["run.seed", "4294967296"],
    "split.seed=4294967296": ["split.seed", "4294967296"],
    "run.name=../other": ["run.name", "'../other'"],
    "run.name=": ["run.name", "None"],
    "run.threads=-1": ["run.threads"],
    "run.name.first=x": ["run.name"],
    "model=3": ["'model=3'", "section.name=value"],
    "history.length=0": ["history.length"],
    "clusters.count=0": ["clusters.count"],
    "popularity.bins=1": ["popularity.bins"],
    "popularity.source=likes": ["popularity.source", "'likes'"],
    "negatives.kind=hard": ["negatives.kind", "'hard'"],
    "index.recall=1.01": ["index.recall"],
    "evaluation.baselines=[pop]": ["evaluation.baselines", "'pop'"],
    "data.world.modalities={}": ["data.world.modalities"],
    "data.world.modalities={visual: 0}": ["data.world.modalities.visual"],
    # Contradictions inside a section.
    "model.heads=3": ["model.heads", "3, 64 and 256"],
    "evaluation.top_n=[10]": ["evaluation.top_n", "20", "[10]"],
    "evaluation.top_n=[0, 20]": ["evaluation.top_n"],
    "split.ratios=[0.8, 0.1, 0.2]": ["split.ratios", "[0.8, 0.1, 0.2]"],
    "split.ratios=[0.9, 0.1, 0.0]": ["split.ratios"],
    "split.ratios=[.nan, 0.1, 0.1]": ["split.ratios"],
    "data.format=mmssl": ["data.path", "data.format=mmssl"],
    "data.world.clicks=10": ["data.world.clicks", "10"],
    "data.world.clicks=4000000": ["data.world.clicks", "4000000"],
    "data.world.modalities={user_row: 3}": ["data.modalities", "'user_row'"],
    "data.world.modalities={two words: 3}": ["data.modalities", "'two words'"],
    # No overrides at all.
    "run.seed": ["'run.seed'", "section.name=value"],
    "=3": ["'=3'", "section.name=value"],
    "run..seed=3": ["'run..seed=3'", "section.name=value"],
    "run.name=[": ["'run.name=['", "valid YAML"],
}


@pytest.mark.parametrize("override", BAD)
def test_a_bad_setting_gives_one_line_that_names_it(override: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, [override])
    message = str(raised.value)
    assert "\n" not in message
    assert all(part in message for part in BAD[override]), message


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.width=half", "model.dim=5"], ["model.width=half", "5"]),
        (["split.cold_share=0.1", "split.cold_file=cold.json"], ["split.cold_share", "split.cold_file"]),
        (["data.format=table", "data.path=logs"], ["data.modalities"]),
        (["run.seed=1", "run.seed.x=3"], ["'run.seed.x=3'", "'seed'"]),
    ],
)
def test_settings_that_contradict_each_other_are_named(overrides: list[str], named: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, overrides)
    assert all(part in str(raised.value) for part in named), str(raised.value)


def test_all_bad_settings_of_a_file_are_named_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("run: {seed: -1}\nmodel: {dim: big}\n")
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert all(part in str(raised.value) for part in ("config.yaml", "run.seed", "model.dim", "'big'"))


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"run: {name: [", "not valid YAML"),
        (b"- run\n- model\n", "expected a mapping of sections, got list"),
        (b"just words", "expected a mapping of sections, got str"),
        (b"run: \xff\xfe", "not valid YAML"),
        (b"run: !!python/object/apply:os.getcwd []", "not valid YAML"),
        (b"run: 3", "run: "),
    ],
)
def test_a_file_that_is_no_configuration_is_named(content: bytes, named: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert str(path) in str(raised.value) and named in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(ConfigError) as raised:
            load(path)
        assert str(path) in str(raised.value)


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert load(tmp_path / "empty.yaml") == Config()


@pytest.mark.parametrize(
    "override",
    [
        "training.learning_rate=0.5",
        "run.seed=1",
        "run.deterministic=true",
        "model.gate=false",
        "negatives.kind=uniform",
        "history.length=5",
        "data.world.seed=8",
        "split.seed=1",
        "clusters.count=5",
    ],
)
def test_the_fingerprint_changes_with_what_the_weights_depend_on(override: str) -> None:
    assert load(None, [override]).fingerprint() != Config().fingerprint()


@pytest.mark.parametrize(
    "override",
    [
        "run.folder=elsewhere",
        "run.release_folder=x",
        "run.name=other",
        "run.threads=3",
        "run.overwrite=true",
        "evaluation.bootstrap=3",
        "index.kind=tree",
        "retrieve.top_n=7",
    ],
)
def test_the_fingerprint_does_not_change_with_the_rest(override: str) -> None:
    assert load(None, [override]).fingerprint() == Config().fingerprint()


def test_the_fingerprint_of_sections_is_theirs_alone() -> None:
    plain = Config().fingerprint(*PREPARE_SECTIONS)
    assert load(None, ["training.learning_rate=0.5", "run.seed=3"]).fingerprint(*PREPARE_SECTIONS) == plain
    assert load(None, ["split.cold_share=0.2"]).fingerprint(*PREPARE_SECTIONS) != plain


def test_modalities_are_those_of_the_world_or_of_the_files_in_their_order() -> None:
    assert load(None, ["data.world.modalities={b: 3, a: 2}"]).data.modality_names == ["b", "a"]
    given_files = ["data.format=mmssl", "data.path=x", "data.modalities={sound: s.npy, look: l.npy}"]
    assert load(None, given_files).data.modality_names == ["sound", "look"]


def test_a_run_and_its_release_lie_under_its_name() -> None:
    config = load(None, ["run.name=tonight", "run.folder=a", "run.release_folder=b"])
    assert (config.run_folder, config.release_folder) == (Path("a/tonight"), Path("b/tonight"))


@pytest.mark.parametrize("id_initialisation", ["auto", "walks"])
def test_an_id_initialisation_that_sets_the_attention_s_values_needs_identity_attention(
    id_initialisation: str,
) -> None:
    with pytest.raises(
        ConfigError, match=f"model.id_initialisation={id_initialisation} needs model.attention_initialisation=identity"
    ):
        load(None, [f"model.id_initialisation={id_initialisation}", "model.attention_initialisation=xavier"])


def test_one_part_of_the_users_is_refused_since_it_leaves_no_others_to_place_items() -> None:
    with pytest.raises(ConfigError, match=r"training\.cross_fit must be 0 or at least 2, got 1"):
        load(None, ["training.cross_fit=1"])


def test_in_batch_negatives_refuse_walk_positives_whose_probability_nobody_knows() -> None:
    with pytest.raises(ConfigError, match="walk_positives"):
        load(None, ["negatives.kind=in_batch", "training.walk_positives=0.5"])


def test_the_cold_split_of_tiktok_has_the_settings_of_the_warm_one() -> None:
    folder = CONFIGS[0].parent
    warm, cold = (load(folder / f"{name}.yaml").model_dump() for name in ("tiktok", "tiktok_cold"))
    del warm["run"]["name"], cold["run"]["name"]
    assert cold["split"].pop("cold_file") and warm["split"].pop("cold_file") is None
    assert cold == warm


def test_settings_that_spark_would_ignore_are_refused() -> None:
    assert load(None, ["spark.conf={spark.task.cpus: 2, spark.ui.enabled: false}"]).spark.conf == {
        "spark.task.cpus": "2",
        "spark.ui.enabled": "false",
    }
    with pytest.raises(ConfigError, match=r"executor\.memory, which Spark would ignore"):
        load(None, ["spark.conf={executor.memory: 4g}"])
