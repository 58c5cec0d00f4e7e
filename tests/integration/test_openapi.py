"""The OpenAPI document: valid, described to the last field, and its examples run."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import Engine, insert

from contract.model_tables import replays
from service import examples
from service.app import create_app
from service.dialects import recognise
from service.dialects.dialect import SIDES
from service.dialects.documents import MAX_DOCUMENTS
from service.errors import Invalid
from tests import models, serving
from tests.serving import Service

METHODS = ("get", "post", "delete")


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    settings = serving.settings(tmp_path_factory.mktemp("openapi"), service_require_keys=True)
    return json.loads(json.dumps(create_app(settings).openapi()))


@pytest.fixture
async def service(
    tmp_path: Path, engine: Engine, database_url: str, redis_url: str
) -> AsyncIterator[Service]:
    settings = serving.settings(tmp_path, database_url=database_url, redis_url=redis_url)
    async with serving.running(settings, engine) as service:
        for seed in (0, 1):
            models.make(tmp_path / f"model{seed}", seed=seed, max_length=512)
            live = service.publish(tmp_path / f"model{seed}")
        await service.serves(live)
        yield service


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def validator(document: Any, schema: Any) -> Draft202012Validator:
    return Draft202012Validator(schema | {"components": document["components"]})


def test_every_schema_is_one(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema.get("title", name)


def test_every_reference_leads_somewhere(document: Any) -> None:
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))

    assert references == document["components"]["schemas"].keys()


def test_every_operation_and_parameter_and_response_is_described(document: Any) -> None:
    silent = [
        f"{method} {path} {place}"
        for method, path, operation in operations(document)
        for place, each in (
            ("", operation),
            *((each["name"], each) for each in operation.get("parameters", [])),
            *operation["responses"].items(),
        )
        if not each.get("description")
    ]

    assert silent == []


def test_every_field_of_every_schema_is_described(document: Any) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, each in ({"": schema} | schema.get("properties", {})).items()
        if not each.get("description") and "$ref" not in each
    ]

    assert silent == []


def test_each_refusal_has_its_status_and_its_shape(document: Any) -> None:
    for method, path, operation in operations(document):
        statuses = set(operation["responses"])
        assert not statuses & {"4XX", "default"}, path
        if "security" in operation:
            assert statuses >= {"401", "403"}, path
        if "requestBody" in operation:
            assert statuses >= {"400", "413", "422"}, path
        for status, response in operation["responses"].items():
            if status.startswith("4"):
                assert "application/problem+json" in response["content"], (method, path, status)


def test_a_service_without_keys_asks_for_none(tmp_path: Path, document: Any) -> None:
    private = create_app(serving.settings(tmp_path, service_require_keys=False)).openapi()

    rerank = "/v1/rerank"
    assert document["paths"][rerank]["post"]["security"] == [{"key": []}]
    assert private["paths"][rerank]["post"]["security"] == [{"key": []}, {}]


def test_it_tells_the_limits_of_this_service(tmp_path: Path) -> None:
    told = create_app(serving.settings(tmp_path, service_max_documents=7)).openapi()

    assert (
        told["components"]["schemas"]["RerankRequest"]["properties"]["documents"]["maxItems"] == 7
    )
    assert f'"maxItems": {MAX_DOCUMENTS}' not in json.dumps(told)


KEYS = {
    "query": "a",
    "documents": ["a"],
    "texts": ["a"],
    "passages": ["a"],
    "input": ["a"],
    "top_k": 1,
    "truncation": True,
} | {key: "a" for sides in SIDES for key in sides if key != "documents"}
SCHEMAS = {name: dialect.__name__ for name, dialect in recognise.DIALECTS.items()}


def test_the_schemas_tell_the_dialects_apart_as_the_service_does(document: Any) -> None:
    validators = {
        name: validator(document, {"$ref": f"#/components/schemas/{schema}"})
        for name, schema in SCHEMAS.items()
    }

    for keys in (some for n in range(1, 5) for some in combinations(KEYS, n)):
        body = {key: KEYS[key] for key in keys}
        allowed = {name for name, each in validators.items() if each.is_valid(body)}
        read = {recognise.name_of(body)} if is_read(body) else set[str]()
        assert allowed == read, body


def is_read(body: Any) -> bool:
    try:
        recognise.dialect_of(body).model_validate(body).to_asked(tenant="t", request_key=None)
    except (ValueError, Invalid):
        return False
    return True


def bodies(operation: Any) -> Any:
    content = operation.get("requestBody", {"content": {"application/json": {}}})["content"]
    return [each["value"] for each in content["application/json"].get("examples", {}).values()]


def test_every_body_has_examples_that_its_schema_allows(document: Any) -> None:
    for method, path, operation in operations(document):
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert bodies(operation), (method, path)
            for body in bodies(operation):
                jsonschema.validate(body, schema | {"components": document["components"]})


FIRST = (
    "/v1/rerank",
    "/v1/decisions/match",
    "/v1/decisions/{decision_id}/answer",
    "/v1/judge/lease",
    "/v1/feedback",
)
"""What makes the ids that others need."""


async def test_every_example_runs(service: Service, engine: Engine) -> None:
    document = (await service.client.get("/openapi.json")).json()
    real: dict[str, str] = {}

    ran = 0
    for method, path, operation in sorted(operations(document), key=lambda each: place(each[1])):
        for body in bodies(operation) or [None]:
            if path.startswith(REPLAY):
                real[examples.REPLAY_LEASE] = await replay_lease(service, engine, real)
            url, query, sent = filled(path, operation, body, real)
            response = await service.client.request(method, url, params=query, json=sent)
            assert response.is_success, (method, url, sent, response.text)
            learn(real, path, response)
            await service.logged()
            ran += 1

    assert ran > 100
    assert real.keys() == {
        *(examples.DECISION, examples.FEEDBACK, examples.LEASE, examples.VERSION),
        examples.REPLAY_LEASE,
    }


REPLAY = "/v1/judge/replays/{lease_id}"
"""Whatever is said there ends the lease."""


async def replay_lease(service: Service, engine: Engine, real: dict[str, str]) -> str:
    """Of a replay that nobody has asked for before; the trainer asks, in the database."""
    with engine.begin() as connection:
        connection.execute(replays.delete())
        asked = {
            "replay_id": uuid4(),
            "decision_id": real[examples.DECISION],
            "purpose": "leave_one_out",
            "used": [1],
        }
        connection.execute(insert(replays).values(asked))
    leased = await service.client.post("/v1/judge/replays/lease", json={})
    lease_id: str = leased.json()["tasks"][0]["lease_id"]
    return lease_id


def place(path: str) -> int:
    return FIRST.index(path) if path in FIRST else len(FIRST)


def filled(path: str, operation: Any, body: Any, real: dict[str, str]) -> Any:
    """Address, query and body as the document shows them, with ids that this service gave out."""
    given = {
        each["name"]: (each["in"], next(iter(each["examples"].values()))["value"])
        for each in operation.get("parameters", [])
        if "examples" in each
    }
    address = path.format(**{name: value for name, (_, value) in given.items()})
    query = {name: value for name, (where, value) in given.items() if where == "query"}
    text = json.dumps([address, query, body])
    for stands_for, given_out in real.items():
        text = text.replace(stands_for, given_out)
    return json.loads(text)


def learn(real: dict[str, str], path: str, response: httpx.Response) -> None:
    if path == "/v1/rerank":
        real.setdefault(examples.DECISION, response.headers["X-Rankloop-Decision"])
    if path == "/v1/judge/lease":
        # The first example takes what waits, and another one finds nothing.
        for task in response.json()["tasks"]:
            real.setdefault(examples.LEASE, task["lease_id"])
    if path == "/v1/promotions" and examples.VERSION not in real:
        real[examples.VERSION] = response.json()["data"][-1]["version"]
    if path == "/v1/feedback":
        real.setdefault(examples.FEEDBACK, response.json()["feedback_id"])
