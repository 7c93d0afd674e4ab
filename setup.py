"""Packaging of m3csr_tf; tool settings are in pyproject.toml, exact pins in requirements.txt."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="m3csr_tf",
    version="0.1.0",
    description="M3CSR: a two-tower recommender for cold-start short videos, as a TensorFlow pipeline",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["m3csr_tf", "m3csr_tf.*"]),
    package_data={"m3csr_tf": ["py.typed"], "m3csr_tf.reports": ["templates/*"]},
    python_requires=">=3.11,<3.13",
    install_requires=[
        "tensorflow==2.20.*",  # ScaNN's ops are built for this release.
        "tf-keras==2.20.*",  # Keras 2, which tensorflow-recommenders needs.
        "tensorflow-recommenders==0.7.7",
        "scann==1.4.2",
        "tensorflow-serving-api==2.20.*",  # A release carries warmup requests, always.
        "numpy>=2,<2.5",
        "pandas>=2,<3",  # Spark's limit, kept everywhere.
        "scipy>=1.11",
        "scikit-learn>=1.5",
        "threadpoolctl>=3.5",  # Rankings that do not depend on the number of cores; ScaNN searches undisturbed by BLAS.
        "pyarrow>=15",
        "pydantic>=2,<3",
        "PyYAML>=6",
        "typer>=0.12",
        "filelock>=4.3,<5",  # Locks among processes.
        "rich>=13",
        "matplotlib>=3.8",  # The figures of a report, of a frontier and of a sweep.
        "pillow>=10",  # Pictures of a catalogue, made small for the page.
        "jinja2>=3.1",  # The report's page, every id in it escaped.
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]==2.20.*"],
        "spark": ["pyspark>=4,<5"],  # Batch jobs on many machines; needs Java 17.
        "service": [
            "fastapi>=0.115",  # The routes of the online service, and its OpenAPI.
            "uvicorn>=0.30",  # Its HTTP server.
            "httptools>=0.6",  # The parser of HTTP, in C.
            "prometheus-client>=0.20",  # Its metrics.
        ],
        "sweep": ["optuna>=4,<5"],
        # Runs and releases in an MLflow store; the last two open one that is a file of SQLite, or another database.
        "mlflow": ["mlflow-skinny>=3.17,<4", "SQLAlchemy>=2", "alembic>=1.10"],
        "dev": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-timeout>=2.3",
            "hypothesis>=6.100",
            "ruff>=0.6",
            "mypy>=1.11",
            "nbclient>=0.10",  # The notebook of docs/ runs from top to bottom, in a kernel of ipykernel.
            "ipykernel>=6.29",
            "httpx>=0.27",  # Asks the online service.
            "schemathesis>=4,<5",  # Fuzzes it against its OpenAPI.
        ],
    },
    entry_points={"console_scripts": ["m3csr=m3csr_tf.main:main"]},
)
