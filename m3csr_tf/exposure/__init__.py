"""How often items without a click, or with few, are shown: bonuses by popularity bin, and their calibration."""

from m3csr_tf.exposure.balance import EXPOSED_AT, Ranked, cold_bonus, merged, ranked_apart
from m3csr_tf.exposure.calibration import (
    MOST,
    by_clicks,
    calibrated_bonuses,
    catalogue_share,
    cold_items,
    few_bins,
    with_bonuses,
)

__all__ = [
    "EXPOSED_AT",
    "MOST",
    "Ranked",
    "by_clicks",
    "calibrated_bonuses",
    "catalogue_share",
    "cold_bonus",
    "cold_items",
    "few_bins",
    "merged",
    "ranked_apart",
    "with_bonuses",
]
