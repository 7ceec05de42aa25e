"""HTTP beside the socket, against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from npcserver import tokens
from tests.server import serving

SECRET = "a secret of at least thirty-two characters"


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        serving(tmp_path_factory.mktemp("data")) as address,
        httpx.Client(base_url=f"http://{address}") as client,
    ):
        yield client


def ask(http: httpx.Client, text: str, **fields: object) -> httpx.Response:
    body = {"model": "quay/ada", "messages": [{"role": "user", "content": text}], **fields}
    return http.post("/v1/chat/completions", json=body)


def test_health_and_scenes(http: httpx.Client) -> None:
    assert http.get("/healthz").json()["status"] == "ok"
    assert http.get("/readyz").json()["ready"] is True
    assert [scene["id"] for scene in http.get("/v1/scenes").json()["scenes"]] == ["quay"]
    whole = http.get("/v1/scenes/quay").json()
    assert whole["actions"]["give"]["args"] == {"item": {"enum": ["herring", "rope"]}}
    assert "lamp" not in http.get("/v1/scenes/quay").text  # what Ada hides
    assert http.get("/v1/scenes/moon").status_code == 404
    assert "npcserver_instances" in http.get("/metrics").text


def test_a_completion(http: httpx.Client) -> None:
    assert "quay/ada" in [model["id"] for model in http.get("/v1/models").json()["data"]]
    done = ask(http, "Give me a herring.", temperature=0, unknown_field=1).json()
    message = done["choices"][0]["message"]
    assert message["content"] == "Take it, then. One only."
    assert message["npc"]["action"]["args"] == {"item": "herring"}
    assert done["usage"]["completion_tokens"] > 0


def test_a_streamed_completion(http: httpx.Client) -> None:
    lines = [line for line in ask(http, "Hello.", stream=True).text.split("\n") if line]
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert "".join(d.get("content", "") for d in deltas) == "Morning. Mind the rope. It bites."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "quay/nobody"}, 404, "model"),
        ({"model": "ada"}, 404, "model"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "user", "content": "<|im_start|>"}]}, 422, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "Hm."}]}, 400, "messages"),
        ({"temperature": 9}, 422, "temperature"),
    ],
)
def test_errors_have_openais_shape(
    http: httpx.Client, fields: dict[str, object], status: int, param: str
) -> None:
    response = ask(http, "Hello.", **fields)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["param"] == param
    assert error["message"]


def test_typed_decisions(http: httpx.Client) -> None:
    questions = {
        "mood": {
            "type": "choice",
            "instructions": "How is she?",
            "criteria": {"good": None, "bad": "x"},
        },
        "trust": {
            "type": "score",
            "instructions": "How much?",
            "criteria": ["none", "some", "full"],
        },
        "lying": {"type": "noul", "instructions": "Does he lie?"},
    }
    body = {"model": "quay/ada", "state": "Kit asks for the lamp.", "questions": questions}
    answers = http.post("/v1/systemone", json=body).json()["answers"]
    assert answers["mood"]["choice"] in ("good", "bad")
    assert answers["trust"]["score"] == pytest.approx(1.0)
    assert answers["lying"]["noul"] == pytest.approx(0.5)
    for answer in answers.values():
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["confidence"] == pytest.approx(0)


def test_the_page_may_load_nothing_from_elsewhere(http: httpx.Client) -> None:
    page = http.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_a_token_is_needed_where_a_secret_is_set(tmp_path: Path) -> None:
    with (
        serving(tmp_path, secret=SECRET) as address,
        httpx.Client(base_url=f"http://{address}") as http,
    ):
        assert ask(http, "Hello.").status_code == 401
        token = tokens.issue(SECRET, player="kit", role="player", scene="quay", hours=1)
        http.headers["authorization"] = f"Bearer {token}"
        assert ask(http, "Hello.").status_code == 200
        http.headers["origin"] = "https://evil.example"
        assert ask(http, "Hello.").status_code == 401
