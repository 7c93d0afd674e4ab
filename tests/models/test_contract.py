"""Every kind of model keeps the contract."""

from __future__ import annotations

import pytest
from contract_tests import ContractTests, block_world, case, served

from m3csr_tf.models.registry import MODELS

__all__ = ["block_world", "case", "served"]


class TestContract(ContractTests):
    @pytest.fixture(scope="class", params=list(MODELS))
    def kind(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)
