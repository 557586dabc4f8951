"""The journal of batch scoring: wherever it is cut off, it goes on behind the last whole row."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.errors import ConflictError
from forecastle.registry.journal import Entry, Journal

ASKED = {"model_type": "a", "source": {"file": "f"}}
ENTRIES = [
    Entry(number, {"title": "ä\n" * number, "error": "no"} if number % 3 == 0 else {"model_version": f"v{number % 2}"})
    for number in range(1, 13)
]


def written(path: Path, entries: list[Entry]) -> None:
    with Journal.opened(path, ASKED) as journal:
        for entry in entries:
            journal.add([entry])


@given(st.data())
def test_wherever_it_is_cut_off_it_goes_on_behind_the_last_whole_row(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "home", "journal")
        written(path, ENTRIES[:8])
        content = path.read_bytes()
        kept = data.draw(st.integers(0, len(content)))
        path.write_bytes(content[:kept] + data.draw(st.sampled_from([b"", b'{"position": 99, "ce'])))
        with Journal.opened(path, ASKED) as journal:
            rows = max(content[:kept].count(b"\n") - 1, 0)
            assert (journal.position, journal.tally.rows) == (rows or None, rows)
            journal.add(ENTRIES[rows:])
            assert list(journal.rows()) == [entry.cells for entry in ENTRIES]
            assert (journal.tally.rows, journal.tally.failed) == (12, 4)
            assert journal.tally.versions == {"v0": 4, "v1": 4}


def test_the_moment_stays_that_of_the_beginning(tmp_path: Path) -> None:
    moments = []
    for _ in range(2):
        with Journal.opened(tmp_path / "journal", ASKED) as journal:
            moments.append(journal.moment)
    assert moments[0] == moments[1]


def test_something_else_that_is_asked_and_a_restart_begin_anew(tmp_path: Path) -> None:
    for asked, restart in (({**ASKED, "source": {"file": "f", "state": [1]}}, False), (ASKED, True)):
        written(tmp_path / "journal", ENTRIES)
        with Journal.opened(tmp_path / "journal", asked, restart) as journal:
            assert (journal.position, journal.tally.rows, list(journal.rows())) == (None, 0, [])
        (tmp_path / "journal").unlink()


def test_two_at_once_are_refused_and_it_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Journal.opened(path, ASKED), pytest.raises(ConflictError), Journal.opened(path, ASKED, restart=True):
        pass
    assert path.stat().st_mode & 0o777 == 0o600
