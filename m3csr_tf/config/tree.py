"""The whole tree of settings, the checks that span its sections, and its fingerprints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationInfo, model_validator

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
from m3csr_tf.util.hidden import HIDDEN, is_secret, without_password

END_OF_YAML = "...\n"
"""How YAML says that a document is complete: what a full disk has cut may be valid settings as well."""


PREPARE_SECTIONS = ("data", "split", "content", "clusters", "popularity")
"""The sections that the prepared folder depends on."""
TRAINING_SECTIONS = (*PREPARE_SECTIONS, "history", "item_graph", "ials", "model", "negatives", "training")
"""The sections that the trained weights depend on."""
RUN_IDENTITY = ("seed", "deterministic")
"""The settings of section run that the trained weights depend on."""


_SAME = {"training.epochs": "max_steps", "training.max_steps": "epochs"}
"""A setting, and another of its section that a tree may have in its place."""

Of = TypeVar("Of", bound=ModelSection)


class Config(Section):
    """The whole tree."""

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
        """Takes the recipe of the model's kind for the settings that the tree lacks.

        Of `training.epochs` and `training.max_steps`, which say the same, one that the tree has keeps out the other.
        """
        kind = kind_of(tree.get("model")) if isinstance(tree, Mapping) else None
        section = section_of(kind)
        if section is None:  # The section itself will say so.
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
        if not (info.context or {}).get(WITHOUT_DATA):  # Which need not say what modalities there are.
            self.model.check_modalities(self.data.modality_names)
        if self.training.warm_start == self.run.name:
            raise ValueError(
                f"training.warm_start and run.name are both {self.run.name!r}: a run starts from another one; "
                "give this run a name of its own"
            )
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

    @property
    def m3csr(self) -> M3CSRConfig:
        """The settings of the model, where it is M3CSR.

        Raises:
          ConfigError: it is of another kind.
        """
        return self.model_as(M3CSRConfig)

    def model_as(self, section: type[Of]) -> Of:
        """The settings of the model, where it is of the kind of a section class.

        Raises:
          ConfigError: it is of another kind.
        """
        if not isinstance(self.model, section):
            raise ConfigError(
                f"{self.run.name} is of model.kind={self.model.kind}, which this does not work for; it is for "
                f"{section.__name__.removesuffix('Config')} alone"
            )
        return self.model

    def without_effect(self) -> list[str]:
        """Settings that say something which the training of this kind of model does not read, "section.name=value".

        One with its general default, or what the kind's recipe says in its place, asks for nothing.
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
        """Where the run's config, logs, checkpoints and metrics lie."""
        return self.run.folder / self.run.name

    @property
    def release_folder(self) -> Path:
        """Where the run's towers and index lie."""
        return self.run.release_folder / (self.run.release_name or self.run.name)

    @property
    def warm_start_folder(self) -> Path | None:
        """Where the run lies that this one starts from."""
        return None if self.training.warm_start is None else self.run.folder / self.training.warm_start

    def to_yaml(self) -> str:
        """The resolved tree, every default spelled out; `load` reads it back to an equal tree but for Spark's secrets.

        They are `***`: the file lies in the run's folder, for all who may read it.
        """
        tree = self.model_dump(mode="json")
        tree["spark"]["conf"] = {
            name: HIDDEN if is_secret(name, value) else value for name, value in tree["spark"]["conf"].items()
        }
        if self.spark.master is not None:
            tree["spark"]["master"] = without_password(self.spark.master)
        return f"{dump_yaml(tree)}{END_OF_YAML}"

    def fingerprint(self, *sections: str) -> str:
        """SHA-256 of the named sections, hex; with none named, of all that the trained weights depend on."""
        tree = self.model_dump(mode="json")
        chosen = {name: tree[name] for name in sections or TRAINING_SECTIONS}
        if not sections:
            chosen["run"] = {key: tree["run"][key] for key in RUN_IDENTITY}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
