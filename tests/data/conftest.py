"""Where the public TikTok split may lie, for the tests that check known facts of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from m3csr_tf.config import Config

BESIDE_THE_REPOSITORY = Path(__file__).parents[3] / "shared" / "data" / "tiktok"


@pytest.fixture(scope="session")
def tiktok() -> Config:
    """A configuration that reads it; the test is skipped where it is absent (M3CSR_TIKTOK names another folder)."""
    folder = Path(os.environ.get("M3CSR_TIKTOK", BESIDE_THE_REPOSITORY))
    if not (folder / "train.json").exists():
        pytest.skip(f"the public TikTok split is not in {folder}; set M3CSR_TIKTOK to its folder")
    modalities = {"visual": "image_feat.npy", "acoustic": "audio_feat.npy"}
    data = {"format": "mmssl", "path": folder, "modalities": modalities}
    return Config.model_validate({"data": data, "split": {"kind": "given"}})
