"""Settings of the initial weights of M3CSR: `model.initial`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from m3csr_tf.config.section import Section

_Ridge = Annotated[float, Field(gt=0, le=1e9)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Multiplier = Annotated[float, Field(ge=0, le=100)]


class InitialConfig(Section):
    """How closed forms over clicks and content set M3CSR's weights before the first step (models/m3csr/).

    The defaults are what ranked warm and pseudo-cold items best on two real logs and on synthetic worlds
    (docs/results.md, docs/journal.md).
    """

    by_weight: bool = Field(
        False,
        description="ids from implicit ALS or singular vectors, and those of training.cross_fit, count clicks by the "
        "weights by which positives are drawn, of which the mean is 1; false: all clicks alike",
    )
    clicks: int = Field(
        500_000,
        ge=1,
        le=1_000_000_000,
        description="training clicks, at most, from which maps of content are fitted; a draw of users of a larger log",
    )
    co_click_multipliers: tuple[_Multiplier, ...] = Field(
        (1.0, 0.5, 0.0),
        min_length=1,
        description="factors tried on the weight that a conditional logit gives to what clicks say of content; "
        "the lists of held-out items choose",
    )
    co_click_ridge: _Ridge = Field(
        1.0, description="ridge of what clicks say of content, in mean variances of the content"
    )
    cluster_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="a cluster's initial embedding is this share of its members' mean mapped content; 1 would drown "
        "what tells its members apart",
    )
    popularity_ridge: _Ridge = Field(
        10.0, description="ridge of the regression of popularity on content, for content vectors of length 1"
    )
    popularity_share: float = Field(
        0.2,
        ge=0,
        le=100,
        description="share of what content says of an item's popularity that is added to its score for a user with "
        "one click",
    )
    id_ridges: tuple[_Ridge, ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0),
        min_length=1,
        description="ridges of a modality, in mean variances of its content, that are tried in linear regressions of "
        "ids on content; the least leave-one-out error says how much each modality counts in predictions of new ids",
    )
    id_penalties: tuple[_Ridge, ...] = Field(
        (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
        min_length=1,
        description="ridge penalties that are tried for the prediction of new ids; the scores of left-out items choose",
    )
    predicted_id_multipliers: tuple[_Multiplier, ...] = Field(
        (1.0, 2.0, 0.5, 4.0),
        min_length=1,
        description="factors tried on the weight that a conditional logit gives to predicted ids of new items; "
        "the lists of held-out items choose",
    )
    gate_new: float = Field(
        0.75, gt=0, lt=1, description="initial gate, the weight of content, of items without a click"
    )
    gate_least: float = Field(0.02, gt=0, lt=1, description="least initial gate of other items")
    gate_most: float = Field(0.9, gt=0, lt=1, description="largest initial gate of other items")
    intensity_ridge: _Ridge = Field(
        100.0, description="penalty of w_int of eq. 5 for interests of length 1, shared by all clicks"
    )
    folds: int = Field(3, ge=1, le=100, description="times that clicks are left out, to weigh ids and content by them")
    fold_items: float = Field(0.25, gt=0, lt=1, description="share of the clicked items that a fold leaves out")
    fold_clicks: _Share = Field(0.1, description="share of the clicks on other items that a fold leaves out")
    fold_samples: int = Field(
        6000, ge=1, le=10_000_000, description="clicks of each kind, at most, that a fold compares with other items"
    )
    fold_others: int = Field(5, ge=1, le=1000, description="items that each of them is compared with")
    logit_ridge: _Ridge = Field(1e-3, description="penalty of the conditional logit's squared weights")
    logit_least: float = Field(
        0.02, gt=0, le=1, description="least weight, of scores of spread 1: content of weight 0 could not be learned"
    )
    cross_fit_sweeps: int = Field(
        10, ge=1, le=1000, description="turns of implicit ALS without the clicks of a part (training.cross_fit)"
    )
    svd_popularity: float = Field(
        0.25,
        ge=0,
        le=2,
        description="exponent by which popular items are held back where ids are initialised from singular vectors",
    )
    walk_floor: float = Field(
        3e-3,
        gt=0,
        le=1,
        description="chances of a next click below this count for little where ids are initialised from walks",
    )
