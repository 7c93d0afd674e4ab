"""The settings of a run: one frozen, validated tree, which YAML and dotted overrides give, and YAML records.

This is the only place with defaults. Every section is a class; checks that span sections are on `Config`. Section
`model` has a class for every kind of model (`m3csr_tf.config.models`).
"""

from __future__ import annotations

from m3csr_tf.config.cold import ColdConfig
from m3csr_tf.config.data import DataConfig, SplitConfig, WorldConfig
from m3csr_tf.config.evaluation import BaselineName, EvaluationConfig, ExposureConfig
from m3csr_tf.config.features import (
    ClustersConfig,
    ContentConfig,
    HistoryConfig,
    IalsConfig,
    ItemGraphConfig,
    PopularityConfig,
)
from m3csr_tf.config.initial import InitialConfig
from m3csr_tf.config.listing import described
from m3csr_tf.config.models import (
    KINDS,
    BPRMFConfig,
    CustomConfig,
    FreedomConfig,
    LatticeConfig,
    LightGCNConfig,
    M3CSRConfig,
    MMGCNConfig,
    MMSSLConfig,
    ModelConfig,
    ModelSection,
    SiameseConfig,
    VBPRConfig,
    digest_of_code,
)
from m3csr_tf.config.reading import load, read_mapping, with_settings
from m3csr_tf.config.run import RunConfig
from m3csr_tf.config.section import LARGEST_SEED, LONGEST_LIST, Section
from m3csr_tf.config.service import ServiceConfig
from m3csr_tf.config.serving import (
    EmbedConfig,
    IndexConfig,
    JobConfig,
    ListsConfig,
    ReleaseConfig,
    RetrieveConfig,
    SimilarConfig,
    SparkConfig,
)
from m3csr_tf.config.training import NegativesConfig, TrainingConfig
from m3csr_tf.config.tree import (
    AFTER_TRAINING,
    END_OF_YAML,
    PREPARE_SECTIONS,
    RUN_IDENTITY,
    TRAINING_SECTIONS,
    Config,
)

__all__ = [
    "AFTER_TRAINING",
    "END_OF_YAML",
    "KINDS",
    "LARGEST_SEED",
    "LONGEST_LIST",
    "PREPARE_SECTIONS",
    "RUN_IDENTITY",
    "TRAINING_SECTIONS",
    "BPRMFConfig",
    "BaselineName",
    "ClustersConfig",
    "ColdConfig",
    "Config",
    "ContentConfig",
    "CustomConfig",
    "DataConfig",
    "EmbedConfig",
    "EvaluationConfig",
    "ExposureConfig",
    "FreedomConfig",
    "HistoryConfig",
    "IalsConfig",
    "IndexConfig",
    "InitialConfig",
    "ItemGraphConfig",
    "JobConfig",
    "LatticeConfig",
    "LightGCNConfig",
    "ListsConfig",
    "M3CSRConfig",
    "MMGCNConfig",
    "MMSSLConfig",
    "ModelConfig",
    "ModelSection",
    "NegativesConfig",
    "PopularityConfig",
    "ReleaseConfig",
    "RetrieveConfig",
    "RunConfig",
    "Section",
    "ServiceConfig",
    "SiameseConfig",
    "SimilarConfig",
    "SparkConfig",
    "SplitConfig",
    "TrainingConfig",
    "VBPRConfig",
    "WorldConfig",
    "described",
    "digest_of_code",
    "load",
    "read_mapping",
    "with_settings",
]
