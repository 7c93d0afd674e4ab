"""The budget of a training: its steps, epochs and validations, from the number of training clicks alone.

Whatever is not set follows from counts and never from a clock, so that a run is the same on every machine, in every
worker, and after a kill. A setting that is given always wins.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from m3csr_tf.config import Config, NegativesConfig, TrainingConfig

EPOCHS = 6.0
"""Number of epochs on a log of up to REFERENCE_CLICKS clicks. A larger log has fewer epochs, by the root of its clicks,
because an epoch of more clicks teaches more.
"""
REFERENCE_CLICKS = 1_000_000
LEAST_EPOCHS = 1.0
"""Least number of epochs on a log of any size, so that every click is seen."""
LEAST_STEPS = 400
"""Least number of steps on a small log, whose epochs are a few dozen steps: the learning rate needs some hundred steps
to fall.
"""

VALIDATIONS = 20
"""Number of validations of a training, unless its steps are so few that LEAST_INTERVAL lies between two validations."""
LEAST_INTERVAL = 25
PATIENT_FOR = 0.5
"""Share of the steps without a better validation after which training stops. Under a cosine schedule the late steps,
with a small learning rate, often rank best, so that no progress in the middle is no reason to stop.
"""

VALIDATION_SHARE = 0.2
"""Largest share of the time of training and validations together that validations may take, estimated by the costs
below.
"""
LEAST_VALIDATION_USERS = 1000
"""Least number of validation users. Fewer cannot tell one step from another: the standard error of their Recall@20 is
near 0.01.
"""
EXAMPLE_COST, CANDIDATE_COST = 2_000, 2
"""The cost of training an example, and the additional cost of each candidate that it is compared with. The unit is a
score of a ranking: the product of a user vector with an item vector, and its part in the selection of the top. Measured
by processor time they were 4,400 and 3.5 on two cores (docs/scale.md). The smaller values leave time for item vectors
and checkpoints, and for cores that others are using, on which ranking slows down more than training.
"""


@dataclass(frozen=True)
class Budget:
    """The resolved numbers of a training.

    Attributes:
      steps: number of steps of `batch_size` examples, unless patience ends training earlier.
      evaluate_every: number of steps from one validation to the next.
      patience: number of steps without a better validation after which training stops.
      epochs: `steps` as passes over the clicks. A pass is as many examples as there are clicks, whatever
        `training.positives` makes an example.
      clicks: number of training clicks of the log.
      batch_size: number of examples of a step.
    """

    steps: int
    evaluate_every: int
    patience: int
    epochs: float
    clicks: int
    batch_size: int

    @classmethod
    def of(cls, training: TrainingConfig, clicks: int) -> Budget:
        """Computes the budget from the settings and, where these are silent, from the number of training clicks.

        Args:
          training: the settings; `max_steps`, `epochs`, `evaluate_every`, `patience` and `batch_size` are read.
          clicks: number of training clicks of the whole log, at least 1; the same for every worker and every sitting.

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
        """Returns the numbers by name, as finished.json has them under "budget"."""
        return asdict(self) | {"epochs": round(self.epochs, 3)}

    def sentence(self, users: int) -> str:
        """Returns the sentence that is printed before the first step.

        Args:
          users: number of users for whom each validation ranks the catalogue.
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
    """Returns the epochs of a training whose settings give neither epochs nor steps, without the floor LEAST_STEPS."""
    return min(EPOCHS, max(LEAST_EPOCHS, EPOCHS * math.sqrt(REFERENCE_CLICKS / clicks)))


def validation_users(config: Config, clicks: int, items: int) -> int:
    """Returns the number of users whom a validation may rank for, so that validations take at most VALIDATION_SHARE.

    All validations of a run rank for the same users. Two steps are then compared on the same people, whose differences
    vary much less than their figures do, and the best step needs no second evaluation on other users.

    Args:
      config: the run's settings.
      clicks: number of training clicks of the whole log.
      items: number of items of the catalogue.

    Returns:
      At least LEAST_VALIDATION_USERS, and at most `training.validation_users`.
    """
    budget = Budget.of(config.training, clicks)
    example = EXAMPLE_COST + CANDIDATE_COST * _candidates(config.negatives, budget.batch_size, items)
    interval = budget.evaluate_every * budget.batch_size * example
    affordable = int(VALIDATION_SHARE / (1 - VALIDATION_SHARE) * interval / max(1, items))
    return min(config.training.validation_users, max(LEAST_VALIDATION_USERS, affordable))


def _candidates(negatives: NegativesConfig, batch_size: int, items: int) -> int:
    """Returns the number of items that an example's positive is compared with."""
    if negatives.kind == "shared":
        return items if items <= negatives.whole_pool else negatives.count
    return {"uniform": 1, "in_batch": batch_size}[negatives.kind]
