"""docs/service.md: its commands are understood, and its requests get the answers that it shows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from m3csr_tf.cli import app
from m3csr_tf.config import ServiceConfig
from m3csr_tf.export import tf_serving
from m3csr_tf.service import schemas
from m3csr_tf.service.selections import MOST_SELECTIONS
from m3csr_tf.service.supervisor import Supervisor

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python pipelines/(serve\.py .*?)(?:\s*#.*)?$", PAGE, re.MULTILINE)
POSTS = re.findall(r"^curl \S+(/v1/\w+) .*? -d '(.*?)'\n", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_listens_where_it_says(
    command: str, release: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"name": release.folder.name, "release_folder": str(release.folder.parent)}
    (tmp_path / "CONFIG").write_text(yaml.safe_dump({"run": run}))
    monkeypatch.chdir(tmp_path)
    served: list[str] = []

    def run_once(supervisor: Supervisor) -> None:
        served.append(supervisor.url)
        supervisor._socket.close()

    monkeypatch.setattr(Supervisor, "run", run_once)
    words = shlex.split(command)[1:]
    # Somebody else may have the usual port, and tests must not need it.
    done = CliRunner().invoke(app, ["serve", *words, *([] if "service.port=0" in words else ["service.port=0"])])
    assert done.exit_code == 0, done.output
    assert served[0].startswith("http://127.0.0.1:")


def test_there_are_commands_and_the_defaults_are_those_that_they_say() -> None:
    assert len(COMMANDS) == 4 and len(POSTS) == 3
    assert f"http://{ServiceConfig().host}:{ServiceConfig().port}" in PAGE
    named = set(re.findall(r"`service\.(\w+)", PAGE))
    assert named <= set(ServiceConfig.model_fields)
    assert f"`service.age_lag_s`, {ServiceConfig().age_lag_s:g}\nseconds by default" in PAGE
    assert f"the last {MOST_SELECTIONS} combinations" in PAGE


def test_requests_of_the_page_get_answers_of_the_form_that_it_shows(authored: Any, serve: Any, run: Any) -> None:
    shown = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    query = re.search(r'^curl "http://[^/]+(/v1/explain\S+)"', PAGE, re.MULTILINE)
    assert query is not None
    item = str(authored.index.ids[0])
    # The world's videos were published in one month, of which this is the middle.
    then = 1_700_000_000.0 + 15 * 86_400

    async def ask() -> dict[str, Any]:
        async with serve(authored, retrieve={"now": then}) as client:
            answers = {}
            for route, body in POSTS:
                name = f"{route} by rules" if "cap" in json.loads(body) else route
                answers[name] = await client.post(route, json=json.loads(body))
            answers["/v1/explain"] = await client.get(query[1].replace("item_id=v0042", f"item_id={item}"))
            return answers

    answers = run(ask())
    assert [answer.status_code for answer in answers.values()] == [200] * 4, [one.text for one in answers.values()]
    lists = answers["/v1/recommend"].json()
    assert list(lists) == list(shown)
    for user, example in zip(lists["users"], shown["users"], strict=True):
        assert list(user) == list(example) and list(user["items"][0]) == list(example["items"][0])
        assert user["user_id"] == example["user_id"]
    schemas.RecommendAnswer.model_validate(lists)
    assert len(answers["/v1/recommend by rules"].json()["users"][0]["items"]) == 5
    schemas.SimilarAnswer.model_validate(answers["/v1/similar"].json())


def test_the_table_of_errors_has_the_statuses_of_the_openapi(serve: Any, run: Any) -> None:
    async def ask() -> Any:
        async with serve(None) as client:
            return (await client.get("/openapi.json")).json()

    routes = run(ask())["paths"]
    of_openapi = {int(status) for of in routes.values() for how in of.values() for status in how["responses"]} - {200}
    table = PAGE.split("| status | when |\n")[1].split("\n\n")[0]
    said = {int(one) for line in table.splitlines()[1:] for one in re.findall(r"\d{3}", line.split("|")[1])}
    assert said == of_openapi


def test_the_compose_file_has_the_service_and_the_follower_of_the_page() -> None:
    services = yaml.safe_load(tf_serving.compose())["services"]
    assert list(services) == ["towers", "service", "follower"]
    for name in ("service", "follower"):
        assert services[name]["profiles"] == ["service"]
        _, verb, *words = services[name]["command"]
        assert (verb, "run.release_name=release" in words) == ({"service": "serve", "follower": "refresh"}[name], True)
    assert services["service"]["ports"] == [f"127.0.0.1:{ServiceConfig().port}:{ServiceConfig().port}"]
    assert services["service"]["volumes"][0].endswith(":ro")
    assert "M3CSR_INBOX" in PAGE and services["follower"]["volumes"][1] == "${M3CSR_INBOX:-../inbox}:/inbox"
