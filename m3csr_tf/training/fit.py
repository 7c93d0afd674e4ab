"""The training loop: steps, validation by full ranking, early stopping, checkpoints, and continuing after a kill.

All that the loop needs to continue (weights, optimizer, step, validations so far) is in one checkpoint, which is
written after each validation. Batches depend on the seed and the step alone, so a run that was killed ends where it
would have ended.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import numpy as np
import tensorflow as tf

from m3csr_tf.config import Config
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import M3CSRError, NotFiniteError, RunError
from m3csr_tf.graph.cross_fitting import CrossIds
from m3csr_tf.models.contract import Initialised, Recommender
from m3csr_tf.sampling import click_weights
from m3csr_tf.sampling.click_weights import ClickWeights
from m3csr_tf.sampling.training_data import TrainingData
from m3csr_tf.training import distribution, finished, run_files, runs
from m3csr_tf.training.budget import Budget
from m3csr_tf.training.distribution import Distribution
from m3csr_tf.training.final_fit import Choice
from m3csr_tf.training.initialise import initialise
from m3csr_tf.training.optimizer import RowwiseAdam
from m3csr_tf.training.runtime import resident_gib
from m3csr_tf.training.steps import averaged_weights, make_optimizer, take_steps
from m3csr_tf.training.streams import ExampleStream
from m3csr_tf.training.training_state import TrainingState, write_csv
from m3csr_tf.training.validation import (
    RECALL,
    Balancing,
    Validation,
    check_validation,
    selected_by,
)
from m3csr_tf.util.files import sha256
from m3csr_tf.util.locks import folder_lock
from m3csr_tf.util.progress import progress, say
from m3csr_tf.util.stored import reading

_STEPS_PER_CALL = 20

_FINISHED, _FAILED = 0, -1
"""What the chief announces to the other workers instead of a number of steps."""


def fit(config: Config, prepared: Prepared, on_validation: Callable[[], None] | None = None) -> Path:
    """Trains a run to its end, or goes on with one that was stopped; returns the run's folder.

    Early stopping, the weights that are kept and the logged figures are based on the averaged weights. Of several
    workers (`run.strategy`) the chief writes the run, and all return when it has.

    Args:
      config: the run's settings.
      prepared: its data.
      on_validation: called by the chief after each validation, when logs and checkpoint are written.

    Raises:
      RunError: another configuration has this name, its checkpoint cannot be read, the run to start from or the one
        that chose (`Choice.of`) is missing or other, the loss or the vectors are no longer finite, or another worker is
        gone.
      InputError: the validation split is empty.
      ConfigError: the replicas that `run.strategy` asks for are not available, or cannot share a batch.
    """
    replicas = distribution.open_distribution(config.run)
    replicas.check(config)
    choice = None if config.training.final_of is None else Choice.of(config)
    if choice is None:
        check_validation(prepared)
    ClickWeights.of(prepared, config.training)  # Refuses a half-life of clicks without times, before anything is made.
    with replicas.together(), folder_lock(config.run_folder) if replicas.is_chief else nullcontext():
        if replicas.is_chief:
            run_files.open_run(config)
        if replicas.agree((config.run_folder / runs.FINISHED_FILE).exists()):
            return config.run_folder
        ignored = config.without_effect()
        if ignored and replicas.is_chief:
            say(f"model.kind={config.model.kind} does not read {', '.join(ignored)}: without effect on this training")
        drawn = click_weights.in_words(prepared, config.training)
        if drawn is not None and replicas.is_chief:
            say(drawn)
        with replicas.strategy.scope(), progress("making the model"):
            model = runs.build_model(config, prepared)
        clicks = int(prepared.train_clicks.sum())
        budget = Budget.of(config.training, clicks) if choice is None else choice.budget(clicks)
        data = TrainingData.of(prepared, config, model.needs_item_graph(config))
        initialised = initialise(model, data, prepared, config) if replicas.is_chief else Initialised("")
        kept = config.run_folder / run_files.CROSS_IDS
        # By the chief's word: all workers draw the same examples, with the same ids.
        if replicas.agree(int(kept.exists())):
            with reading(kept, _from_the_start(config), RunError):
                data = dataclasses.replace(data, cross_ids=CrossIds.load(kept))
        with replicas.strategy.scope():  # Here the other workers wait for the chief's initial weights.
            schedule_steps = budget.steps if choice is None else choice.schedule_steps(clicks)
            optimizer = make_optimizer(config.training, model, schedule_steps)
            model.compile(optimizer=optimizer)
        data = data.on_device()
        if not replicas.is_chief:
            _follow(config, budget, model, optimizer, data, replicas)
            return config.run_folder
        try:
            with progress("reading the validation users"):
                validation = (Validation if choice is None else Balancing)(prepared, config, data, model)
            state = TrainingState(
                prepared=run_files.data_digest(prepared),
                fingerprint=config.fingerprint(),
                cross_ids=sha256(kept) if kept.exists() else "",
                initialisation=initialised.method,
                initialisation_settings=dict(initialised.settings),
                known_clicks=dict(initialised.known_clicks),
                choice="" if choice is None else choice.digest,
            )
            loop = _Loop(config, budget, model, optimizer, data, validation, replicas, state, choice, on_validation)
            loop.run()
        except M3CSRError:
            replicas.agree(_FAILED)
            raise
    return config.run_folder


def _from_the_start(config: Config) -> str:
    return f"delete {config.run_folder / run_files.CHECKPOINTS} to train from the start"


def _follow(
    config: Config,
    budget: Budget,
    model: Recommender,
    optimizer: RowwiseAdam,
    data: TrainingData,
    replicas: Distribution,
) -> None:
    """Trains as a worker that is not the chief: takes its part of the steps that the chief announces, until it ends."""
    step = replicas.agree(0)
    if step != _FAILED:
        replicas.share([*model.variables, *optimizer.state])
        batches = replicas.batches(
            ExampleStream(data, config, model.collator(data, replicas.replicas), replicas.replicas),
            step,
            budget.steps - step,
        )
        while (count := replicas.agree(0)) > 0:
            take_steps(model, batches, tf.constant(count))
        if count != _FAILED:
            return
    raise RunError(f"{config.run_folder}: the chief worker has stopped the training; its own output says why")


class _Loop:
    def __init__(
        self,
        config: Config,
        budget: Budget,
        model: Recommender,
        optimizer: RowwiseAdam,
        data: TrainingData,
        validation: Balancing,
        replicas: Distribution,
        afresh: TrainingState,
        choice: Choice | None,
        on_validation: Callable[[], None] | None,
    ) -> None:
        self._config, self._folder, self._model, self._optimizer = config, config.run_folder, model, optimizer
        self._budget, self._data, self._validation, self._replicas = budget, data, validation, replicas
        self._choice, self._on_validation = choice, on_validation
        self._stored = tf.Variable("", dtype=tf.string, trainable=False)
        # The users' values in the best validation so far, with which the next one is compared.
        # Its shape is open, so that a checkpoint of other data is refused by its digest, with better words.
        self._best_per_user = tf.Variable(tf.zeros(len(validation.users), tf.float64), shape=[None], trainable=False)
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                model=model, optimizer=optimizer, state=self._stored, best_per_user=self._best_per_user
            ),
            str(self._folder / run_files.CHECKPOINTS),
            max_to_keep=2,
            checkpoint_name="training",
        )
        self._state = self._restore(afresh)

    def run(self) -> None:
        """Trains until patience or steps run out, then writes finished.json."""
        settings, budget = self._config.training, self._budget
        state = self._state
        writer = tf.summary.create_file_writer(
            str(self._folder / run_files.LOGS), filename_suffix=f".from-{state.step}"
        )
        self._replicas.agree(state.step)
        self._replicas.share([*self._model.variables, *self._optimizer.state])
        collate = self._model.collator(self._data, self._replicas.replicas)
        stream = ExampleStream(self._data, self._config, collate, self._replicas.replicas)
        batches = self._replicas.batches(stream, state.step, budget.steps - state.step)
        judges = len(self._validation.users)
        say(budget.sentence(judges) if self._choice is None else self._choice.sentence(budget))
        with progress("training, steps", budget.steps, state.step) as stage, writer.as_default():
            stage(state.step, figures=self._figures())
            if not state.validations:
                self._validate(math.nan)  # The logs can then say what training has added.
            while not self._is_over(state):
                started = time.perf_counter()
                before = state.step
                until = min(state.step + budget.evaluate_every, budget.steps)
                losses = []
                while state.step < until:
                    count = self._replicas.agree(min(_STEPS_PER_CALL, until - state.step))
                    losses.append(float(take_steps(self._model, batches, tf.constant(count))) / count)
                    if not math.isfinite(losses[-1]):
                        raise self._diverged(f"the loss is {losses[-1]} after step {state.step}")
                    state.step += count
                    stage(state.step)
                seconds = time.perf_counter() - started
                state.seconds += seconds
                self._record_throughput((state.step - before) * settings.batch_size / seconds)
                self._validate(float(np.mean(losses)))
                stage(state.step, figures=self._figures())
            stage(state.step, state.step)
        best = self._best
        assert best is not None  # A budget has a step at least, and the last one is validated.
        facts = {
            "best_step": int(best["step"]),
            "steps": state.step,
            RECALL: best.get(RECALL),
            "ndcg@20": best.get("ndcg@20"),
            f"initial_{RECALL}": state.initial_recall,
            "training_seconds": round(state.seconds, 1),
            "initialisation": state.initialisation,
            "initialisation_settings": state.initialisation_settings,
            "examples_per_epoch": stream.examples_per_epoch,
            "budget": budget.to_json() | {"validation_users": judges},
            "prepared": state.prepared,
            **({finished.KNOWN_CLICKS: state.known_clicks} if state.known_clicks else {}),
            **({} if self._choice is None else self._choice.facts()),
        }
        chosen_by = selected_by(best)
        if chosen_by != RECALL:
            facts |= {finished.SELECTED_BY: chosen_by, chosen_by: best[chosen_by]}
        weights = runs.best_weights(self._folder, int(best["step"]))
        with progress("checksums of the trained weights"):
            finished.write(self._folder, facts, self._config.fingerprint(), weights)
        (self._folder / run_files.CROSS_IDS).unlink(missing_ok=True)
        self._replicas.agree(_FINISHED)

    def _validate(self, loss: float) -> None:
        """Validates the averaged weights, keeps them if they are the best, and writes the checkpoint."""
        state = self._state
        with averaged_weights(self._model, self._optimizer):
            try:
                validated = self._validation.validate()
            except NotFiniteError as error:
                raise RunError(f"{self._folder}: step {state.step} cannot be validated: {error}") from None
            state.add(loss, validated, self._best_per_user.numpy())
            best = self._best
            is_best = best is not None and best["step"] == state.step
            if is_best:
                self._best_per_user.assign(validated.per_user)
                kept = runs.best_weights(self._folder, state.step)
                shutil.rmtree(kept.parent, ignore_errors=True)
                runs.weights_checkpoint(self._model).write(str(kept))
        for name, value in state.validations[-1].items():
            tf.summary.scalar(f"validation/{name}", value, step=state.step)
        self._validation.summarise(state.step)
        # The logs come before the checkpoint, because a restart from the last checkpoint writes no logs.
        write_csv(self._folder / run_files.LOGS / "validations.csv", state.validations)
        write_csv(self._folder / run_files.LOGS / "throughput.csv", state.throughputs)
        self._stored.assign(json.dumps(asdict(state)))
        self._manager.save(state.step)
        if is_best:
            # This comes last: until the checkpoint named the new best weights, a restart would have needed the old
            # ones.
            for old in (self._folder / run_files.CHECKPOINTS).glob("validated-*"):
                if old != kept.parent:
                    shutil.rmtree(old)
        if self._on_validation is not None:
            self._on_validation()

    def _record_throughput(self, examples_per_second: float) -> None:
        throughput = {"step": self._state.step, "examples_per_second": round(examples_per_second, 1)}
        self._state.throughputs.append(throughput | {"resident_gib": round(resident_gib(), 3)})
        for name, value in self._state.throughputs[-1].items():
            tf.summary.scalar(f"throughput/{name}", value, step=self._state.step)

    def _diverged(self, what: str) -> RunError:
        return RunError(
            f"{self._folder}: {what}; lower training.learning_rate, or check the scaling of the content "
            "(content.scaling)"
        )

    @property
    def _best(self) -> dict[str, float] | None:
        return self._state.best(self._config.training)

    def _is_over(self, state: TrainingState) -> bool:
        best = state.best(self._config.training)
        waited = 0 if best is None else state.step - best["step"]
        return state.step >= self._budget.steps or waited >= self._budget.patience

    def _restore(self, afresh: TrainingState) -> TrainingState:
        latest = runs.latest_checkpoint(self._folder)
        if latest is None:
            return afresh
        with reading(
            latest, f"another version of this package may have written it; {_from_the_start(self._config)}", RunError
        ):
            self._manager.checkpoint.restore(str(latest)).assert_existing_objects_matched()
            state = TrainingState(**json.loads(self._stored.numpy()))  # Python reads NaN, which JSON lacks.
        if state.fingerprint != afresh.fingerprint:
            raise RunError(
                f"{latest}: is of a training with other settings than {run_files.CONFIG_FILE}; "
                f"{_from_the_start(self._config)}"
            )
        if state.prepared != afresh.prepared:
            raise RunError(
                f"{self._folder}: the data has changed since this training began; "
                "pass run.overwrite=true to train anew, or choose another run.name"
            )
        if state.choice != afresh.choice:
            raise RunError(
                f"{self._folder}: run {self._config.training.final_of}, of which this is the final fit, was trained "
                "anew since this began; pass run.overwrite=true to begin anew too"
            )
        if state.cross_ids != afresh.cross_ids and not self._is_over(state):
            raise RunError(
                f"{self._folder / run_files.CROSS_IDS}: is missing, or not the file that this training began with; "
                f"put it back, or {_from_the_start(self._config)}"
            )
        return state

    def _figures(self) -> str:
        if not self._state.validations:
            return ""
        last, best = self._state.validations[-1], self._best
        throughput = (
            f"{self._state.throughputs[-1]['examples_per_second']:,.0f} examples/s  " if self._state.throughputs else ""
        )
        if RECALL not in last:
            return f"{throughput}loss {last['loss']:.4f}"
        by = selected_by(last)
        figures = f"{throughput}loss {last['loss']:.4f}  {by} {last[by]:.4f}"
        return figures if best is None else f"{figures}  best {best[by]:.4f} at {best['step']:.0f}"
