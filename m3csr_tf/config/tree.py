"""The whole tree of settings, the checks that span its sections, and its fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationInfo, model_validator

from m3csr_tf.config.cold import ColdConfig
from m3csr_tf.config.data import DataConfig, SplitConfig
from m3csr_tf.config.evaluation import EvaluationConfig, ExposureConfig
from m3csr_tf.config.features import (
    ClustersConfig,
    ContentConfig,
    HistoryConfig,
    IalsConfig,
    ItemGraphConfig,
    PopularityConfig,
)
from m3csr_tf.config.models import M3CSRConfig, ModelConfig, ModelSection, kind_of, section_of
from m3csr_tf.config.run import RunConfig
from m3csr_tf.config.section import WITHOUT_DATA, Section
from m3csr_tf.config.service import ServiceConfig
from m3csr_tf.config.serving import EmbedConfig, IndexConfig, ReleaseConfig, RetrieveConfig, SimilarConfig, SparkConfig
from m3csr_tf.config.training import NegativesConfig, TrainingConfig
from m3csr_tf.errors import ConfigError
from m3csr_tf.util.documents import dump_yaml
from m3csr_tf.util.hidden import HIDDEN, address_shown, is_secret, without_password

END_OF_YAML = "...\n"
"""Marks the end of a YAML document. Without it, a file that a full disk has cut could still be valid settings."""


PREPARE_SECTIONS = ("data", "split", "content", "clusters", "popularity")
"""The sections on which the prepared folder depends."""
TRAINING_SECTIONS = (*PREPARE_SECTIONS, "history", "item_graph", "ials", "model", "negatives", "training")
"""The sections that the trained weights depend on."""
AFTER_TRAINING: Mapping[str, tuple[str, ...]] = {"training": ("final_fit", "final_clicks")}
"""Section -> its settings that say what follows a training, on which its weights do not depend."""
RUN_IDENTITY = ("seed", "deterministic")
"""The settings of section run on which the trained weights depend."""


_SAME = {"training.epochs": "max_steps", "training.max_steps": "epochs"}
"""A setting, and another one of its section that a tree may have instead."""

Of = TypeVar("Of", bound=ModelSection)


class Config(Section):
    """The whole tree of settings."""

    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    content: ContentConfig = ContentConfig()
    clusters: ClustersConfig = ClustersConfig()
    popularity: PopularityConfig = PopularityConfig()
    history: HistoryConfig = HistoryConfig()
    item_graph: ItemGraphConfig = ItemGraphConfig()
    ials: IalsConfig = IalsConfig()
    model: ModelConfig = M3CSRConfig()
    negatives: NegativesConfig = NegativesConfig()
    training: TrainingConfig = TrainingConfig()
    cold: ColdConfig = ColdConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    exposure: ExposureConfig = ExposureConfig()
    release: ReleaseConfig = ReleaseConfig()
    index: IndexConfig = IndexConfig()
    embed: EmbedConfig = EmbedConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    similar: SimilarConfig = SimilarConfig()
    service: ServiceConfig = ServiceConfig()
    spark: SparkConfig = SparkConfig()

    @model_validator(mode="before")
    @classmethod
    def _by_recipe(cls, tree: Any) -> Any:
        """Takes the settings that the tree lacks from the recipe of the model's kind.

        `training.epochs` and `training.max_steps` say the same, so if the tree has one of them, the recipe's other one
        is not taken.
        """
        kind = kind_of(tree.get("model")) if isinstance(tree, Mapping) else None
        section = section_of(kind)
        if section is None:  # The section's own check reports it.
            return tree
        found = dict(tree)
        for setting, value in section.recipe.items():
            name, _, own = setting.partition(".")
            given = found.get(name, {})
            if isinstance(given, Mapping) and own not in given and given.get(_SAME.get(setting)) is None:
                found[name] = {**given, own: value}
        return found

    @model_validator(mode="after")
    def _check(self, info: ValidationInfo) -> Config:
        if self.negatives.kind == "in_batch" and self.training.walk_positives:
            raise ValueError(
                "negatives.kind=in_batch needs training.walk_positives=0, since its logQ correction knows the chances "
                f"of clicks alone, got {self.training.walk_positives}"
            )
        if self.exposure.cold_share != "trained" and not self.model.has_popularity_bias:
            raise ValueError(
                "exposure.cold_share needs model.kind=m3csr with model.popularity_bias=true, since it is set in that "
                f"part of the vectors, got {self.exposure.cold_share} for model.kind={self.model.kind}; or pass "
                "exposure.cold_share=trained"
            )
        if self.run.tracking_uri is not None and ":" in self.release_folder.name:
            raise ValueError(
                f"run.release_name={self.release_folder.name!r}: the registry of MLflow (run.tracking_uri) takes none "
                "with a colon; give run.release_name another one"
            )
        if not (info.context or {}).get(WITHOUT_DATA):  # Which need not say what modalities there are.
            self.model.check_modalities(self.data.modality_names)
        if self.training.warm_start == self.run.name:
            raise ValueError(
                f"training.warm_start and run.name are both {self.run.name!r}: a run starts from another one; "
                "give this run a name of its own"
            )
        self._check_final_fit()
        if self.clusters.frozen_from == self.run.name:
            raise ValueError(
                f"clusters.frozen_from and run.name are both {self.run.name!r}: a run takes another one's centres; "
                "give this run a name of its own"
            )
        if self.clusters.frozen_from is not None and self.training.warm_start is not None:
            raise ValueError(
                f"training.warm_start={self.training.warm_start} takes that run's centres already; pass "
                f"clusters.frozen_from=null, got {self.clusters.frozen_from}"
            )
        return self

    def _check_final_fit(self) -> None:
        training, train_on = self.training, self.split.train_on
        if (training.final_of is None) != (train_on == "train"):
            raise ValueError(
                f"split.train_on={train_on} and training.final_of={training.final_of or 'null'} do not belong "
                "together: more than the clicks of train are for a final fit, which takes its choices from a finished "
                "run, since validation has no clicks then; pass training.final_fit=true (train --final), which sets "
                "both, or neither"
            )
        if training.final_of == self.run.name:
            raise ValueError(
                f"training.final_of and run.name are both {self.run.name!r}: a final fit is a run of its own; give it "
                "another name"
            )
        if training.final_of is not None and training.final_fit:
            raise ValueError(
                f"training.final_fit=true asks for a final fit of {self.run.name}, which is one already, of "
                f"training.final_of={training.final_of}; pass training.final_fit=false"
            )

    @property
    def m3csr(self) -> M3CSRConfig:
        """The settings of the model, which must be M3CSR.

        Raises:
          ConfigError: the model is of another kind.
        """
        return self.model_as(M3CSRConfig)

    def model_as(self, section: type[Of]) -> Of:
        """Returns the settings of the model, which must be of the kind of a section class.

        Raises:
          ConfigError: the model is of another kind.
        """
        if not isinstance(self.model, section):
            raise ConfigError(
                f"{self.run.name} is of model.kind={self.model.kind}, which this does not work for; it is for "
                f"{section.__name__.removesuffix('Config')} alone"
            )
        return self.model

    def without_effect(self) -> list[str]:
        """Returns the given settings that the training of this kind of model does not read, as "section.name=value".

        A setting with its general default, or with what the recipe of the kind gives it, does not count.
        """
        found = []
        for setting in sorted(self.model.unread):
            name, _, own = setting.partition(".")
            section: Section = getattr(self, name)
            value = getattr(section, own)
            usual = self.model.recipe.get(setting, type(section).model_fields[own].default)
            if value != usual:
                found.append(f"{setting}={value}")
        return found

    @property
    def run_folder(self) -> Path:
        """The folder of the run's config, logs, checkpoints and metrics."""
        return self.run.folder / self.run.name

    @property
    def release_folder(self) -> Path:
        """The folder of the run's towers and index."""
        return self.run.release_folder / (self.run.release_name or self.run.name)

    @property
    def warm_start_folder(self) -> Path | None:
        """The folder of the run from which this one starts."""
        return None if self.training.warm_start is None else self.run.folder / self.training.warm_start

    def to_yaml(self) -> str:
        """The resolved tree, every default spelled out; `load` reads it back to an equal tree but for secrets.

        They, and those of `run.tracking_uri`, are `***`: the file lies in the run's folder, for all who may read it.
        """
        tree = self.model_dump(mode="json")
        tree["spark"]["conf"] = {
            name: HIDDEN if is_secret(name, value) else value for name, value in tree["spark"]["conf"].items()
        }
        if self.spark.master is not None:
            tree["spark"]["master"] = without_password(self.spark.master)
        if self.run.tracking_uri is not None:
            tree["run"]["tracking_uri"] = address_shown(self.run.tracking_uri)
        return f"{dump_yaml(tree)}{END_OF_YAML}"

    def fingerprint(self, *sections: str) -> str:
        """Returns the SHA-256 of the named sections, in hex; by default, of all that the trained weights depend on."""
        tree = self.model_dump(mode="json")
        chosen = {name: tree[name] for name in sections or TRAINING_SECTIONS}
        for section, names in AFTER_TRAINING.items():
            if section in chosen:
                chosen[section] = {key: value for key, value in chosen[section].items() if key not in names}
        if not sections:
            chosen["run"] = {key: tree["run"][key] for key in RUN_IDENTITY}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
