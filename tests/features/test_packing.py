"""What is packed comes back the same, to the last bit."""

from __future__ import annotations

import math
import zlib
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecastle.features.issues import IssueFeatures
from forecastle.features.levels import LogLevels, LogScale
from forecastle.features.packing import pack_issue, pack_known, unpack_issue, unpack_known
from forecastle.records.outcomes import NOTHING_KNOWN, Known, Outcomes

numbers = st.floats(width=64)
values = st.lists(st.floats(0, 1e9), max_size=200)
GROUPS = ("issue_type", "component")


@st.composite
def issues(draw: st.DrawFn) -> IssueFeatures:
    found = draw(st.lists(numbers, max_size=80))
    levels = [draw(numbers) for _ in range(7)]
    centre, spread, weight, estimate, similar = (draw(numbers) for _ in range(5))
    return IssueFeatures(
        cluster="A",
        names=tuple(f"n{place}" for place in range(len(found))),
        numbers=array("d", found),
        title=("a", "title"),
        description=(),
        labels=("issue_type=Bug",),
        scale=LogScale(0.1, 1.0, 1.0),
        levels=LogLevels(*levels, ladder=tuple(draw(st.lists(numbers, max_size=9)))),
        centre=centre,
        spread=spread,
        weight=weight,
        estimate=estimate,
        similar=similar,
    )


@given(issues())
def test_an_issue_comes_back_as_it_was(issue: IssueFeatures) -> None:
    nothing = LogLevels(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    blank = replace(issue, numbers=array("d", [0.0] * len(issue.names)), levels=nothing, centre=0.0, similar=0.0)
    found = unpack_issue(pack_issue(issue), blank)
    assert str(found) == str(issue)  # NaN equals nothing
    assert pack_issue(found) == pack_issue(issue)


@given(issues())
def test_numbers_that_do_not_fit_the_names_are_refused(issue: IssueFeatures) -> None:
    with pytest.raises(ValueError, match="numbers were kept"):
        unpack_issue(pack_issue(issue), replace(issue, names=(*issue.names, "one more")))


@given(values, st.booleans(), st.dictionaries(st.sampled_from(GROUPS), values))
def test_what_was_known_comes_back_with_how_the_groups_stood(
    recent: list[float], estimated: bool, groups: dict[str, list[float]]
) -> None:
    estimates = [math.nan if value < 1 else value for value in recent] if estimated else []
    known = Known(
        replace(Outcomes.of_latest(recent, estimates), count=3 * len(recent)),
        {name: Outcomes.of_latest(found) for name, found in groups.items()},
    )
    found = unpack_known(pack_known(known, GROUPS), GROUPS)
    assert str(found.project) == str(known.project)
    assert {name: str((one.count, one.mean, one.median)) for name, one in found.groups.items()} == {
        name: str((one.count, one.mean, one.median)) for name, one in known.groups.items()
    }


def test_nothing_known_comes_back_as_nothing_known() -> None:
    assert str(unpack_known(pack_known(NOTHING_KNOWN, GROUPS), GROUPS)) == str(NOTHING_KNOWN)


def test_what_was_known_is_the_same_whether_outcomes_are_kept_or_not() -> None:
    alone = Known(Outcomes.of_latest([1.0, 2.0, 2.0]), {"issue_type": Outcomes.of_latest([2.0])})
    kept = replace(alone, project=replace(alone.project, derived={}))
    packed = [pack_known(known, GROUPS) for known in (alone, kept, kept)]
    assert len(set(packed)) == 1


def test_rows_of_before_whose_groups_are_compressed_too_can_be_read() -> None:
    known = Known(Outcomes.of_latest([1.0, 2.0]), {"issue_type": Outcomes.of_latest([2.0])})
    unpacker = zlib.decompressobj()
    project = unpacker.decompress(pack_known(known, GROUPS))
    found = unpack_known(zlib.compress(project + unpacker.unused_data), GROUPS)
    assert str(found.project) == str(known.project)
    assert found.group("issue_type").count == 1


def test_what_was_known_and_cut_off_is_refused() -> None:
    alone = pack_known(Known(Outcomes.of_latest([1.0, 2.0])), GROUPS)
    grouped = pack_known(Known(Outcomes.of_latest([1.0, 2.0]), {"component": Outcomes.of_latest([2.0])}), GROUPS)
    for content in (alone[:-1], grouped[:-1], grouped[:-8], grouped[:-16], grouped[:-24]):
        with pytest.raises(ValueError, match="cut off"):
            unpack_known(content, GROUPS)
    with pytest.raises(ValueError, match="none of 1 groups"):
        unpack_known(grouped, GROUPS[:1])
    with pytest.raises(ValueError, match="nothing that was packed"):
        unpack_known(b"something else", GROUPS)
