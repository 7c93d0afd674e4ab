"""The public TikTok split as the readers take it, for the tests that check known facts of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from m3csr_tf.config import Config


@pytest.fixture(scope="session")
def tiktok(tiktok_folder: Path) -> Config:
    """A configuration that reads it."""
    modalities = {"visual": "image_feat.npy", "acoustic": "audio_feat.npy"}
    data = {"format": "mmssl", "path": tiktok_folder, "modalities": modalities}
    return Config.model_validate({"data": data, "split": {"kind": "given"}})
