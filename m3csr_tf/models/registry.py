"""The list of models by `model.kind`; the module of a model is imported only when the model is asked for."""

from __future__ import annotations

import hashlib
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

import tensorflow as tf

from m3csr_tf.config import Config, CustomConfig, ModelSection, digest_of_code
from m3csr_tf.data.prepared import Prepared
from m3csr_tf.errors import ConfigError
from m3csr_tf.models.contract import Recommender

MODELS: dict[str, tuple[str, str]] = {
    "m3csr": ("m3csr_tf.models.m3csr.model", "M3CSR"),
    "bpr_mf": ("m3csr_tf.models.bpr_mf", "BPRMF"),
    "lightgcn": ("m3csr_tf.models.lightgcn", "LightGCN"),
    "vbpr": ("m3csr_tf.models.vbpr", "VBPR"),
    "siamese": ("m3csr_tf.models.siamese", "Siamese"),
    "freedom": ("m3csr_tf.models.freedom", "Freedom"),
    "lattice": ("m3csr_tf.models.lattice", "Lattice"),
    "mmgcn": ("m3csr_tf.models.mmgcn", "MMGCN"),
    "mmssl": ("m3csr_tf.models.mmssl.model", "MMSSL"),
}
"""Kind -> module and class."""


def model_class(model: ModelSection) -> type[Recommender]:
    """Returns the model class that the settings of section model ask for.

    Raises:
      ConfigError: there is no such class, it is not a `Recommender`, or it is incomplete or has changed since
        `model.code` was taken.
    """
    if isinstance(model, CustomConfig):
        return _of_place(model)
    if model.kind not in MODELS:
        raise ConfigError(f"model.kind={model.kind}: there is no such model yet; expected one of {', '.join(MODELS)}")
    module, name = MODELS[model.kind]
    found: type[Recommender] = getattr(import_module(module), name)
    return found


def build_model(config: Config, prepared: Prepared) -> Recommender:
    """Creates a fresh model of `model.kind`, with its weights drawn from `run.seed`."""
    tf.keras.utils.set_random_seed(config.run.seed)
    return model_class(config.model).from_prepared(config, prepared)


def _of_place(model: CustomConfig) -> type[Recommender]:
    module, name = model.place["module"], model.place["name"]
    try:
        holder = _file_module(Path(module)) if module.endswith(".py") else import_module(module)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError(f"model.kind={model.kind}: cannot import {module} ({error}); check the place") from None
    except Exception as error:  # Anything can be wrong with a file that someone is writing.
        raise ConfigError(
            f"model.kind={model.kind}: cannot import {module} ({_said(error, module)}); mend the file"
        ) from error
    found = getattr(holder, name, None)
    if found is None:
        raise ConfigError(f"model.kind={model.kind}: {module} has no {name}; check the name of the class")
    if model.code is not None and model.code != digest_of_code(model.kind):
        raise ConfigError(
            f"model.kind={model.kind}: {module} has changed since model.code was taken of it; put the old file "
            "back, or train anew with run.overwrite=true and without model.code"
        )
    if not (isinstance(found, type) and issubclass(found, Recommender)):
        raise ConfigError(
            f"model.kind={model.kind}: {name} is no subclass of m3csr_tf.models.contract.Recommender; "
            "docs/your_own_model.md says what a model must have"
        )
    # Keras creates its classes with `type` as metaclass, so a class that lacks abstract methods could be instantiated.
    lacks = [one for one in dir(found) if getattr(getattr(found, one, None), "__isabstractmethod__", False)]
    if lacks:
        raise ConfigError(
            f"model.kind={model.kind}: {name} lacks {', '.join(lacks)}, which a model must have; "
            "docs/your_own_model.md has an example"
        )
    for one in ("kind", "title"):
        if not isinstance(getattr(found, one, None), str):
            raise ConfigError(f'model.kind={model.kind}: {name} lacks a name; say {one} = "..." in the class')
    return found


def _said(error: Exception, path: str) -> str:
    """Describes an exception, with the line of the file that raised it if the file is in the traceback."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename) == Path(path)]
    return f"{type(error).__name__}: {error}{f', line {lines[-1]}' if lines else ''}"


def _file_module(path: Path) -> ModuleType:
    """Imports a file as a module; it is executed once in a process."""
    name = f"m3csr_tf_own_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
