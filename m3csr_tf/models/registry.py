"""Which models there are, by `model.kind`; a model's module is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

import tensorflow as tf

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.models.contract import Recommender

MODELS: dict[str, tuple[str, str]] = {
    "m3csr": ("m3csr_tf.models.m3csr.model", "M3CSR"),
    "bpr_mf": ("m3csr_tf.models.bpr_mf", "BPRMF"),
    "mmssl": ("m3csr_tf.models.mmssl.model", "MMSSL"),
}
"""Kind -> module and class."""


def model_class(kind: str) -> type[Recommender]:
    """The class of a kind.

    Raises:
      ConfigError: there is none.
    """
    if kind not in MODELS:
        raise ConfigError(f"model.kind={kind}: there is no such model yet; expected one of {', '.join(MODELS)}")
    module, name = MODELS[kind]
    found: type[Recommender] = getattr(import_module(module), name)
    return found


def build_model(config: Config, prepared: Prepared) -> Recommender:
    """A fresh model of `model.kind`, its weights drawn from `run.seed`."""
    tf.keras.utils.set_random_seed(config.run.seed)
    return model_class(config.model.kind).from_prepared(config, prepared)
