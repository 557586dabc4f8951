"""Somebody says what came out: checked against the prediction, and written down where it is news."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from forecastle.errors import ForecastleError, InputError, NotFoundError
from forecastle.records.issues import LARGEST_OUTCOMES
from forecastle.store import ground_truth as rows
from forecastle.store.database import Connection, Database
from forecastle.store.ground_truth import IMPORT, NewTruth, Predicted, Truth


@dataclass(frozen=True)
class Said:
    """What somebody says came out, in the unit of the prediction's target; known now, where no moment is given."""

    prediction_id: UUID
    value: float
    source: str
    known_at: datetime | None = None


@dataclass(frozen=True)
class Recorded:
    """What is on record now, and whether that is news."""

    said: Said
    target: str
    truth: Truth
    changed: bool


def record_truths(database: Database, said: Sequence[Said], by: str) -> list[Recorded | ForecastleError]:
    """Write down what is news, all of it or nothing; an item that cannot be used gets its error in its place.

    The same value from the same source, without a moment or with the same one, is no news. Of several about one
    prediction, the later corrects the earlier. Raises ServerError.
    """
    moment = datetime.now(UTC)

    def work(connection: Connection) -> list[Recorded | ForecastleError]:
        found = rows.find_predicted(connection, [item.prediction_id for item in said])
        on_record = {identifier: predicted.said for identifier, predicted in found.items()}
        answers: list[Recorded | ForecastleError] = []
        news: list[NewTruth] = []
        for item in said:
            answer = _judge(item, found, on_record.get(item.prediction_id), by, moment)
            answers.append(answer)
            if isinstance(answer, Recorded) and answer.changed:
                on_record[item.prediction_id] = answer.truth
                news.append(NewTruth(found[item.prediction_id].family, item.prediction_id, answer.truth))
        rows.insert_truths(connection, news)
        return answers

    return database.retrying(work)


def _judge(
    item: Said, found: Mapping[UUID, Predicted], on_record: Truth | None, by: str, moment: datetime
) -> Recorded | ForecastleError:
    predicted = found.get(item.prediction_id)
    if predicted is None:
        return NotFoundError("no prediction with this id")
    if predicted.target is None:
        return InputError(f"{predicted.model_type} says no number that an outcome could be held against")
    if not 0 < item.value <= LARGEST_OUTCOMES[predicted.target]:
        return InputError(f"{predicted.target} lie above 0 and at most at {LARGEST_OUTCOMES[predicted.target]:,.0f}")
    if item.source == IMPORT:
        return InputError(f"the source {IMPORT} is that of imports; name another one")
    if item.known_at is not None and item.known_at > moment:
        return InputError("known_at lies in the future; an outcome is known when it is told")
    if on_record is not None and _same(item, on_record):
        return Recorded(item, predicted.target, on_record, changed=False)
    truth = Truth(item.value, item.source, (item.known_at or moment).astimezone(UTC), by, moment)
    return Recorded(item, predicted.target, truth, changed=True)


def _same(item: Said, truth: Truth) -> bool:
    said = (item.value, item.source, item.known_at or truth.known_at)
    return said == (truth.value, truth.source, truth.known_at)
