"""How much work a training does: its steps, epochs and validations, by the number of training clicks alone.

Whatever is not set follows from counts, never from a clock, so that a run is the same on every machine, in every
worker, and after a kill. What is set explicitly holds.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from m3csr_tf.config import Config, NegativesConfig, TrainingConfig

EPOCHS = 6.0
"""Epochs of a log of up to REFERENCE_CLICKS. A larger one has fewer, by the root of its clicks, since one epoch of more
clicks teaches more."""
REFERENCE_CLICKS = 1_000_000
LEAST_EPOCHS = 1.0
"""Of a log of any size: every click is seen."""
LEAST_STEPS = 400
"""Of a small log, whose epochs are a few dozen steps each: the learning rate needs some hundred steps to fall."""

VALIDATIONS = 20
"""How many times a training validates, unless steps are so few that LEAST_INTERVAL lies between."""
LEAST_INTERVAL = 25
PATIENT_FOR = 0.5
"""Share of the steps without a better validation before training stops: under a cosine schedule the late steps, of a
small learning rate, often rank best, so that a flat stretch in the middle is no end."""

VALIDATION_SHARE = 0.2
"""Of the time that training and validations take together, the most that validations take, by the costs below."""
LEAST_VALIDATION_USERS = 1000
"""Fewer cannot tell one step from another: the standard error of their Recall@20 is near 0.01."""
EXAMPLE_COST, CANDIDATE_COST = 2_000, 2
"""What an example costs to train, and what each candidate that it is compared with adds to that, in scores: products of
one user vector with one item vector, chosen from. By the processor's time it was 4,400 and 3.5 on two cores
(docs/scale.md); less than that leaves time for item vectors and checkpoints, and for cores that others are using, on
which ranking slows down more than training does."""


@dataclass(frozen=True)
class Budget:
    """The resolved numbers of a training.

    Attributes:
      steps: of `batch_size` examples, unless patience ends them earlier.
      evaluate_every: steps from one validation to the next.
      patience: steps without a better validation after which training stops.
      epochs: `steps` in passes over the clicks, so many examples each, whatever `training.positives` makes an example.
      clicks: training clicks of the log.
      batch_size: examples of a step.
    """

    steps: int
    evaluate_every: int
    patience: int
    epochs: float
    clicks: int
    batch_size: int

    @classmethod
    def of(cls, training: TrainingConfig, clicks: int) -> Budget:
        """What the settings say, and where they say nothing what the number of training clicks asks for.

        Args:
          training: its `max_steps`, `epochs`, `evaluate_every`, `patience` and `batch_size`.
          clicks: training clicks of the whole log, at least 1; the same for every worker and every sitting.

        Raises:
          ValueError: there is no click to train on.
        """
        if clicks < 1:
            raise ValueError(f"a budget needs at least one training click, got {clicks}")
        batch = training.batch_size
        if training.max_steps is not None:
            steps = training.max_steps
        elif training.epochs is not None:
            steps = max(1, math.ceil(training.epochs * clicks / batch))
        else:
            steps = max(LEAST_STEPS, math.ceil(default_epochs(clicks) * clicks / batch))
        every = training.evaluate_every
        if every is None:
            every = min(steps, max(LEAST_INTERVAL, math.ceil(steps / VALIDATIONS)))
        patience = training.patience
        if patience is None:
            patience = max(1, math.ceil(PATIENT_FOR * steps))
        return cls(steps, every, patience, steps * batch / clicks, clicks, batch)

    def to_json(self) -> dict[str, Any]:
        """The numbers by name, as finished.json has them under "budget"."""
        return asdict(self) | {"epochs": round(self.epochs, 3)}

    def sentence(self, users: int) -> str:
        """What is printed before the first step.

        Args:
          users: whom each validation ranks the catalogue for.
        """
        epochs = f"{self.epochs:.2g}" if self.epochs < 10 else f"{self.epochs:,.0f}"
        unit = "epoch" if epochs == "1" else "epochs"
        clicks_text = f"{self.clicks:,} training click{'s' if self.clicks != 1 else ''}"
        users_text = f"{users:,} user{'s' if users != 1 else ''}"
        return (
            f"{self.steps:,} steps of {self.batch_size:,} examples, {epochs} {unit} of {clicks_text}; "
            f"validation every {self.evaluate_every:,} steps by {users_text}"
        )


def default_epochs(clicks: int) -> float:
    """Epochs of a training whose settings name neither epochs nor steps, before the floor of LEAST_STEPS."""
    return min(EPOCHS, max(LEAST_EPOCHS, EPOCHS * math.sqrt(REFERENCE_CLICKS / clicks)))


def validation_users(config: Config, clicks: int, items: int) -> int:
    """How many users a validation may rank the catalogue for, so that validations take VALIDATION_SHARE at most.

    All validations of a run rank the same users. Two steps are then compared on the same people, whose differences
    vary much less than their figures do, and the best step needs no second look by others.

    Args:
      config: the run's settings.
      clicks: training clicks of the whole log.
      items: of the catalogue.

    Returns:
      At least LEAST_VALIDATION_USERS, and at most `training.validation_users`.
    """
    budget = Budget.of(config.training, clicks)
    example = EXAMPLE_COST + CANDIDATE_COST * _candidates(config.negatives, budget.batch_size, items)
    interval = budget.evaluate_every * budget.batch_size * example
    affordable = int(VALIDATION_SHARE / (1 - VALIDATION_SHARE) * interval / max(1, items))
    return min(config.training.validation_users, max(LEAST_VALIDATION_USERS, affordable))


def _candidates(negatives: NegativesConfig, batch_size: int, items: int) -> int:
    """Items that an example's positive is compared with."""
    if negatives.kind == "shared":
        return items if items <= negatives.whole_pool else negatives.count
    return {"uniform": 1, "in_batch": batch_size}[negatives.kind]
