"""The test files that take longest, the longest first: several workers begin with them, so that none waits at the end.

A worker of pytest-xdist takes a file at a time (--dist loadfile), by itself in the order of the number of tests; but
what takes minutes here is a training, a process or a kill, of which few tests have many.
"""

from __future__ import annotations

LONG_FILES = (
    "test_tiktok",
    "test_contract",
    "test_kills",
    "test_signals",
    "test_distribution_processes",
    "test_simulate",
    "test_python_docs",
    "test_nightly",
    "test_spark",
    "test_service_processes",
    "test_pipelines",
    "test_warm_start",
    "test_fit",
    "test_final_fit",
    "test_experiment",
    "test_tracking",
    "test_final_fit_release",
    "test_processes",
    "test_python_api",
    "test_fuzz",
    "test_releases_docs",
    "test_sweep",
    "test_resume",
    "test_budget",
    "test_run_report",
    "test_gate",
    "test_your_own_model",
)
