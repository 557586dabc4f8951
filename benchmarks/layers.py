"""What frameworks and validators cost a small request, without any server: CPU of the WSGI call, in turns.

Run by hand: python -m benchmarks.layers (msgspec is measured where it is installed; nothing of ours needs it)
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Annotated, Any

from flask import Flask, Response, jsonify, request
from flask_openapi3 import Info, OpenAPI
from pydantic_core import to_json
from werkzeug.test import EnvironBuilder

from projects.delivery.effort.answer import EffortRequest

ROUNDS, CALLS, PATH = 15, 2_000, "/api/v1/ml/predict-effort/"
BODY = {
    "project_id": "DEMO1",
    "title": "Migrate the cluster in admin",
    "description": "The cluster of the admin page has to be migrated before the release. " * 4,
    "issue_type": "Bug",
    "component": "admin",
    "estimate_hours": 6.0,
}
ANSWER = {"predicted_hours": 5.25, "confidence": 0.61, "prediction_range": {"min": 2.1, "max": 11.4, "target": 0.8}}

View = Callable[[], Any]


def main() -> None:
    cases: dict[str, Callable[[], Flask]] = {
        "empty answer, plain Flask": lambda: _plain(lambda: jsonify({})),
        "plain Flask, get_json, jsonify": lambda: _plain(_unvalidated),
        "plain Flask, model_validate(get_json)": lambda: _plain(_from_objects),
        "plain Flask, model_validate_json": lambda: _plain(_from_bytes),
        "flask-openapi3, validated by it": _validated_by_framework,
        "flask-openapi3, model_validate_json": _validated_by_us,
    }
    if find_spec("msgspec"):
        cases["plain Flask, msgspec"] = lambda: _plain(_with_msgspec())
    calls = {name: _call_of(make()) for name, make in cases.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.process_time()
            for _ in range(CALLS):
                call()
            found[name].append((time.process_time() - started) / CALLS * 1e6)
    for name, microseconds in found.items():
        print(f"{name:40}{statistics.median(microseconds):7.1f} µs of CPU a request")


def _plain(view: View) -> Flask:
    app = Flask(__name__)
    app.add_url_rule(PATH, "view", view, methods=["POST"])
    return app


def _unvalidated() -> Any:
    request.get_json()
    return jsonify(ANSWER)


def _from_objects() -> Any:
    EffortRequest.model_validate(request.get_json())
    return jsonify(ANSWER)


def _from_bytes() -> Any:
    EffortRequest.model_validate_json(request.get_data())
    return Response(to_json(ANSWER), content_type="application/json")


def _validated_by_framework() -> Flask:
    app = OpenAPI(__name__, info=Info(title="layers", version="1"))

    @app.post(PATH)
    def view(body: EffortRequest) -> Any:
        return jsonify(ANSWER)

    return app


def _validated_by_us() -> Flask:
    """As the façade does."""
    app = OpenAPI(__name__, info=Info(title="layers", version="1"))

    def view(body: EffortRequest | None = None) -> Any:
        return _from_bytes()

    view.__annotations__["body"] = EffortRequest
    view.__delay_validate_request__ = True  # type: ignore[attr-defined]
    app.post(PATH)(view)
    return app


def _with_msgspec() -> View:
    import msgspec  # type: ignore[import-not-found,unused-ignore]

    text = msgspec.Meta  # the same lengths and bounds as the Pydantic model has
    fields: list[Any] = [
        ("project_id", Annotated[str, text(min_length=1, max_length=255)]),
        ("title", Annotated[str, text(min_length=1, max_length=1_000)]),
        ("description", str, ""),
        *((name, str | None, None) for name in ("issue_type", "component", "priority", "reporter", "assignee")),
        ("estimate_hours", float | None, None),
    ]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Effort", fields, forbid_unknown_fields=True))

    def view() -> Any:
        decoder.decode(request.get_data())
        return Response(msgspec.json.encode(ANSWER), content_type="application/json")

    return view


def _call_of(app: Flask) -> Callable[[], None]:
    content = json.dumps(BODY).encode()
    environ = EnvironBuilder(path=PATH, method="POST", data=content, content_type="application/json").get_environ()

    def call() -> None:
        statuses: list[str] = []
        own = {**environ, "wsgi.input": io.BytesIO(content)}
        b"".join(app(own, lambda status, headers, error=None: statuses.append(status)))  # type: ignore[arg-type,return-value]
        assert statuses == ["200 OK"], statuses

    return call


if __name__ == "__main__":
    main()
