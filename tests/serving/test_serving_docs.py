"""docs/serving.md: its requests are answered, its table is that of the towers."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prediction_server import PredictionServer

from m3csr_tf import columns
from m3csr_tf.data.catalogue import Catalogue
from m3csr_tf.export import tf_serving

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture
def server(release: Any, tmp_path: Path) -> Iterator[PredictionServer]:
    """Serves a copy of the release."""
    running = PredictionServer(Path(shutil.copytree(release.folder, tmp_path / "NAME")))
    yield running
    running.stop()


def rest(server: PredictionServer, number: int) -> tuple[str, np.ndarray]:
    """The signature's output to a curl of the page, its JSON turned into tensors by TF Serving's rules."""
    import tensorflow as tf

    path, body = re.findall(r"curl http://localhost:8501/v1/models/(\S+):predict -d '(.*?)'", PAGE, re.DOTALL)[number]
    tower, _, version = path.split("/")
    request = json.loads(body)
    signature = server.models[tower, int(version)].signatures[request["signature_name"]]
    specs = signature.structured_input_signature[1]
    instances = request["instances"]
    assert all(set(instance) == set(specs) for instance in instances)
    inputs = {name: tf.constant([instance[name] for instance in instances], spec.dtype) for name, spec in specs.items()}
    assert all(spec.shape.is_compatible_with(inputs[name].shape) for name, spec in specs.items())
    [vectors] = signature(**inputs).values()
    return tower, vectors.numpy()


def test_the_rest_example_of_an_item_gets_the_vector_of_an_item_without_the_absent_modality(
    server: PredictionServer, release: Any
) -> None:
    tower, vectors = rest(server, 0)
    assert tower == columns.ITEM_TOWER
    frame = pd.DataFrame({columns.ITEM_ID: ["a minute old"], columns.VIEW_COUNT: [-1]})
    acoustic = np.array([[0.12, -1.4, 0.33, 0.9, 0.05]], np.float32)
    content = {"visual": np.full([1, 12], np.nan, np.float32), "acoustic": acoustic}
    np.testing.assert_allclose(vectors, release.item_vectors(Catalogue(frame, content)), atol=1e-5)
    assert (vectors[0, release.layout["visual"]] == 0).all()


def test_the_rest_example_of_users_gets_their_vectors(server: PredictionServer, release: Any) -> None:
    tower, vectors = rest(server, 1)
    assert tower == columns.USER_TOWER
    frame = pd.DataFrame({columns.USER_ID: ["u1", "u2"], columns.HISTORY: [["v1", "v2"], []]})
    np.testing.assert_allclose(vectors, release.user_vectors(frame), atol=1e-5)


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_examples_run(server: PredictionServer, release: Any, number: int) -> None:
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[number]
    done: dict[str, Any] = {}
    code = code.replace("localhost:8500", server.address).replace("saved_models/NAME", str(server.folder))
    exec(code, done)
    frame = pd.DataFrame({columns.USER_ID: ["u1", "u2"], columns.HISTORY: [["v1", "v2"], []]})
    np.testing.assert_allclose(done["vectors"], release.user_vectors(frame), atol=1e-5)


def test_the_table_has_every_signature_with_its_inputs_and_outputs(server: PredictionServer, release: Any) -> None:
    each = ", ".join(f"`attention_{name}`" for name in release.modalities)
    page = PAGE.replace("`attention_<modality>`", each)
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith(("| `item_t", "| `user_t"))]
    said = {
        tuple(cell.strip(" `") for cell in (model, signature)): set(re.findall(r"`(\w+)`", rest[-1]))
        for model, signature, *rest in rows
        if len(rest) == 2
    }
    served = {
        (tower, name): set(signature.structured_outputs)
        for (tower, _), model in server.models.items()
        for name, signature in model.signatures.items()
    }
    assert said == served


def test_the_command_of_the_page_has_the_flags_of_the_compose_file() -> None:
    for flag in re.findall(r"- (--\S+)", tf_serving.compose()):
        assert flag in PAGE
    assert tf_serving.IMAGE in PAGE and tf_serving.PLACE in PAGE
    assert f"at most {tf_serving.MAX_BATCH} rows" in PAGE
