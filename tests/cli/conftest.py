"""Runs the command in this process, as it would run by itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from forecastle.settings import Settings

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `forecastle WORDS` with these settings and no others; exit code, output, errors.

    Settings that name no home get one of their own.
    """

    def run(settings: Settings, *words: str) -> tuple[int, str, str]:
        for item in fields(Settings):
            monkeypatch.delenv(item.metadata["variable"], raising=False)
        if settings.home == Settings().home:
            settings = replace(settings, home=tmp_path / "home")
        for name, value in settings.as_environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["forecastle", *words])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as leaving:
            code = leaving.code or 0
        return (int(code), *capsys.readouterr())

    return run
