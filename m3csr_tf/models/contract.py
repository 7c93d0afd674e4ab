"""The contract of a trained recommender: the one interface by which everything above `models` knows a model.

A recommender consists of two towers and a loss. The towers are Keras models over rows and features, so that the same
export, index, batch job and evaluation serve every model; a score is the dot product of a user vector and an item
vector. How a model computes its vectors is its own affair: M3CSR attends to histories, VBPR projects content, and
LightGCN propagates embeddings over the graph of clicks and keeps the result in tables.

The life of a model:

1. `from_prepared` creates it from prepared data, with weights drawn from `run.seed` (`registry.build_model` seeds).
2. `initialise` sets its initial weights, or `continue_from` takes over those of an earlier run.
3. Training draws examples (`sampling.example_sampler`), `collator` makes the model's batches from them in the input
   pipeline, `compute_loss` turns a batch into a scalar, and `learning_rates` says which weights learn more slowly.
4. Before vectors are computed, `before_ranking` brings the towers up to date with the weights.
5. Validation, evaluation and release call `user_tower` and `item_tower`; `layout` names the parts of a vector.
6. `popularity_bias`, `places_new_items`, `explains` and `weighs_modalities` say what else the model can do.
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
"""The nested tensors of one training step; a model's collator and its loss agree on the keys."""

Collate = Callable[[Examples], Batch]
"""Makes a model's batch from drawn examples. It runs as graph code in the tf.data pipeline, so it may hold constants,
but it must not read the model's variables, which change during training.
"""

ValidationRecall = Callable[[], float]
"""Computes the mean Recall@20 of the validation users with the model's present weights."""


class Initialised(NamedTuple):
    """What `Recommender.initialise` has done.

    Attributes:
      method: how the weights were initialised, a word for logs and metrics, e.g. "ials"; "xavier" if they stay as
        drawn.
      cross_ids: item ids for training that have not seen the clicks which training asks for (`graph.cross_fitting`);
        None where the model reads its own.
      settings: settings by their dotted names that lead to the same initialisation without validation: all that
        `validation_recall` or the size of the log has chosen. A final fit is made with them.
      known_clicks: "val" and "test" -> the number of held-back clicks that the weights know, from the run that they
        were taken from; none where that is 0.
    """

    method: str
    cross_ids: CrossIds | None = None
    settings: Mapping[str, Any] = {}
    known_clicks: Mapping[str, int] = {}


class ExplainedUsers(NamedTuple):
    """User vectors, and the intensities and attention weights that they were computed with.

    Attributes:
      vectors: float32 [users, D], as returned by `user_tower(features)`.
      intensities: float32 [users, modalities] (equation 6).
      attention: "id" (equation 3) and each modality (equation 4) -> float32 [users, slots], the attention weights of
        the history slots, averaged over heads. They are 0 for empty slots and for items that lack the modality. They
        sum to 1, or to 0 where no slot is usable and the tower falls back on the "nothing" item.
    """

    vectors: tf.Tensor
    intensities: tf.Tensor
    attention: dict[str, tf.Tensor]


class PreviousRun(Protocol):
    """A finished run that a new run continues from (`training.warm_start`)."""

    @property
    def config(self) -> Config:
        """The settings of the run."""
        ...

    @property
    def prepared(self) -> Prepared:
        """The data that the run was trained on."""
        ...

    @property
    def model(self) -> Any:
        """The run's model, of the same kind as the new one, with the weights that were released."""
        ...


class Recommender(tfrs.Model):  # type: ignore[misc]
    """The base class of trained recommenders; `registry` lists its subclasses.

    Args:
      config: the run's settings.

    Attributes:
      config: the run's settings.
      user_tower: a Keras model, `user_tower(features)` -> user vectors float32 [users, D]. The features are user_row
        int32 [users] (`table_rows`); slots int32 [users, slots], indices of the history's items in the following
        features, -1 where a slot is empty; and of the distinct items of the histories, item_row int32 [items],
        cluster_ids int32 [items, modalities] (0 where absent) and, under the name of each modality, scaled content
        float32 [items, width] (zeros where absent). The row of unknown users (`ids.UNKNOWN_ROW`) and histories of width
        0 are ordinary inputs. An item that is missing from the tower's table has the unknown row.
      item_tower: a Keras model, `item_tower(features)` -> item vectors float32 [items, D]. The features are item_row,
        cluster_ids and scaled content as above, and popularity_bin int32 [items] (0 for items without clicks or views).
    """

    kind: ClassVar[str]
    """The name of the model in `model.kind`."""
    title: ClassVar[str]
    """The name of the model in tables."""

    initial_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of section model that change the initial weights alone; a run that continues from another may have
    different ones.
    """
    places_new_items: ClassVar[bool] = False
    """Whether the model computes a vector from content alone for an item that training has not seen. If not, refresh
    refuses such items.
    """
    explains: ClassVar[bool] = False
    """Whether the towers have what the signature `explain` serves: `user_tower.explain(features)` -> `ExplainedUsers`;
    `item_tower.gate`, a layer or None; and `item_tower.gated_bins(features)` -> the popularity bins int32 [items] that
    the gate takes.
    """
    weighs_modalities: ClassVar[bool] = False
    """Whether `user_tower.intensities(features)` returns how much each user cares for each modality, float32 [users,
    modalities], summing to 1.
    """

    user_tower: tf.keras.Model
    item_tower: tf.keras.Model

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @classmethod
    @abc.abstractmethod
    def from_prepared(cls, config: Config, prepared: Prepared) -> Self:
        """Creates a fresh model for prepared data, with all of its weights.

        Nothing can be learned for the id of an item without a training click. So the towers read the unknown row for
        such an item, and rank it as they rank a new item.
        """

    @classmethod
    @abc.abstractmethod
    def table_entries(cls, config: Config, users: int, items: int) -> int:
        """Returns the number of entries of all trained embedding tables, from which a training's memory is estimated.

        Args:
          config: the run's settings.
          users, items: numbers of rows of the id tables.
        """

    @classmethod
    def needs_item_graph(cls, config: Config) -> bool:
        """Returns whether `initialise` reads `TrainingData.item_graph`, which takes long to compute on large logs."""
        del config
        return False

    @abc.abstractmethod
    def collator(self, data: TrainingData, replicas: int = 1) -> Collate:
        """Returns the function that makes batches from drawn examples.

        Args:
          data: the features of items and the clicks of users.
          replicas: number of replicas that share a batch; the examples are one replica's part of it.
        """

    @abc.abstractmethod
    def compute_loss(self, inputs: Batch, training: bool = False) -> tf.Tensor:
        """Returns the loss of a batch, a scalar: one replica's share of the mean over examples (`replicas.count`)."""

    @property
    @abc.abstractmethod
    def layout(self) -> dict[str, slice]:
        """The name of each part -> its slice of a user or item vector; the parts are consecutive and fill the vector.

        A score is the sum of the dot products of the parts, and by these summands a list explains why an item is in it.
        """

    def initialise(self, data: TrainingData, prepared: Prepared, validation_recall: ValidationRecall) -> Initialised:
        """Sets the initial weights; a model that has nothing better keeps the weights that were drawn.

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
        """Takes over the weights of a finished run: rows of users and items by their ids, all others unchanged.

        Args:
          before: the finished run, of the same kind and settings (except `initial_settings`).
          data, prepared: the data of the new run, whose prepared data has the transformations of the old run.
        """

    def before_ranking(self) -> None:
        """Brings what the towers read up to date with the weights; it is called before vectors are computed.

        A graph model propagates its embeddings here, once, and its towers read the resulting tables.
        """

    def table_rows(self, users: tf.Tensor) -> tf.Tensor:
        """Returns the rows of the user table, int32, for rows of the id table, in the same shape."""
        return users

    def learning_rates(self) -> dict[Any, float]:
        """Returns trainable variables (as `variable.ref()`) -> the factor on their learning rate; others have 1."""
        return {}

    @property
    def popularity_bias(self) -> tf.Variable | None:
        """The number that each popularity bin adds to every score, float32 [bins], the last entry of item vectors.

        With it, new items are balanced against others (`exposure`). It is None where vectors have no such entry.
        """
        return None

    @property
    def user_hash_rows(self) -> int | None:
        """Number of rows of a hashed user table; None where every known user has a row of her own."""
        return None

    def diagnostics(self, intensities: np.ndarray | None) -> dict[str, float]:
        """Returns figures by name that reveal failures which could go unseen; they are logged at every validation.

        Args:
          intensities: the intensities of the validation users, float32 [users, modalities], where the model weighs
            modalities; else None.
        """
        del intensities
        return {}

    def checkpointed(self) -> Mapping[str, tf.Module]:
        """Returns by name what a checkpoint of the trained model holds: all that `from_prepared` does not recreate."""
        return {"user_tower": self.user_tower, "item_tower": self.item_tower}


def vector_width(layout: Mapping[str, slice]) -> int:
    """Returns the width D of the vectors of a layout."""
    return max(part_slice.stop for part_slice in layout.values())


def consecutive(widths: Sequence[tuple[str, int]]) -> dict[str, slice]:
    """Returns the layout of parts of the given widths, placed one after the other."""
    layout, start = {}, 0
    for part, width in widths:
        layout[part] = slice(start, start + width)
        start += width
    return layout
