"""What the pages say is so."""

from __future__ import annotations

import re
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

import projects
from cli.main import forecastle
from forecastle.sources.mapping import Mapping
from forecastle.sources.mapping_files import mapping_from_json
from forecastle.sources.presets import PRESETS

PAGES = sorted(
    [*projects.ROOT.glob("*.md"), *projects.ROOT.glob("docs/**/*.md"), *projects.ROOT.glob("projects/**/*.md")]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")
COMMAND = re.compile(r"^\s+(?:\S*=\$\()?forecastle (.+)$", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(projects.ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_the_readme_names_every_model_type_with_its_route() -> None:
    lines = (projects.ROOT / "README.md").read_text().splitlines()
    for name, model_type in projects.discover().items():
        row = [line for line in lines if line.startswith("|") and f"`{name}`" in line]
        assert len(row) == 1, f"the README's table has {len(row)} rows of {name}"
        assert f"`POST {model_type.route}`" in row[0]


def test_every_command_of_the_readme_exists() -> None:
    found = COMMAND.findall((projects.ROOT / "README.md").read_text())
    assert len(found) > 5
    for words in found:
        group = forecastle.get_command(None, words.split()[0])  # type: ignore[arg-type]
        assert group is not None, words
        if hasattr(group, "commands"):
            assert words.split()[1] in group.commands, words


def test_the_mapping_that_is_shown_to_contributors_is_one(tmp_path: Path) -> None:
    page = (projects.ROOT / "CONTRIBUTING.md").read_text()
    (shown,) = re.findall(r"^    \{\n(?:    .*\n)+?    \}\n", page, re.MULTILINE)
    (tmp_path / "mapping.json").write_text(shown)
    assert mapping_from_json(tmp_path / "mapping.json").dates is not None


def test_the_readme_and_the_contributors_page_know_every_preset_and_entry_of_a_mapping() -> None:
    readme, page = ((projects.ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))
    assert [name for name in PRESETS if f"| `{name}` |" not in readme] == []
    assert [field.name for field in fields(Mapping) if f"`{field.name}`" not in page] == []


def test_every_decision_has_a_number_of_its_own() -> None:
    numbers = [page.name[:4] for page in (projects.ROOT / "docs" / "adr").glob("*.md")]
    assert sorted(numbers) == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


def test_lock_files_name_no_host() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "conda.yaml"):
        text = (projects.ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text


def test_no_tracked_file_names_a_path_of_a_machine() -> None:
    if not (projects.ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=projects.ROOT, capture_output=True, text=True, check=True)
    paths = [projects.ROOT / name for name in tracked.stdout.split("\0") if name]
    machine = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
    guilty = [str(path) for path in paths if path.is_file() and machine.search(path.read_text(errors="replace"))]
    assert not guilty
