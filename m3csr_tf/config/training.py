"""Sections `negatives` and `training`: the objective, the optimizer and the training loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from m3csr_tf.config.section import Section
from m3csr_tf.util.names import Name


class NegativesConfig(Section):
    """The candidates that a positive is compared with."""

    kind: Literal["uniform", "shared", "in_batch"] = Field(
        "shared",
        description="one uniform a positive; many that the batch shares; the batch's other positives with logQ",
    )
    count: int = Field(512, ge=1, le=100_000, description="negatives of kind=shared, where they are drawn")
    whole_pool: int = Field(
        8192,
        ge=0,
        le=1_000_000,
        description="a pool of at most so many items is shared whole, so that the softmax is over all of them; 0 "
        "always draws",
    )
    pool: Literal["clicked", "catalogue"] = Field("clicked", description="items with a training click, or all")


class TrainingConfig(Section):
    """The objective (eqs. 12-13), the optimizer and the loop."""

    loss: Literal["bpr", "softmax"] = "softmax"
    bpr_weighting: Literal["uniform", "softmax"] = Field(
        "softmax", description="how the negatives of one positive are averaged: evenly, or by softmax of their scores"
    )
    positives: Literal["per_interaction", "per_user"] = "per_user"
    by_weight: bool = Field(
        True,
        description="where interactions differ in weight, draw positives by it: of all clicks, or of a user's, by "
        "positives; false: all alike",
    )
    half_life_days: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="days in which the chance of a click to be drawn as a positive halves; unset: age does not count",
    )
    walk_positives: float = Field(
        0.0, ge=0, le=1, description="share of the positives that walks lead to instead of clicks (section item_graph)"
    )
    history_power: float = Field(
        0.5,
        ge=0,
        le=1,
        description="training multiplies the scores of a user with n clicks in the history by n to this power: the "
        "inverse temperature of the softmax; no list of hers changes by it",
    )
    mask_target: bool = Field(True, description="take the positive out of the history that predicts it")
    item_id_dropout: float = Field(
        0.1,
        ge=0,
        le=1,
        description="id dropout of items: the share of the candidates that training shows without an id, whose gate "
        "looks at popularity bin 0, as for a new item",
    )
    user_id_dropout: float = Field(
        0.8,
        ge=0,
        le=1,
        description="id dropout of users: the share that training shows without an id, as an unknown user",
    )
    alpha: float = Field(1e-6, ge=0, le=1e6, description="weight of the orthogonality loss, a mean over the batch")
    beta: float = Field(0.1, ge=0, le=1e6, description="weight decay of the batch's rows and the dense weights")
    batch_size: int = Field(1024, ge=2, le=262_144)
    window_clicks: int = Field(
        20_000_000,
        ge=1,
        le=10**12,
        description="training clicks held in memory; of a larger log, some shards at a time",
    )
    learning_rate: float = Field(3e-3, gt=0, le=1e3)
    content_rate: float = Field(
        0.3, ge=0, le=1, description="share of the learning rate for the maps of content; 0 keeps the initial ones"
    )
    id_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="share of the learning rate for item ids (without cross_fit) and their W_V and W_O; 0 keeps them",
    )
    cross_fit: int = Field(
        5,
        ge=0,
        le=20,
        description="parts of the users: the examples of each part are trained with item ids that the clicks of the "
        "other users alone place, and those of the model keep their initial values; for ids initialised from implicit "
        "ALS that are not hashed, and logs of up to two million clicks and 50,000 items; 0: with the ids of the model, "
        "which know the clicks",
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="cosine: the learning rate falls to zero at the last step"
    )
    epochs: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="passes over the training clicks, so many examples each; without a number, as many as their count "
        "asks for (training/budget.py)",
    )
    max_steps: int | None = Field(None, ge=1, le=1_000_000_000, description="steps, instead of epochs")
    evaluate_every: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="steps between validations; without a number, a twentieth of all, at least 25",
    )
    validation_users: int = Field(
        20_000,
        ge=1,
        le=1_000_000_000,
        description="users whom a validation ranks items for, at most; a seeded draw, of as many as take a fifth of "
        "the time, but 1,000 at least",
    )
    patience: int | None = Field(
        None,
        ge=1,
        le=1_000_000_000,
        description="steps without a better validation Recall@20 before stopping; without a number, half of all",
    )
    min_delta: float = Field(
        0.01,
        ge=0,
        le=10,
        description="least share by which validation Recall@20 must rise for a later step to be better: of steps that "
        "validation can hardly tell apart the earliest has moved least from what was known of new items",
    )
    min_standard_errors: float = Field(
        1.0,
        ge=0,
        le=10,
        description="least rise for a later step to be better, beside min_delta: so many standard errors of the mean "
        "difference between the validation users' Recall@20 at both steps",
    )
    averaging: float = Field(
        0.98, ge=0, lt=1, description="decay a step of the averaged weights (EMA); 0 switches it off"
    )
    warm_start: Name | None = Field(
        None, description="a finished run of run.folder to go on from: its weights, scaling, clusters and bins"
    )
    final_fit: bool = Field(
        False,
        description="after the choice on validation, fit the same recipe for the same number of epochs on more clicks, "
        "into the run NAME-final, which is what a release then publishes",
    )
    final_clicks: Literal["all", "train_val"] = Field(
        "all",
        description="clicks of the final fit: those of all splits, or of train and validation alone, so that test can "
        "judge it",
    )
    final_of: Name | None = Field(
        None,
        description="the finished run whose choices a final fit takes over: initial weights and number of epochs; "
        "training.final_fit sets it in the run NAME-final",
    )

    @model_validator(mode="after")
    def _check(self) -> TrainingConfig:
        if self.cross_fit == 1:
            raise ValueError("training.cross_fit must be 0 or at least 2, got 1: one part would leave no other users")
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError(
                "training.epochs and training.max_steps are both set and both say how long to train, got "
                f"{self.epochs:g} and {self.max_steps}; pass training.max_steps=null to train for epochs, or "
                "training.epochs=null for steps"
            )
        return self
