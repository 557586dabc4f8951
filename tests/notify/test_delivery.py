"""What is raised is told once on every channel, again ever more seldom, and not after it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Barrier

from forecastle.errors import ServerError
from forecastle.notify.alerts import Kind, close_alert, raise_alert
from forecastle.notify.channels import Message
from forecastle.notify.delivery import Delivered, deliver
from forecastle.store import notifications
from forecastle.store.database import Database
from forecastle.store.notifications import Delivery, Notification

FAILED, REJECTED, OVERDUE = Kind.TRAINING_FAILED, Kind.PROMOTION_REJECTED, Kind.JOB_OVERDUE
MODEL = "delivery.effort"


@dataclass
class Recorder:
    """A channel that keeps what it was told, and breaks down when it is told to."""

    name: str = "first"
    is_broken: bool = False
    told: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> None:
        if self.is_broken:
            raise ServerError(f"{self.name} is away")
        self.told.append(message)

    @property
    def titles(self) -> list[str]:
        return [message.title.removeprefix("Forecastle: ") for message in self.told]


def raised(database: Database, kind: Kind = FAILED, subject: str = MODEL, detail: str = "it broke") -> None:
    with database.transaction() as connection:
        raise_alert(connection, kind, subject, detail)


def later(database: Database, **by: float) -> None:
    """Let time pass: everything that was noted is so much older."""
    with database.transaction() as connection:
        connection.execute(
            "update notifications set raised_at = raised_at - %(by)s, last_raised_at = last_raised_at - %(by)s",
            {"by": timedelta(**by)},
        )
        connection.execute(
            "update notification_deliveries set due_at = due_at - %(by)s, "
            "last_delivered_at = last_delivered_at - %(by)s",
            {"by": timedelta(**by)},
        )


def listed(database: Database, is_open: bool = False) -> Sequence[tuple[Notification, list[Delivery]]]:
    with database.transaction() as connection:
        return notifications.list_notifications(connection, is_open=is_open)


def any_due(database: Database) -> bool:
    with database.transaction() as connection:
        return notifications.any_due(connection)


def test_what_is_raised_is_told_once_on_every_channel(database: Database) -> None:
    raised(database)
    assert any_due(database)
    first, second = Recorder(), Recorder("second")
    assert deliver(database, [first, second]) == Delivered(2, ())
    assert not any_due(database)
    assert deliver(database, [first, second]) == Delivered(0, ())
    assert first.titles == second.titles == [f"training failed: {MODEL}"]
    assert first.told[0].text.startswith("it broke")


def test_raised_while_it_is_open_it_is_the_same_alert(database: Database) -> None:
    channel = Recorder()
    for number in range(3):
        raised(database, detail=f"it broke {number}")
        deliver(database, [channel])
    assert len(channel.told) == 1
    ((notification, _),) = listed(database)
    assert (notification.times, notification.detail) == (3, "it broke 2")


def test_another_kind_or_subject_is_another_alert(database: Database) -> None:
    for kind, subject in ((FAILED, MODEL), (OVERDUE, MODEL), (FAILED, "delivery.story_points")):
        raised(database, kind, subject)
    channel = Recorder()
    assert deliver(database, [channel]).messages == 3
    assert len(set(channel.titles)) == 3


def test_what_goes_on_is_told_again_ever_more_seldom(database: Database) -> None:
    raised(database)
    channel, told = Recorder(), []
    for hour in range(24 * 21):
        deliver(database, [channel])
        told += [hour] if len(channel.told) > len(told) else []
        later(database, hours=1)
    assert told == [0, 1, 5, 29, 101, 269, 437]
    assert "told 6 times before" in channel.told[-1].text
    assert len({message.id for message in channel.told}) == 7


def test_after_it_is_closed_nobody_is_told_and_raised_anew_it_is_a_new_alert(database: Database) -> None:
    raised(database)
    channel = Recorder()
    deliver(database, [channel])
    with database.transaction() as connection:
        close_alert(connection, FAILED, "another")
        close_alert(connection, FAILED, MODEL)
    later(database, days=30)
    assert not any_due(database)
    assert deliver(database, [channel]).messages == 0
    assert listed(database, is_open=True) == []
    raised(database)
    assert deliver(database, [channel]).messages == 1
    assert len(listed(database)) == 2


def test_what_is_raised_or_closed_does_not_wait_for_a_channel_that_is_slow_to_answer(database: Database) -> None:
    class Slow(Recorder):
        def send(self, message: Message) -> None:
            with database.transaction() as connection:
                connection.execute("set local lock_timeout = '1s'")
                raise_alert(connection, FAILED, MODEL, "it broke again")
                close_alert(connection, FAILED, MODEL)
            super().send(message)

    raised(database)
    channel = Slow()
    assert deliver(database, [channel]).messages == 1
    assert listed(database, is_open=True) == []
    later(database, days=1)
    assert not any_due(database)


def test_an_event_is_told_once_and_again_only_where_it_happened_again(database: Database) -> None:
    raised(database, REJECTED)
    channel = Recorder()
    deliver(database, [channel])
    raised(database, REJECTED)
    deliver(database, [channel])
    later(database, hours=1.1)
    deliver(database, [channel])
    assert len(channel.told) == 2
    later(database, hours=4.1)
    deliver(database, [channel])
    assert len(channel.told) == 2
    assert listed(database, is_open=True) == []


def test_a_channel_that_is_away_is_tried_again_later_and_holds_no_other_one_up(database: Database) -> None:
    for subject in ("a.job", "b.job"):
        raised(database, OVERDUE, subject)
    broken, well = Recorder("broken", is_broken=True), Recorder("well")
    assert deliver(database, [broken, well]) == Delivered(2, ("broken is away",))
    assert not any_due(database)
    errors = [d.last_error for _, found in listed(database) for d in found if d.channel == "broken"]
    assert sorted(errors, key=str) == [None, "broken is away"]  # after the first failure the channel is left alone
    later(database, minutes=1.1)
    assert deliver(database, [broken, well]).failures == ("broken is away",)
    broken.is_broken = False
    later(database, minutes=3)
    assert deliver(database, [broken, well]) == Delivered(2, ())
    assert sorted(broken.titles) == ["job overdue: a.job", "job overdue: b.job"]
    assert all(d.last_error is None and d.failures == 0 for _, found in listed(database) for d in found)


def test_one_message_that_is_always_refused_holds_no_other_one_up(database: Database) -> None:
    class Picky(Recorder):
        def send(self, message: Message) -> None:
            if "a.job" in message.title:
                raise ServerError("not this one")
            super().send(message)

    channel = Picky()
    raised(database, OVERDUE, "a.job")
    deliver(database, [channel])
    raised(database, OVERDUE, "b.job")
    later(database, minutes=2)
    deliver(database, [channel])
    assert channel.titles == ["job overdue: b.job"]


def test_an_event_that_one_channel_could_not_tell_stays_open_until_it_did(database: Database) -> None:
    raised(database, REJECTED)
    broken, well = Recorder("broken", is_broken=True), Recorder("well")
    for _ in range(5):
        deliver(database, [broken, well])
        later(database, hours=2)
    assert (len(well.told), len(listed(database, is_open=True))) == (1, 1)
    raised(database, REJECTED)
    deliver(database, [broken, well])
    assert len(well.told) == 2  # a new event is not kept from who is well
    broken.is_broken = False
    later(database, hours=2)
    deliver(database, [broken, well])
    later(database, hours=5)
    deliver(database, [broken, well])
    assert (len(broken.told), listed(database, is_open=True)) == (1, [])


def test_channels_that_come_and_go_are_told_what_is_open(database: Database) -> None:
    raised(database)
    first, second = Recorder(), Recorder("second", is_broken=True)
    deliver(database, [first, second])
    deliver(database, [first])
    later(database, minutes=30)
    assert not any_due(database)  # who is no channel any more has nothing due
    third = Recorder("third")
    deliver(database, [first, third])
    assert len(third.told) == 1


def test_an_alert_of_a_transaction_that_fails_was_never_raised(database: Database) -> None:
    with database.transaction() as connection:
        raise_alert(connection, FAILED, MODEL, "it broke")
        connection.rollback()
    assert not any_due(database)


def test_of_many_that_deliver_and_raise_at_once_one_tells_it_once(database: Database) -> None:
    together, channel = Barrier(4, timeout=20), Recorder()

    def work(_: int) -> None:
        together.wait()
        raised(database)
        deliver(database, [channel])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(channel.told) == 1
    ((notification, _),) = listed(database)
    assert notification.times == 4
