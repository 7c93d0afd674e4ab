"""Section `model` has the settings of the kind that `model.kind` names, and the kind's recipe for other sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from m3csr_tf.config import (
    KINDS,
    PREPARE_SECTIONS,
    Config,
    FreedomConfig,
    M3CSRConfig,
    SiameseConfig,
    TrainingConfig,
    VBPRConfig,
    described,
    load,
    with_settings,
)
from m3csr_tf.config.models import PAIRWISE_RECIPE
from m3csr_tf.errors import ConfigError

RIVALS = [kind for kind in KINDS if kind != "m3csr"]
EVERY_KIND = ["m3csr", "bpr_mf", "lightgcn", "vbpr", "siamese", "mmgcn", "lattice", "freedom", "mmssl"]


def value_of(config: Config, name: str) -> Any:
    section, _, own = name.partition(".")
    return getattr(getattr(config, section), own)


def test_without_a_kind_the_model_is_m3csr_with_the_defaults_that_it_always_had() -> None:
    config = load(None, ["model.heads=2"])
    assert isinstance(config.model, M3CSRConfig) and config.model.kind == "m3csr" and config.model.heads == 2
    assert config == load(None, ["model.kind=m3csr", "model.heads=2"])
    assert (config.training.loss, config.negatives.kind, config.exposure.cold_share) == (
        "softmax",
        "shared",
        "catalogue",
    )


def test_a_stored_configuration_without_a_kind_is_of_m3csr(tmp_path: Path) -> None:
    tree = yaml.safe_load(Config().to_yaml())
    del tree["model"]["kind"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree))
    assert load(tmp_path / "config.yaml") == Config()


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_has_its_own_section(kind: str) -> None:
    config = load(None, [f"model.kind={kind}"])
    assert type(config.model) is KINDS[kind] and config.model.kind == kind
    assert config.model.dim == 64


def test_there_are_no_other_kinds() -> None:
    assert list(KINDS) == EVERY_KIND


@pytest.mark.parametrize("given", ["bprmf", "M3CSR", "''", "3", "[vbpr]", "{vbpr: 1}", "true"])
def test_an_unknown_kind_is_refused_with_a_list_of_those_that_there_are(given: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"^model\.kind: expected one of {', '.join(EVERY_KIND)}, or, .*, got ",
    ):
        load(None, [f"model.kind={given}"])


@pytest.mark.parametrize("kind", RIVALS)
def test_a_rival_is_trained_by_its_recipe_where_the_user_says_nothing(kind: str) -> None:
    config = load(None, [f"model.kind={kind}", "training.validation_users=64"])
    recipe = KINDS[kind].recipe
    assert set(recipe) >= set(PAIRWISE_RECIPE)
    assert {name: value_of(config, name) for name in recipe} == dict(recipe)
    assert config.training.validation_users == 64
    assert config.training.patience == TrainingConfig().patience


def test_what_the_user_says_wins_over_the_recipe_even_where_it_is_the_general_default(tmp_path: Path) -> None:
    # The general defaults are softmax, 512 shared negatives and cosine; those of the recipe bpr, uniform and constant.
    (tmp_path / "config.yaml").write_text("model: {kind: lightgcn}\ntraining: {loss: softmax}\n")
    config = load(tmp_path / "config.yaml", ["negatives.kind=shared", "training.schedule=cosine"])
    assert (config.training.loss, config.negatives.kind, config.training.schedule) == ("softmax", "shared", "cosine")
    assert config.training.positives == PAIRWISE_RECIPE["training.positives"] == "per_interaction"
    assert config.training.learning_rate == KINDS["lightgcn"].recipe["training.learning_rate"]


def test_a_section_that_is_given_whole_is_taken_as_it_is() -> None:
    training = TrainingConfig(epochs=3)
    config = Config(model=VBPRConfig(content_dim=8), training=training)
    assert config.training == training
    assert config.model == VBPRConfig(content_dim=8)
    assert (config.negatives.kind, config.exposure.cold_share) == ("uniform", "trained")


def test_the_recipe_leaves_the_tree_that_was_given_as_it_was() -> None:
    tree: dict[str, Any] = {"model": {"kind": "vbpr"}, "training": {"epochs": 2}}
    Config.model_validate(tree)
    assert tree == {"model": {"kind": "vbpr"}, "training": {"epochs": 2}}


OWN = {
    "bpr_mf": {"model.item_bias": False},
    "lightgcn": {"model.layers": 2},
    "vbpr": {"model.content_dim": 3},
    "siamese": {"model.hidden": [9, 7]},
    "mmgcn": {"model.layers": 1},
    "lattice": {"model.kept": 0.5},
    "freedom": {"model.modality_weights": {"visual": 0.25}},
    "mmssl": {"model.dropout": 0.4},
    "m3csr": {"model.gate": False},
}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_resolved_configuration_of_every_kind_reads_back_to_an_equal_tree(kind: str, tmp_path: Path) -> None:
    # One setting against the recipe: read back, it must not turn into what the recipe says.
    config = with_settings(load(None, [f"model.kind={kind}", "training.averaging=0.98"]), OWN[kind])
    assert config.training.averaging == 0.98
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    again = load(tmp_path / "config.yaml")
    assert again == config
    assert again.fingerprint() == config.fingerprint()
    tree = yaml.safe_load(config.to_yaml())
    assert set(tree["model"]) == set(KINDS[kind].model_fields)


def test_other_settings_of_a_resolved_configuration_bring_no_recipe_back() -> None:
    config = load(None, ["model.kind=vbpr", "training.loss=softmax"])
    again = with_settings(config, {"model.dim": 8})
    assert again.model == VBPRConfig(dim=8)
    assert again.training == config.training


@pytest.mark.parametrize(
    ("kind", "setting"), [("vbpr", "heads=2"), ("bpr_mf", "layers=2"), ("m3csr", "content_dim=8"), ("mmgcn", "no=1")]
)
def test_a_setting_of_another_kind_is_refused_naming_the_kind_that_was_chosen(kind: str, setting: str) -> None:
    name = setting.partition("=")[0]
    with pytest.raises(ConfigError, match=rf"^unknown setting model\.{name} for model\.kind={kind}; `m3csr settings`"):
        load(None, [f"model.{setting}", f"model.kind={kind}"])


BAD = {
    "model.dim=0": "vbpr",
    "model.dim=true": "vbpr",
    "model.content_dim=big": "vbpr",
    "model.item_bias=2": "bpr_mf",
    "model.layers=9": "lightgcn",
    "model.hidden=[0]": "siamese",
    "model.kept=1.1": "lattice",
    "model.neighbours=0": "freedom",
    "model.edge_dropout=1": "freedom",
    "model.modality_weights={visual: -1}": "freedom",
    "model.contrastive_temperature=0": "mmssl",
}


@pytest.mark.parametrize("override", BAD)
def test_a_value_out_of_its_range_is_refused_by_the_name_that_the_user_gave_it(override: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(None, [f"model.kind={BAD[override]}", override])
    assert str(raised.value).startswith(override.partition("=")[0])
    assert "\n" not in str(raised.value)


def test_overrides_are_read_by_the_type_that_the_setting_has_in_the_kind_that_has_it() -> None:
    assert load(None, ["model.dim=32", "model.kind=mmssl"]).model.dim == 32
    siamese = load(None, ["model.kind=siamese", "model.hidden=[8, 4]"]).model
    assert isinstance(siamese, SiameseConfig) and siamese.hidden == (8, 4)
    freedom = load(None, ["model.kind=freedom", "model.modality_weights={acoustic: 2}", "model.modal_loss=1e-2"]).model
    assert isinstance(freedom, FreedomConfig)
    assert (freedom.modality_weights, freedom.modal_loss) == ({"acoustic": 2.0}, 0.01)
    # Null where a number may be missing is no text, though other kinds lack the setting.
    assert load(None, ["model.id_dim=null"]).m3csr.id_dim is None


def test_one_modality_may_be_weighed_alone_and_unknown_or_no_modalities_are_refused() -> None:
    def freedom(weights: str) -> list[str]:
        return ["model.kind=freedom", "data.world.modalities={look: 4, sound: 3}", f"model.modality_weights={weights}"]

    assert load(None, freedom("{look: 0}")).model.model_dump()["modality_weights"] == {"look": 0.0}
    with pytest.raises(ConfigError, match=r"names 'smell', which is no modality of the data; expected look, sound"):
        load(None, freedom("{smell: 1}"))
    with pytest.raises(ConfigError, match="gives every modality a weight of 0"):
        load(None, freedom("{look: 0, sound: 0}"))


def test_a_verb_of_a_release_need_not_say_what_modalities_there_are() -> None:
    overrides = ["data.format=table", "model.kind=freedom", "model.modality_weights={look: 2}"]
    assert load(None, overrides, without_data=True).model.kind == "freedom"


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["model.kind=vbpr", "exposure.cold_share=0.1"], "vbpr"),
        (["model.kind=lightgcn", "exposure.cold_share=catalogue"], "lightgcn"),
        (["model.popularity_bias=false"], "m3csr"),
    ],
)
def test_places_for_cold_items_need_a_model_with_a_popularity_bias(overrides: list[str], kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"exposure\.cold_share needs .* for model\.kind={kind}; or pass"):
        load(None, overrides)
    assert load(None, ["model.popularity_bias=false", "exposure.cold_share=trained"]).exposure.cold_share == "trained"


def test_what_works_for_m3csr_alone_says_so_of_a_run_of_another_kind() -> None:
    assert load(None).m3csr == M3CSRConfig()
    with pytest.raises(ConfigError, match=r"night is of model\.kind=vbpr, which this does not work for"):
        _ = load(None, ["run.name=night", "model.kind=vbpr"]).m3csr


def test_the_fingerprint_tells_kinds_apart_and_what_is_prepared_does_not_depend_on_them() -> None:
    configs = [load(None, [f"model.kind={kind}"]) for kind in EVERY_KIND]
    assert len({config.fingerprint() for config in configs}) == len(EVERY_KIND)
    assert len({config.fingerprint(*PREPARE_SECTIONS) for config in configs}) == 1


def test_the_list_of_settings_has_those_of_every_kind_with_the_kinds_that_they_belong_to() -> None:
    rows = [row for row in described() if row[0].startswith("model.")]
    assert len(set(rows)) == len(rows)
    assert rows[0][:2] == ("model.kind", '"m3csr"') and rows[0][2].startswith(" | ".join(EVERY_KIND))
    for kind, section in KINDS.items():
        for name in section.model_fields:
            of_kind = [row for row, _, meaning in rows if kind in meaning.split(":")[0]]
            nested = any(row.startswith(f"model.{name}.") for row in of_kind)
            assert of_kind.count(f"model.{name}") == (0 if nested else 1) or name == "kind", (kind, name)
    defaults = {(name, default) for name, default, meaning in rows if "vbpr" in meaning.split(":")[0]}
    assert defaults == {("model.kind", '"m3csr"'), ("model.dim", "64"), ("model.content_dim", "64")}
    layers = {default: meaning for name, default, meaning in rows if name == "model.layers"}
    assert layers["3"].startswith("of kind lightgcn: from 0 to 8; ")
    assert layers["2"].startswith("of kinds mmgcn, lattice, freedom, mmssl: from 0 to 8; ")


@pytest.mark.parametrize(("given", "kept"), [("training.max_steps=7", (None, 7)), ("training.epochs=2", (2, None))])
def test_how_long_to_train_is_said_by_the_user_or_the_recipe_but_not_by_both(
    given: str, kept: tuple[float | None, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("training.max_steps", "training.epochs"):
        monkeypatch.setattr(KINDS["bpr_mf"], "recipe", {**PAIRWISE_RECIPE, setting: 30})
        training = load(None, ["model.kind=bpr_mf", given]).training
        assert (training.epochs, training.max_steps) == kept


def test_settings_that_a_kind_does_not_read_are_named_where_they_ask_for_something() -> None:
    # dropout and cross_fit ask for what BPR-MF has not; the rate is read by VBPR alone of the two; batch_size by both.
    given = ["history.dropout=0.25", "training.cross_fit=4", "training.id_rate=0.5", "training.batch_size=64"]
    assert load(None, ["model.kind=bpr_mf", *given]).without_effect() == [
        "history.dropout=0.25",
        "training.cross_fit=4",
        "training.id_rate=0.5",
    ]
    assert load(None, ["model.kind=vbpr", *given]).without_effect() == ["history.dropout=0.25", "training.cross_fit=4"]
    assert load(None, ["model.kind=m3csr", *given]).without_effect() == []
    # Nor is a model of one's own told what it reads.
    assert load(None, ["model.kind=package.module:Model", *given]).without_effect() == []


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_a_recipe_asks_for_nothing_that_its_kind_does_not_read(kind: str) -> None:
    config = load(None, [f"model.kind={kind}"])
    assert config.without_effect() == []
    assert all(value_of(config, name) is not None for name in config.model.unread)
