"""Section `model` of model.kind=freedom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from m3csr_tf.config.models.base import HIDES_THE_POSITIVE, OF_M3CSR_ALONE, PAIRWISE_RECIPE, RATES, PairwiseSection
from m3csr_tf.util.quoting import quoted


class FreedomConfig(PairwiseSection):
    """A frozen item-item graph of content, added to LightGCN on a user-item graph that is pruned in every epoch.

    Zhou and Shen: A tale of two graphs: freezing and denoising graph structures for multimodal recommendation, ACM
    Multimedia 2023, section 3.
    """

    recipe: ClassVar[Mapping[str, Any]] = {
        **PAIRWISE_RECIPE,
        "training.batch_size": 2048,
        "training.learning_rate": 3e-3,
        "training.beta": 1e-3,
        "training.epochs": 60.0,
    }

    unread: ClassVar[frozenset[str]] = OF_M3CSR_ALONE | RATES | HIDES_THE_POSITIVE

    kind: Literal["freedom"] = "freedom"
    layers: int = Field(2, ge=0, le=8, description="propagation steps over the user-item graph")
    item_layers: int = Field(1, ge=0, le=8, description="propagation steps over the item-item graph")
    neighbours: int = Field(10, ge=1, le=1000, description="nearest items that an item keeps in the item-item graph")
    modality_weights: dict[str, Annotated[float, Field(ge=0, le=1e6)]] = Field(
        default_factory=dict,
        description="modality: its weight in the item-item graph, relative to the others; 1 where none is given",
    )
    edge_dropout: float = Field(
        0.8,
        ge=0,
        lt=1,
        description="share of the user-item edges that an epoch leaves out, those of popular items more often",
    )
    modal_loss: float = Field(1e-3, ge=0, le=1e6, description="weight of the BPR loss of the content embeddings")

    def check_modalities(self, modalities: Sequence[str]) -> None:
        """Checks that `modality_weights` names modalities of the data and leaves some weight.

        Raises:
          ValueError: it names another, or every weight is 0.
        """
        unknown = [name for name in self.modality_weights if name not in modalities]
        if unknown:
            raise ValueError(
                f"model.modality_weights names {quoted(unknown[0])}, which is no modality of the data; expected "
                f"{', '.join(modalities)}"
            )
        if not any(self.modality_weights.get(name, 1.0) for name in modalities):
            raise ValueError(
                "model.modality_weights gives every modality a weight of 0, which leaves no item-item graph; give at "
                "least one a weight above 0"
            )
