"""How a training begins: with weights of an earlier run, or with those that its model computes from the data."""

from __future__ import annotations

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.models.contract import Initialised, Recommender
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import run_files, runs
from m3csr_tf.training.validation import validation_recall_of
from m3csr_tf.training.warm_start import warm_start
from m3csr_tf.util.progress import progress


def initialise(model: Recommender, data: TrainingData, prepared: Prepared, config: Config) -> Initialised:
    """Initialises the weights, unless a checkpoint has later ones; returns how, or the run that they are taken from.

    Ids that do not know the clicks of training are left in the run's folder, for all workers and after a kill.
    """
    if runs.latest_checkpoint(config.run_folder) is not None:
        return Initialised("")
    kept = config.run_folder / run_files.CROSS_IDS
    kept.unlink(missing_ok=True)
    if config.training.warm_start is not None:
        with progress(f"initialising weights from those of {config.training.warm_start}"):
            known = warm_start(model, data, prepared, config)
        return Initialised(config.training.warm_start, known_clicks=known)
    initialised = model.initialise(data, prepared, validation_recall_of(model, data, prepared, config))
    if initialised.cross_ids is not None:
        initialised.cross_ids.save(kept)
    return initialised
