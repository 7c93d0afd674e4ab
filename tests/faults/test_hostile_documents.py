"""JSON and YAML that nobody means, wherever they come in: configs, overrides, spaces, suites, manifests, own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_logs import Logs

from m3csr_tf import columns
from m3csr_tf.config import load
from m3csr_tf.errors import ConfigError, InputError, M3CSRError, ReleaseError
from m3csr_tf.experiments.sweep.space import load_space
from m3csr_tf.verbs.suite_file import read_suite

DEEP = 100_000
DEEP_YAML = 10_000
LAUGHS = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
LAUGHING_MAPS = "a: &a {x: 1, y: 2}\n" + "\n".join(
    f"{new}: &{new} {{{', '.join(f'k{n}: *{old}' for n in range(9))}}}"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
YAML = {
    "lists without end": "[" * DEEP_YAML,
    "mappings without end": "{a: " * DEEP_YAML,
    "lists within lists": "[" * DEEP_YAML + "]" * DEEP_YAML,
    "blocks without end": "\n".join(" " * depth + "- " for depth in range(2000)),
    "an alias within itself": "run: &x {name: *x}",
    "an alias within itself, in a list": "run: &x [*x]",
    "billion laughs": LAUGHS,
    "billion laughs of mappings": LAUGHING_MAPS,
    "a key twice": "run: {seed: 1}\nrun: {name: a}",
    "a key twice below": "run: {seed: 1, seed: 2}",
    "five thousand digits": f"run: {{seed: {'9' * 5000}}}",
    "a Python object": "run: !!python/object/apply:os.getcwd []",
    "an unknown tag": "run: !secret x",
    "a list as a key": "? [a]\n: 1",
    "a NUL": "run: {name: \0}",
    "a tab": "run:\n\tname: a",
    "an unknown alias": "run: *nowhere",
    "two documents": "run: {}\n---\nrun: {}",
    "not UTF-8": b"run: {name: \xff}",
    "a bracket that is not closed": "run: {name: [",
}
NO_MAPPING = ["[]", "false", "0", "''", "text", "[1, 2]", "1.5", "true", "- run: {}", "2026-02-30"]
JSON = {
    "nothing": "",
    "cut short": '{"format": 2',
    "nested deeply": "[" * DEEP,
    "objects nested deeply": '{"a": ' * DEEP,
    "a key twice": '{"format": 2, "format": 2}',
    "five thousand digits": f'{{"format": {"9" * 5000}}}',
    "not a number": '{"format": NaN}',
    "infinite": '{"format": -Infinity}',
    "not UTF-8": b'{"format": "\xff"}',
    "a list": "[]",
    "a number": "0",
    "null": "null",
    "text": '"format"',
    "an empty object": "{}",
    "NUL bytes": b"\0" * 64,
    "half a surrogate pair": '{"format": "\\ud800"}',
}
READERS: dict[str, Callable[[Path], object]] = {
    "config": load,
    "space": lambda path: load_space(path, load(None)),
    "suite": read_suite,
}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def assert_one_line(error: pytest.ExceptionInfo[M3CSRError], path: Path) -> None:
    message = str(error.value)
    assert message.startswith(str(path.parent)) and message.isprintable() and len(message) < 1000


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", YAML)
def test_yaml_that_nobody_means_gives_one_line(case: str, reader: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"{reader}.yaml", YAML[case])
    with pytest.raises(ConfigError) as error:
        READERS[reader](path)
    assert_one_line(error, path)


@pytest.mark.parametrize("content", NO_MAPPING)
def test_a_configuration_that_is_no_mapping_is_not_taken_for_an_empty_one(content: str, tmp_path: Path) -> None:
    path = write(tmp_path / "config.yaml", content)
    for reader in READERS.values():
        with pytest.raises(ConfigError, match="expected a mapping"):
            reader(path)


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "~", "{}", "\ufeff"])
def test_an_empty_configuration_is_all_defaults(content: str, tmp_path: Path) -> None:
    assert load(write(tmp_path / "config.yaml", content)) == load(None)


@pytest.mark.parametrize("case", [case for case, text in YAML.items() if isinstance(text, str)])
def test_an_override_that_nobody_means_gives_one_line(case: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [f"data.world={YAML[case]}"])
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


@pytest.mark.parametrize("case", JSON)
def test_a_manifest_of_prepared_data_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    from m3csr_tf.data.prepared import Prepared

    write(tmp_path / columns.MANIFEST, JSON[case])
    with pytest.raises(InputError) as error:
        Prepared.open(tmp_path)
    assert_one_line(error, tmp_path / columns.MANIFEST)


@pytest.mark.parametrize("case", JSON)
def test_a_manifest_of_a_release_that_is_none_is_refused(case: str, tmp_path: Path) -> None:
    from m3csr_tf.releases.release import open_release

    write(tmp_path / columns.MANIFEST, JSON[case])
    with pytest.raises(ReleaseError) as error:
        open_release(tmp_path)
    assert_one_line(error, tmp_path / columns.MANIFEST)


@pytest.mark.parametrize("case", [case for case in JSON if case not in ("a list",)])
def test_a_cold_file_that_is_no_list_of_ids_is_refused(case: str, tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    logs.overrides["split.cold_file"] = str(write(tmp_path / "cold.json", JSON[case]))
    result = logs.run()
    assert result.exit_code == 2 and "cold.json" in result.stderr, result.output + repr(result.exception)
    assert result.stderr.count("\n") == 1 and logs.written() == []
