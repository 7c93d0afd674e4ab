"""Every kind of model keeps the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from contract_tests import ContractTests, block_world, case, served

from m3csr_tf.models.registry import MODELS

__all__ = ["block_world", "case", "served"]


class TestContract(ContractTests):
    @pytest.fixture(scope="class", params=list(MODELS))
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)


STOPPED = "test_a_run_that_was_stopped_ends_where_an_uninterrupted_one_ends"


def test_on_one_thread_every_kind_resumes_bit_for_bit() -> None:
    one = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"{Path(__file__)}::TestContract",
        "-k",
        STOPPED,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=os.environ | one)
    assert done.returncode == 0 and f"{len(MODELS)} passed" in done.stdout, done.stdout[-2000:]
