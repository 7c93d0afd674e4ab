"""Section `model`: a section class for every kind of model, and the union of them that `model.kind` chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator, Tag

from m3csr_tf.config.models.base import PAIRWISE_RECIPE, ModelSection, PairwiseSection
from m3csr_tf.config.models.bpr_mf import BPRMFConfig
from m3csr_tf.config.models.custom import CUSTOM, CustomConfig, digest_of_code, is_place
from m3csr_tf.config.models.freedom import FreedomConfig
from m3csr_tf.config.models.lattice import LatticeConfig
from m3csr_tf.config.models.lightgcn import LightGCNConfig
from m3csr_tf.config.models.m3csr import M3CSRConfig
from m3csr_tf.config.models.mmgcn import MMGCNConfig
from m3csr_tf.config.models.mmssl import MMSSLConfig
from m3csr_tf.config.models.siamese import SiameseConfig
from m3csr_tf.config.models.vbpr import VBPRConfig
from m3csr_tf.util.quoting import quoted

DEFAULT_KIND = "m3csr"
"""The kind of a model whose settings do not name one."""

KINDS: Mapping[str, type[ModelSection]] = {
    str(section.model_fields["kind"].default): section
    for section in (
        M3CSRConfig,
        BPRMFConfig,
        LightGCNConfig,
        VBPRConfig,
        SiameseConfig,
        MMGCNConfig,
        LatticeConfig,
        FreedomConfig,
        MMSSLConfig,
    )
}
"""The kind of a model -> the class of its settings."""


def kind_of(model: Any) -> Any:
    """Returns the kind that a `model` section of a tree names, whether or not such a kind exists.

    Args:
      model: the section as it was given: a mapping, a `ModelSection`, or anything else, which names no kind.
    """
    if isinstance(model, ModelSection):
        return model.kind
    return model.get("kind", DEFAULT_KIND) if isinstance(model, Mapping) else DEFAULT_KIND


def section_of(kind: Any) -> type[ModelSection] | None:
    """Returns the class of the settings of a kind; None if there is no such kind."""
    if not isinstance(kind, str):
        return None
    return CustomConfig if is_place(kind) else KINDS.get(kind)


def _checked(model: Any) -> Any:
    kind = kind_of(model)
    if section_of(kind) is None:
        own = "or, for a model of your own, package.module:Class or file.py:Class"
        raise ValueError(f"model.kind: expected one of {', '.join(KINDS)}, {own}, got {quoted(kind)}")
    return model


def _tag(model: Any) -> Any:
    kind = kind_of(model)
    return CUSTOM if isinstance(kind, str) and is_place(kind) else kind


ModelConfig = Annotated[
    Annotated[M3CSRConfig, Tag("m3csr")]
    | Annotated[BPRMFConfig, Tag("bpr_mf")]
    | Annotated[LightGCNConfig, Tag("lightgcn")]
    | Annotated[VBPRConfig, Tag("vbpr")]
    | Annotated[SiameseConfig, Tag("siamese")]
    | Annotated[MMGCNConfig, Tag("mmgcn")]
    | Annotated[LatticeConfig, Tag("lattice")]
    | Annotated[FreedomConfig, Tag("freedom")]
    | Annotated[MMSSLConfig, Tag("mmssl")]
    | Annotated[CustomConfig, Tag(CUSTOM)],
    Discriminator(_tag),
    BeforeValidator(_checked),
]
"""Section `model`, of any kind."""

__all__ = [
    "DEFAULT_KIND",
    "KINDS",
    "PAIRWISE_RECIPE",
    "BPRMFConfig",
    "CustomConfig",
    "FreedomConfig",
    "LatticeConfig",
    "LightGCNConfig",
    "M3CSRConfig",
    "MMGCNConfig",
    "MMSSLConfig",
    "ModelConfig",
    "ModelSection",
    "PairwiseSection",
    "SiameseConfig",
    "VBPRConfig",
    "digest_of_code",
    "kind_of",
    "section_of",
]
