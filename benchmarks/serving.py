"""The façade beside an empty Flask answer, `mlflow models serve` and MLServer: same model, same requests, in turns.

    python -m benchmarks.serving [--quick] [--only peers] [--json] [--write]

Starts everything it needs in a temporary folder. The peers are installed below FORECASTLE_HOME at the first run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from benchmarks.contenders.flask_servers import FlaskServers
from benchmarks.contenders.house import furnished
from benchmarks.contenders.parts import PARTS, Row, Serving
from benchmarks.contenders.peers import NotInstalledError, Peers, install
from benchmarks.load.measure import Bench, Plan, say
from benchmarks.numeric.training import fit
from cli.tables import table
from forecastle.settings import Settings
from projects import ROOT

QUICK = Plan(seconds=1.0, rounds=1)
REPORT = ROOT / "docs" / "serving.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@click.command()
@click.option("--quick", is_flag=True, help="One short round of a few contenders: does it work?")
@click.option("--seconds", default=4.0, help="How long a load lasts.")
@click.option("--rounds", default=5, help="How often each contender's turn comes.")
@click.option("--workers", default=[1, 2], multiple=True, help="With how many worker processes beside others.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure these parts only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--write", is_flag=True, help="Write the tables into docs/serving.md.")
def main(
    quick: bool, seconds: float, rounds: int, workers: Sequence[int], only: Sequence[str], as_json: bool, write: bool
) -> None:
    """Measure the façade and its peers, and print tables."""
    if write and (quick or only):
        raise click.UsageError("the page holds one whole run: --write goes with neither --quick nor --only")
    wanted = [name for name in PARTS if not only or name in only]
    plan = QUICK if quick else Plan(seconds, rounds)
    with serving(plan, workers[:1] if quick else workers, quick) as ready:
        found: dict[str, list[Row]] = {}
        for name in wanted:
            click.echo(PARTS[name].title, err=True)
            found[name] = PARTS[name].measure(ready)
            if not as_json:
                click.echo(f"{as_text({name: found[name]})}\n")
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
    if write:
        REPORT.write_text(with_figures(REPORT.read_text(), f"{measured_at()}\n\n{as_text(found)}"))


@contextmanager
def serving(plan: Plan, workers: Sequence[int], quick: bool) -> Iterator[Serving]:
    """Everything that the parts need; its servers run within the block."""
    numeric, cache = fit(), Settings.from_env().home.resolve() / "benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, furnished(Path(folder, "home"), numeric) as house:
        flask, peers = FlaskServers(house, cache), None
        try:
            click.echo("installing what is measured beside the façade", err=True)
            flask.install()
            peers = Peers.of(install(cache), Path(folder), numeric)
        except NotInstalledError as error:
            say(f"left out, as they cannot be installed: {error}")
        yield Serving(Bench(plan, Path(folder), house.postgresql), house, flask, numeric, peers, workers, quick)


def as_text(found: Mapping[str, Sequence[Row]]) -> str:
    """The tables, as they stand on the page."""
    return "\n\n".join(
        "\n".join([f"## {PARTS[name].title}", "", PARTS[name].about, "", *_table(rows)]) for name, rows in found.items()
    )


def _table(rows: Sequence[Row]) -> list[str]:
    return table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def with_figures(page: str, text: str) -> str:
    """The page with what stands between its two marks replaced. Raises ValueError where it has no marks."""
    before, rest = page.split(BEGIN, 1)
    _, after = rest.split(END, 1)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def measured_at() -> str:
    commit = _git("rev-parse", "--short", "HEAD") + (" with changes" if _git("status", "--porcelain", "-uno") else "")
    command = " ".join(["python -m benchmarks.serving", *sys.argv[1:]])
    return f"Measured on {datetime.now(UTC):%Y-%m-%d} at commit {commit} by `{command}`."


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
