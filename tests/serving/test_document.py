"""The OpenAPI document: whole, and the same as what is served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import projects

JOBS = ("/api/v1/jobs", "/api/v1/jobs/{run_id}", "/api/v1/jobs/{name}/run")
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
DECISIONS = "/api/v1/retraining/{name}/decisions"
PASSPORT = "/api/v1/ml/predictions/{prediction_id}/passport"
REPLAY = "/api/v1/ml/predictions/{prediction_id}/replay"
CACHE = "/api/v1/models/cache"
GROUND_TRUTH = "/api/v1/ml/predictions/{prediction_id}/ground-truth"
GROUND_TRUTHS = "/api/v1/ml/ground-truth"
PERFORMANCE = "/api/v1/ml/models/{name}/performance"


@pytest.fixture
def document(empty_house: Any) -> dict[str, Any]:
    found: dict[str, Any] = empty_house.app.test_client().get("/openapi.json").get_json()
    return found


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from nodes(item)
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema["$ref"].removeprefix("#/components/schemas/")
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def test_the_document_has_the_shape_of_openapi_3_1(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d+", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    for path, method, operation in operations(document):
        assert path.startswith("/")
        assert method in METHODS
        assert operation["summary"]
        assert operation["responses"]
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status)
            assert response["description"]
        in_path = {
            item["name"] for item in operation.get("parameters", ()) if item["in"] == "path" and item["required"]
        }
        assert in_path == set(re.findall(r"{(\w+)}", path))
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
    assert references
    for reference in references:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_every_schema_is_json_schema(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", projects.discover())
def test_every_model_type_stands_there_with_its_request_its_answer_and_its_problems(
    document: dict[str, Any], name: str
) -> None:
    model_type = projects.get_model_type(name)
    operation = document["paths"][model_type.route]["post"]
    assert operation["summary"] == model_type.summary
    assert operation["security"] == [{"api_key": []}]
    request = resolved(document, operation["requestBody"]["content"]["application/json"]["schema"])
    expected = model_type.request_type().model_json_schema()
    assert set(request["properties"]) == set(expected["properties"])
    assert sorted(request["required"]) == sorted(expected["required"])
    answer = resolved(document, operation["responses"]["200"]["content"]["application/json"]["schema"])
    assert set(answer["properties"]) == set(model_type.answer_type().model_fields)


@pytest.mark.parametrize("name", projects.discover())
def test_every_model_type_takes_an_array_and_lines_of_its_requests(document: dict[str, Any], name: str) -> None:
    model_type = projects.get_model_type(name)
    operation = document["paths"][f"{model_type.route}batch/"]["post"]
    single = document["paths"][model_type.route]["post"]
    one = single["requestBody"]["content"]["application/json"]["schema"]
    asked = operation["requestBody"]["content"]
    assert asked["application/json"]["schema"] == {"type": "array", "items": one, "maxItems": 1_000}
    assert asked["application/x-ndjson"]["schema"] == one
    answered = operation["responses"]["200"]["content"]
    answer = single["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer in answered["application/json"]["schema"]["properties"]["answers"]["items"]["anyOf"]
    assert answer in answered["application/x-ndjson"]["schema"]["anyOf"]


def test_every_operation_below_api_shows_its_problems_and_asks_for_a_key(document: dict[str, Any]) -> None:
    below = [(path, operation) for path, _, operation in operations(document) if path.startswith("/api/")]
    routes = [model_type.route for model_type in projects.discover().values()]
    others = {PASSPORT, REPLAY, CACHE, GROUND_TRUTH, GROUND_TRUTHS, PERFORMANCE, DECISIONS, *JOBS}
    assert {path for path, _ in below} >= {*others, *routes, *(f"{route}batch/" for route in routes)}
    for _, operation in below:
        expected = {"400", "401", "403", "404", "503"} | ({"413"} if "requestBody" in operation else set())
        assert set(operation["responses"]) >= expected
        assert {"200", "201", "202"} & set(operation["responses"])
        for status in expected:
            schema = operation["responses"][status]["content"]["application/problem+json"]["schema"]
            assert {"title", "status", "code", "detail"} <= set(resolved(document, schema)["properties"])
    scheme = document["components"]["securitySchemes"]["api_key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


@pytest.mark.parametrize("name", projects.discover())
def test_no_model_type_shows_the_parts_of_another_under_their_names(document: dict[str, Any], name: str) -> None:
    model_type = projects.get_model_type(name)
    for model in (model_type.request_type(), model_type.answer_type()):
        for part, schema in model.model_json_schema().get("$defs", {}).items():
            assert document["components"]["schemas"][part]["properties"].keys() == schema["properties"].keys()


def test_problems_are_nowhere_documented_as_anything_but_problems(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert list(response.get("content", ())) == ["application/problem+json"], (path, status)


def test_what_is_served_keeps_to_the_document(house: Any) -> None:
    document = house.app.test_client().get("/openapi.json").get_json()
    root = {"components": document["components"]}
    for name, found in (
        ("StoryPointsAnswer", house.ask().get_json()),
        ("Passport", house.passport(house.ask().get_json()["prediction_id"]).get_json()),
        ("Replayed", house.replay(house.ask().get_json()["prediction_id"]).get_json()),
        ("Problem", house.ask(title="").get_json()),
    ):
        Draft202012Validator({**root, "$ref": f"#/components/schemas/{name}"}).validate(found)


def test_the_documentation_answers_without_the_internet(empty_house: Any) -> None:
    client = empty_house.app.test_client()
    page = client.get("/docs/", follow_redirects=True)
    assert page.status_code == 200
    swagger = client.get("/docs/swagger")
    text = swagger.get_data(as_text=True)
    assert swagger.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert [source for source in sources if source.startswith(("http:", "https:", "//"))] == []
    assets = [source for source in sources if source.endswith((".js", ".css"))]
    assert assets
    for asset in assets:
        assert client.get(asset if asset.startswith("/") else f"/docs/{asset}").status_code == 200


def test_liveness_answers_while_nothing_serves(empty_house: Any) -> None:
    assert empty_house.app.test_client().get("/health/live").get_json() == {"status": "alive"}
