"""The errors that a user can mend: one plain sentence each, shown without a traceback.

A message says what was received, what was expected, and what to do, and names the file, row or field.
"""


class M3CSRError(Exception):
    """Base of all errors shown to the user as one message; the command line exits with 2 on it."""


class ConfigError(M3CSRError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class InputError(M3CSRError):
    """A data file is missing, malformed, or contradicts another."""


class RunError(M3CSRError):
    """A run's folder is missing, unfinished, or belongs to another configuration."""


class NotFiniteError(RunError, ValueError):
    """Vectors or scores are NaN, infinite or about to be: training has diverged."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}, since the model has diverged; train it again with a lower training.learning_rate or another "
            "model.temperature, or check the scaling of the content (content.scaling)"
        )


class ReleaseError(M3CSRError):
    """A release is missing, incomplete, or its parts do not belong together."""


class EngineError(M3CSRError):
    """Spark is not installed, cannot be started, or gave up."""


class TrackingError(M3CSRError):
    """MLflow is not installed, or its store cannot be used."""


class ServingError(M3CSRError):
    """TF Serving cannot be reached, does not serve what is asked for, or refuses a request."""


class ResourceError(M3CSRError):
    """The system refuses what a verb needs: the disk is full, a file may not be read or written, or memory is short."""
