"""The package as a whole: Keras 2, what may import what, and what stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from long_files import LONG_FILES

import m3csr_tf

PACKAGE = Path(m3csr_tf.__file__).parent


def python(script: str, **environment: str) -> subprocess.CompletedProcess:
    inherited = {name: value for name, value in os.environ.items() if name != m3csr_tf.LEGACY_KERAS}
    return subprocess.run(
        [sys.executable, "-c", script], env=inherited | environment, capture_output=True, text=True, timeout=120
    )


def test_importing_the_package_chooses_keras_2_whatever_the_environment_says() -> None:
    done = python("import m3csr_tf, os; print(os.environ['TF_USE_LEGACY_KERAS'])", TF_USE_LEGACY_KERAS="0")
    assert done.stdout.strip() == "1", done.stderr


def test_tensorflow_then_comes_with_keras_2() -> None:
    import tensorflow as tf

    assert tf.keras.layers.Layer.__module__.startswith("tf_keras.")


def test_importing_it_after_tensorflow_with_keras_3_is_refused_in_plain_words() -> None:
    done = python("import tensorflow, m3csr_tf")
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError: TensorFlow was imported before m3csr_tf")
    assert "Import m3csr_tf first" in message and "TF_USE_LEGACY_KERAS=1" in message


def test_importing_it_after_tensorflow_with_keras_2_is_fine() -> None:
    # A stand-in will do: it is asked only whether it was imported.
    script = "import sys, types; sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import m3csr_tf"
    assert python(script, TF_USE_LEGACY_KERAS="1").returncode == 0
    assert python(script).returncode == 1


def test_importing_the_package_is_quick_and_its_python_api_comes_when_it_is_asked_for() -> None:
    script = "import m3csr_tf, sys; assert not {'tensorflow', 'pandas', 'numpy'} & set(sys.modules); "
    script += "print('train' in dir(m3csr_tf), m3csr_tf.errors.InputError.__name__)"
    done = python(script)
    assert done.stdout.split() == ["True", "InputError"], done.stderr
    with pytest.raises(AttributeError, match="module 'm3csr_tf' has no attribute 'tram'"):
        m3csr_tf.__getattr__("tram")


def test_reading_settings_and_data_does_not_import_tensorflow() -> None:
    names = [
        "config",
        "ids",
        "prepare",
        "data.world",
        "evaluation.report",
        "ranking.full_ranking",
        "baselines.registry",
        "cli",
    ]
    imports = "; ".join(f"import m3csr_tf.{name}" for name in names)
    done = python(f"{imports}; import sys; assert 'tensorflow' not in sys.modules")
    assert done.returncode == 0, done.stderr


FOUNDATION = {"columns", "errors", "ids", "config", "util"}
MAY_IMPORT: dict[str, set[str]] = {
    "columns": set(),
    "errors": set(),
    "ids": set(),
    "config": set(),
    "losses": set(),
    "tasks": {"losses"},
    "ranking": set(),
    "ops": set(),
    "layers": {"ops"},
    "index": set(),
    "features": set(),
    "graph": {"features", "ranking"},
    "data": {"features"},
    "prepare": {"data", "features"},
    "evaluation": {"data", "ranking"},
    "exposure": {"data", "evaluation", "features", "ranking"},
    "baselines": {"data", "evaluation", "features", "graph", "ranking"},
    "sampling": {"data", "features", "graph"},
    "models": {"data", "features", "graph", "layers", "losses", "ops", "sampling", "tasks"},
    "training": {"data", "evaluation", "exposure", "features", "graph", "models", "ops", "ranking", "sampling"},
    "experiments": {"baselines", "data", "evaluation", "exposure", "prepare", "ranking", "sampling", "training"},
    "export": {"data", "features", "models", "ops"},
    "releases": {"data", "export", "exposure", "features", "index", "models"},
    "serving": {"data", "export", "releases"},
    "batch": {"data", "export", "index", "releases"},
    "simulation": {"batch", "data", "ranking", "releases"},
    "drift": {"evaluation", "export", "ranking", "releases"},
    "explain": {"data", "export", "models", "releases"},
    "service": {"batch", "data", "explain", "export", "releases", "serving"},
    "reports": {"data", "drift"},
    "tracking": {"training"},
}
"""Every room below the verbs, and what it may import beside the foundation: all of it below that room."""
MAY_IMPORT |= {"verbs": set(MAY_IMPORT), "cli": {"verbs"}, "main": {"cli"}}
MAY_IMPORT["api"] = MAY_IMPORT["verbs"] | {"verbs"}


def imported_rooms(path: Path) -> set[str]:
    """Rooms of this package that a module imports, its own left out."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    found = {name.split(".")[1] for name in names if name.startswith("m3csr_tf.")}
    return found - {own, "__version__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_downward(room: str) -> None:
    paths = [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).rglob("*.py"))
    assert paths
    for path in paths:
        too_high = imported_rooms(path) - FOUNDATION - MAY_IMPORT[room]
        assert not too_high, f"{path.relative_to(PACKAGE)} imports {', '.join(sorted(too_high))}"


def test_a_verb_is_the_function_of_its_name_in_the_file_of_its_name_and_has_a_script() -> None:
    from m3csr_tf.cli import app

    commands = {one.name or one.callback.__name__ for one in app.registered_commands if one.callback}
    groups = {one.typer_instance.info.name for one in app.registered_groups if one.typer_instance}
    verbs = (commands | groups) - {"settings"}
    assert verbs == {path.stem for path in (PACKAGE.parent / "pipelines").glob("*.py")}
    for verb in verbs:
        tree = ast.parse((PACKAGE / "verbs" / f"{verb}.py").read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        words = {"publish", "list_versions", "verify", "rollback", "prune"}
        assert functions >= (words if verb == "release" else {verb})


def test_the_utilities_know_nothing_of_the_product_but_its_errors() -> None:
    for path in sorted((PACKAGE / "util").glob("*.py")):
        assert imported_rooms(path) <= {"errors"}, path.name


def test_no_file_is_longer_than_350_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")}
    too_long = {str(path.relative_to(PACKAGE)): length for path, length in lengths.items() if length > 350}
    assert not too_long


def test_every_room_has_its_import_rule() -> None:
    rooms = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    # The rule of util is the test above.
    assert rooms - {"__init__", "__pycache__", "util"} == set(MAY_IMPORT)


def test_no_two_test_modules_have_the_same_name() -> None:
    # Tests are no package, so that pytest can import only one of each name.
    names = [path.name for path in (Path(__file__).parent).rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))


def test_the_files_that_are_said_to_take_longest_are_there() -> None:
    names = {path.stem for path in (Path(__file__).parent).rglob("test_*.py")}
    assert len(set(LONG_FILES)) == len(LONG_FILES) and set(LONG_FILES) <= names
