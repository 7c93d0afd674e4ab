"""What the settings of all kinds of models have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from m3csr_tf.config.section import Section

PAIRWISE_RECIPE: Mapping[str, Any] = {
    "training.loss": "bpr",
    "training.bpr_weighting": "uniform",
    "training.positives": "per_interaction",
    "training.history_power": 0.0,
    "training.item_id_dropout": 0.0,
    "training.user_id_dropout": 0.0,
    "training.cross_fit": 0,
    "training.alpha": 0.0,
    "training.beta": 1e-4,
    "training.learning_rate": 1e-3,
    "training.content_rate": 1.0,
    "training.id_rate": 1.0,
    "training.schedule": "constant",
    "training.averaging": 0.0,
    "training.min_delta": 0.0,
    "training.min_standard_errors": 0.0,
    "negatives.kind": "uniform",
    "history.dropout": 0.0,
    "exposure.cold_share": "trained",
}
"""The training of the rivals in their papers: BPR (Rendle et al., UAI 2009) with one uniform negative for each
interaction, and without the techniques that M3CSR's defaults add for cold items and users.
"""


OF_M3CSR_ALONE = frozenset(
    {
        "training.history_power",
        "training.item_id_dropout",
        "training.user_id_dropout",
        "training.cross_fit",
        "training.alpha",
        "history.dropout",
    }
)
"""Techniques of M3CSR's training that no rival in this package has."""
RATES = frozenset({"training.content_rate", "training.id_rate"})
"""Factors on the learning rate of parts that not every model distinguishes."""
HIDES_THE_POSITIVE = frozenset({"training.mask_target"})
"""Settings that only affect a model whose user vectors are computed from her clicks."""


class ModelSection(Section):
    """The settings of one kind of model: section `model` of the tree, where `model.kind` names the kind.

    Each kind has a subclass, whose `kind` is the only value that `model.kind` takes there.
    """

    recipe: ClassVar[Mapping[str, Any]] = {}
    """Defaults of other sections for this kind, "section.name" -> value; a setting that the user gives always wins."""

    unread: ClassVar[frozenset[str]] = frozenset()
    """Settings of other sections, "section.name", that do not affect the training of this kind."""

    kind: str

    @property
    def has_popularity_bias(self) -> bool:
        """Whether item vectors have a part for the item's popularity, to which `exposure` adds its bonuses."""
        return False

    def check_modalities(self, modalities: Sequence[str]) -> None:
        """Checks the settings that name modalities against those of the data.

        Raises:
          ValueError: a setting names a modality that the data lack.
        """


class PairwiseSection(ModelSection):
    """The settings of a rival: embeddings of one width, trained by `PAIRWISE_RECIPE`."""

    recipe: ClassVar[Mapping[str, Any]] = PAIRWISE_RECIPE

    dim: int = Field(64, ge=1, le=4096, description="width of the embeddings")
