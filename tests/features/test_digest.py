"""The digest of feature code follows what the code does, not how it is written down."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from forecastle.features.digest import feature_digest

PLAIN = """
LIMIT = 3

class Level:
    value: float = 1.0

def level(value):
    return value + LIMIT
"""

Digest = Callable[[str], str]


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Digest:
    """The digest with a module of this source, each time under a new name."""
    monkeypatch.syspath_prepend(tmp_path)
    numbers = count()

    def of(source: str) -> str:
        name = f"planted_features_{next(numbers)}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        return feature_digest.__wrapped__(name)

    return of


@pytest.mark.parametrize(
    "written",
    [
        pytest.param("# a comment\n" + PLAIN.replace("LIMIT = 3", "LIMIT = 3  # why three"), id="comments"),
        pytest.param(PLAIN.replace("value + LIMIT", "(\n        value\n        + LIMIT\n    )"), id="layout"),
        pytest.param('"""A module docstring."""\n' + PLAIN, id="module docstring"),
        pytest.param(PLAIN.replace("    return", '    """The level."""\n    return'), id="function docstring"),
        pytest.param(PLAIN.replace("    value: f", '    """A level."""\n\n    value: f'), id="class docstring"),
        pytest.param(PLAIN.replace("1.0\n", '1.0\n    """In points."""\n'), id="attribute docstring"),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_the_digest(digest: Digest, written: str) -> None:
    assert written != PLAIN
    assert digest(written) == digest(PLAIN)


def test_a_docstring_that_says_something_else_does_not_change_the_digest(digest: Digest) -> None:
    first, second = (PLAIN.replace("    return", f'    """{text}"""\n    return') for text in ("One.", "Two."))
    assert digest(first) == digest(second)


@pytest.mark.parametrize(
    "written",
    [
        PLAIN.replace("LIMIT = 3", "LIMIT = 4"),
        PLAIN.replace("value + LIMIT", "value - LIMIT"),
        PLAIN.replace("1.0", "2.0"),
        PLAIN.replace("    return value", "    value = 2 * value\n    return value"),
        PLAIN + "\nlevel = abs\n",
    ],
)
def test_code_that_does_something_else_changes_the_digest(digest: Digest, written: str) -> None:
    assert written != PLAIN
    assert digest(written) != digest(PLAIN)


def test_a_string_that_is_used_counts_as_code(digest: Digest) -> None:
    assert digest("UNIT = 'hours'\n") != digest("UNIT = 'days'\n")


def test_further_modules_change_the_digest() -> None:
    assert feature_digest() != feature_digest("forecastle.monitoring.skill")
    assert feature_digest() == feature_digest()


def test_what_the_features_read_of_known_outcomes_belongs_to_the_feature_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rolling median is computed beside the records: another window is another number."""
    before = feature_digest.__wrapped__()
    read_text = Path.read_text

    def with_another_window(path: Path, *args: object, **keywords: object) -> str:
        text = read_text(path, *args, **keywords)
        return text.replace("ROLLING = 50", "ROLLING = 30") if path.name == "outcomes.py" else text

    monkeypatch.setattr(Path, "read_text", with_another_window)
    assert feature_digest.__wrapped__() != before


def test_a_module_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError):
        feature_digest("forecastle.features.nowhere")
