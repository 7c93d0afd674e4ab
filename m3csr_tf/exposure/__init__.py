"""Exposure of cold and rare items: bonuses that are added to the scores of a popularity bin, and their calibration."""

from m3csr_tf.exposure.balance import EXPOSED_AT, Ranked, cold_bonus, merge, ranked_by_kind
from m3csr_tf.exposure.bonuses import model_with_bonuses, with_bonuses
from m3csr_tf.exposure.calibration import (
    MOST_COLD_SHARE,
    Calibration,
    by_clicks,
    calibrate,
    catalogue_share,
    cold_bonus_items,
    few_bins,
)

__all__ = [
    "EXPOSED_AT",
    "MOST_COLD_SHARE",
    "Calibration",
    "Ranked",
    "by_clicks",
    "calibrate",
    "catalogue_share",
    "cold_bonus",
    "cold_bonus_items",
    "few_bins",
    "merge",
    "model_with_bonuses",
    "ranked_by_kind",
    "with_bonuses",
]
