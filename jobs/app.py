"""The Celery application. It carries the id of a run to a worker; everything else stands in `job_runs`."""

from __future__ import annotations

from celery import Celery
from kombu import Queue
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import RedisError

from forecastle.errors import ServerError
from forecastle.settings import Settings
from forecastle.store.broker import reason_of
from forecastle.store.job_runs import JobRun
from jobs.registry import QUEUES

TASK = "forecastle.run"
"""The one task: it is handed the id of a run."""
VISIBILITY_SECONDS = 60
"""After this long an unacknowledged message is delivered again; of a run that is held, it does nothing."""
BROKER_ERRORS = (KombuError, RedisError, OSError)


class _Channel(redis.Channel):  # type: ignore[misc]  # kombu has no types
    """Kombu's, for a broker that comes and goes.

    With Kombu 5.7, giving messages back while the broker is away, or acknowledging one on a channel that is closed,
    raises an error at which the whole worker ends. Neither is needed: the dispatcher sends again what nobody holds.
    """

    do_restore = False

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        if not self.closed:
            super().basic_ack(delivery_tag, multiple)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.closed:
            super().basic_reject(delivery_tag, requeue)


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no types
    """Redis, with that channel."""

    Channel = _Channel


def create_app(settings: Settings) -> Celery:
    """An application with these settings; it connects on first use. Raises ConfigurationError."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
    app = Celery("forecastle", broker=settings.require_redis_url(), set_as_current=False)
    app.conf.update(
        broker_connection_max_retries=None,  # the broker comes back at some time
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
        },
        enable_utc=True,
        timezone="UTC",
        task_acks_late=True,
        task_create_missing_queues=False,
        task_default_queue=QUEUES[-1],
        task_ignore_result=True,
        task_publish_retry=False,  # the dispatcher comes again
        task_queues=[Queue(name) for name in QUEUES],
        task_reject_on_worker_lost=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,  # the lease decides
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
    )
    return app


class Broker:
    """What the dispatcher does with the broker. Raises ServerError where it does not answer."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, run: JobRun, queue: str) -> None:
        """Wake a worker of this queue for the run."""
        try:
            self._app.send_task(TASK, args=(str(run.id),), queue=queue)
        except BROKER_ERRORS as error:
            raise ServerError(f"the broker did not take a job: {reason_of(error)}") from error

    def idle_queues(self) -> list[str]:
        """Queues in which no message waits."""
        try:
            with self._app.connection_for_read() as connection, connection.channel() as channel:
                return [name for name in QUEUES if channel._size(name) == 0]  # a passive declare fails on an empty one
        except BROKER_ERRORS as error:
            raise ServerError(f"the broker did not answer: {reason_of(error)}") from error
