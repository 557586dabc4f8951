"""Requests about projects that the tests of the façade have issues of."""

from __future__ import annotations

from typing import Any


def question() -> dict[str, Any]:
    return {"project_id": "DEMO1", "title": "Migrate the cluster in admin", "description": "again", "issue_type": "Bug"}


def effort_question() -> dict[str, Any]:
    return {"project_id": "DONE1", "title": "Migrate the cluster in admin", "component": "admin", "issue_type": "Bug"}
