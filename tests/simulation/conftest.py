"""A small world, opened for a simulation."""

from __future__ import annotations

import pytest

from m3csr_tf.config import WorldConfig
from m3csr_tf.simulation.population import Population
from m3csr_tf.simulation.settings import SimulationConfig

WORLD = WorldConfig(users=80, items=150, clicks=1500, modalities={"visual": 4, "acoustic": 3})


@pytest.fixture(scope="session")
def population() -> Population:
    """People and videos, shared: do not change them."""
    return Population.of(WORLD, SimulationConfig())
