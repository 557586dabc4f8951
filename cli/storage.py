"""Whether files can be kept in S3."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from cli.rooms import S3, serving
from forecastle.store.objects import Objects
from forecastle.store.probe import STEPS, Step, run_storage_test


@click.group()
def storage() -> None:
    """Test whether files can be kept in S3."""


@storage.command("test")
@click.option("--json", "as_json", is_flag=True)
def test_storage(as_json: bool) -> None:
    """Put, get, list and delete an object, and say what is wrong; exit code 1 where something is."""
    with serving((S3,)) as settings:
        objects = Objects.of(settings)
        endpoint = settings.s3_endpoint_url or "AWS"
        if not as_json:
            click.echo(f"{objects.address} at {endpoint}")
        steps = []
        for step in run_storage_test(objects):
            steps.append(step)
            if not as_json:
                click.echo(_line(step))
    is_well = len(steps) == len(STEPS) and not any(step.problem for step in steps)
    if as_json:
        document = {"bucket": objects.address, "endpoint": endpoint, "ok": is_well, "steps": list(map(asdict, steps))}
        click.echo(json.dumps(document))
    if not is_well:
        sys.exit(1)


def _line(step: Step) -> str:
    if step.problem:
        return f"  {step.name:<8} FAILED  {step.problem}"
    return f"  {step.name:<8} ok      {step.milliseconds:.0f} ms"
