"""What a trained recommender is: the one interface by which everything above `models` knows a model.

A recommender is two towers and a loss. The towers are Keras models over rows and features, so that one and the same
export, index, batch job and evaluation serve every model: a score is the dot product of a user vector and an item
vector. How a model comes to its vectors is its own affair: M3CSR attends to histories, VBPR projects content, LightGCN
propagates embeddings over the graph of clicks and keeps the result in tables.

The life of a model:

1. `from_prepared` creates it from prepared data, with weights drawn from `run.seed` (`registry.build_model` seeds).
2. `initialise` sets its initial weights, or `continue_from` takes those of an earlier run.
3. Training draws examples (`sampling.example_sampler`), `collator` makes the model's batches of them in the input
   pipeline, `compute_loss` turns a batch into a scalar, and `learning_rates` says which weights learn more slowly.
4. Before vectors are asked for, `before_ranking` brings the towers up to date with the weights.
5. Validation, evaluation and release call `user_tower` and `item_tower`; `layout` names the parts of a vector.
6. `popularity_bias`, `places_new_items`, `explains` and `weighs_modalities` say what beyond that the model can do.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.graph.cross_fitting import CrossIds
from m3csr_tf.sampling.example_sampler import Examples
from m3csr_tf.sampling.training_data import TrainingData

Batch = dict[str, Any]
"""Tensors of one training step, nested; what is in it a model's collator and its loss agree upon."""

Collate = Callable[[Examples], Batch]
"""Makes a model's batch of examples. It runs as graph code of the tf.data pipeline, so it may hold constants, and must
not read the model's variables, which change meanwhile."""

ValidationRecall = Callable[[], float]
"""Mean Recall@20 of the validation users by the model's present weights."""


class Initialised(NamedTuple):
    """What `Recommender.initialise` has done.

    Attributes:
      method: how the weights were initialised, a word for logs and metrics, e.g. "ials"; "xavier" if they stay as
        drawn.
      cross_ids: item ids for training that have not seen the clicks which training asks for (`graph.cross_fitting`);
        None where the model reads its own.
      settings: settings by their dotted names that lead to the same initialisation without validation: all that
        `validation_recall` or the size of the log has chosen. A final fit is made with them.
    """

    method: str
    cross_ids: CrossIds | None = None
    settings: Mapping[str, Any] = {}


class ExplainedUsers(NamedTuple):
    """User vectors and what they were made of.

    Attributes:
      vectors: float32 [users, D], as `user_tower(features)` gives them.
      intensities: float32 [users, modalities] (equation 6).
      attention: "id" (equation 3) and each modality (equation 4) -> float32 [users, slots], the weights of the places
        of the history, averaged over heads; 0 for empty places and for items that lack the modality. They sum to 1, or
        to 0 where no place is usable and the tower falls back on the "nothing" item.
    """

    vectors: tf.Tensor
    intensities: tf.Tensor
    attention: dict[str, tf.Tensor]


class PreviousRun(Protocol):
    """A finished run that a new one goes on from (`training.warm_start`)."""

    @property
    def config(self) -> Config:
        """Its settings."""
        ...

    @property
    def prepared(self) -> Prepared:
        """The data that it was trained on."""
        ...

    @property
    def model(self) -> Any:
        """Its model, of the same kind, with the weights that were released."""
        ...


class Recommender(tfrs.Model):  # type: ignore[misc]
    """A trained recommender; subclasses are listed in `registry`.

    Args:
      config: the run's settings.

    Attributes:
      config: the run's settings.
      user_tower: Keras model, `user_tower(features)` -> user vectors float32 [users, D]. Features are user_row int32
        [users] (`table_rows`), slots int32 [users, slots], indices of the history's items below, -1 where a slot is
        empty, and of those items, each once, item_row int32 [items], cluster_ids int32 [items, modalities] (0: absent)
        and under each modality's name scaled content float32 [items, width] (zeros: absent). The row of unknown users
        (`ids.UNKNOWN_ROW`) and histories of width 0 are ordinary inputs. An item that the tower's table lacks has the
        unknown row.
      item_tower: Keras model, `item_tower(features)` -> item vectors float32 [items, D]. Features are item_row,
        cluster_ids and scaled content as above, and popularity_bin int32 [items] (0: without clicks or views).
    """

    kind: ClassVar[str]
    """What `model.kind` calls it."""
    title: ClassVar[str]
    """What tables call it."""

    initial_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of section model that change the initial weights alone: a run that goes on from another may differ."""
    places_new_items: ClassVar[bool] = False
    """Whether content alone gives an item that training has not seen a vector of its own; else refresh refuses it."""
    explains: ClassVar[bool] = False
    """Whether the towers have what the signature `explain` serves: `user_tower.explain(features)` -> `ExplainedUsers`,
    `item_tower.gate`, a layer or None, and `item_tower.gated_bins(features)` -> the bins int32 [items] it takes."""
    weighs_modalities: ClassVar[bool] = False
    """Whether `user_tower.intensities(features)` gives how much each user cares for each modality, float32 [users,
    modalities], summing to 1."""

    user_tower: tf.keras.Model
    item_tower: tf.keras.Model

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    @abc.abstractmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """A fresh model for prepared data, all of its weights created.

        An item without a training click has no id of its own that anything could be learned for: towers read the
        unknown row for it, so that it is ranked as a new item is.
        """

    @classmethod
    @abc.abstractmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Numbers in the embedding tables that are trained, from which the memory of a training is estimated.

        Args:
          config: the run's settings.
          users, items: rows of the id tables.
        """

    @classmethod
    def needs_item_graph(cls, config: Config) -> bool:
        """Whether `initialise` reads `TrainingData.item_graph`, which takes long on large logs."""
        del config
        return False

    @abc.abstractmethod
    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """What makes batches of examples.

        Args:
          data: features of items and clicks of users.
          replicas: how many share a batch; examples are a replica's part of it.
        """

    @abc.abstractmethod
    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """The loss of a batch, a scalar: a mean over its examples, as of one replica's share (`ops.replicas.count`)."""

    @property
    @abc.abstractmethod
    def layout(self) -> dict[str, slice]:
        """Part -> its slice of a user or item vector; the parts lie one behind the other and fill the vector.

        A score is the sum of the parts' dot products, which is how lists say why an item is in them.
        """

    def initialise(self, data: TrainingData, prepared: Prepared, validation_recall: ValidationRecall) -> Initialised:
        """Sets the initial weights; those that were drawn stay, if a model has no better ones.

        Args:
          data: clicks and features.
          prepared: the data of the run.
          validation_recall: ranks validation by the present weights, for choosing between initialisations. A final fit
            has no validation, and asking there is an error: `Initialised.settings` must leave nothing to choose.
        """
        del data, prepared, validation_recall
        return Initialised("xavier")

    @abc.abstractmethod
    def continue_from(self, before: PreviousRun, data: TrainingData, prepared: Prepared) -> None:
        """Takes the weights of a finished run: rows of users and items by their ids, all others as they are.

        Args:
          before: the run, of the same kind and settings (but `initial_settings`).
          data, prepared: of the new run, whose prepared data has the transformations of the old one.
        """

    def before_ranking(self) -> None:
        """Brings what the towers read up to date with the weights; called before vectors are asked for.

        A graph model propagates its embeddings here, once, and its towers read the tables that come out.
        """

    def table_rows(self, users: tf.Tensor) -> tf.Tensor:
        """Rows of the user table, int32, for rows of the id table, of the same shape."""
        return users

    def learning_rates(self) -> dict[Any, float]:
        """Trainable variables (by `variable.ref()`) -> the share of the learning rate that they learn by; others 1."""
        return {}

    @property
    def popularity_bias(self) -> tf.Variable | None:
        """Number float32 [bins] that each popularity bin adds to every score, the last entry of the item vectors.

        By it new items are balanced with others (`exposure`). None where vectors have no such entry.
        """
        return None

    @property
    def user_hash_rows(self) -> int | None:
        """Rows of a hashed user table; None where every known user has a row."""
        return None

    def diagnostics(self, intensities: np.ndarray | None) -> dict[str, float]:
        """Figures that show what can go wrong unseen, by name, logged at every validation.

        Args:
          intensities: of the validation users, float32 [users, modalities], where the model weighs modalities.
        """
        del intensities
        return {}

    def checkpointed(self) -> Mapping[str, tf.Module]:
        """What a checkpoint of the trained model holds, by name: all that `from_prepared` does not make anew."""
        return {"user_tower": self.user_tower, "item_tower": self.item_tower}


def vector_width(layout: Mapping[str, slice]) -> int:
    """Width D of the vectors of a layout."""
    return max(part_slice.stop for part_slice in layout.values())


def consecutive(widths: Sequence[tuple[str, int]]) -> dict[str, slice]:
    """A layout of parts of given widths, one behind the other."""
    layout, start = {}, 0
    for part, width in widths:
        layout[part] = slice(start, start + width)
        start += width
    return layout
