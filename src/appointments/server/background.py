"""What goes on beside the requests: mail, and the jobs. ``serve`` has it inside, ``appointments jobs`` alone."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from appointments import auth, jobs
from appointments.api.webhooks import change_as_json
from appointments.auth import Auth, Passwords, Post
from appointments.calendar import series_guests
from appointments.calendar.reminding import Reminding
from appointments.changes.webhooks import notices
from appointments.changes.webhooks.posting import Poster
from appointments.changes.webhooks.target import Target
from appointments.db import Database, embedded
from appointments.db.migrate import migrate
from appointments.icalendar.invitations import (
    Answers,
    Follower,
    Ignored,
    Letters,
    Reception,
    SeriesLetters,
    SeriesTelling,
    Telling,
)
from appointments.jobs import Counts, Runner
from appointments.mail import MAIL_OFF, Links, Outbox, Sender, outbox
from appointments.mail.folder import Folder
from appointments.mail.postman import Postman
from appointments.mail.relay import Carrier, Relay, Server
from appointments.mail.returns import Returns
from appointments.server import metrics_endpoint
from appointments.server.settings import Settings, secret_of
from appointments.shared import metrics, tracing
from appointments.shared.errors import Unavailable

WATCHING_SECONDS = 10.0
"""How often jobs are counted for the metrics."""

_log = structlog.get_logger("appointments")


@dataclass(frozen=True, slots=True)
class Office:
    """Everything about mail: who takes it (None: nobody), and what links in it are made of."""

    carrier: Carrier | None
    outbox: Outbox
    links: Links
    sender: Sender

    @property
    def folder(self) -> Folder | None:
        """Where mail is kept instead of being sent."""
        return self.carrier if isinstance(self.carrier, Folder) else None

    @property
    def state(self) -> str:
        """What there is to say of mail, in a word."""
        return "kept" if self.folder else "on" if self.carrier else "off"

    def answers(self, db: Database) -> Answers:
        """What the links in invitations lead to."""
        return Answers(db, self.links)

    @property
    def post(self) -> Post:
        """What writes about accounts."""
        return Post(self.outbox, self.links)


def office(settings: Settings, http_address: str) -> Office:
    """Set up mail. ``http_address`` is where development's links lead, if nothing else is said."""
    public_url = settings.public_url or f"http://{http_address}"
    links = Links(
        secret_of(settings.jwt_secret), previous=secret_of(settings.jwt_secret_previous) or None, public_url=public_url
    )
    carrier: Carrier | None = None
    if settings.smtp_url:
        carrier = Relay(Server.of(secret_of(settings.smtp_url)))
    elif not settings.production:
        carrier = Folder(embedded.data_folder() / "mail")
    sender = Sender.of(settings.mail_from or "Appointments <appointments@localhost>", public_url)
    return Office(carrier, Outbox() if carrier else MAIL_OFF, links, sender)


class Background:
    """Runs the jobs, and follows what defers them."""

    def __init__(self, settings: Settings, db: Database, office: Office, identities: Auth) -> None:
        kinds = identities.mailed_links.kinds() + series_guests.kinds(db)
        gather = settings.invitation_delay_seconds
        self._follower = Follower(db, gather_seconds=gather, mail_is_on=office.carrier is not None)
        if office.carrier:
            reply_to = settings.invitation_reply_to or ""
            letters = Letters(office.answers(db), office.sender, reply_to=reply_to)
            of_series = SeriesLetters(office.answers(db), office.sender, reply_to=reply_to)
            reminding = Reminding(
                db,
                office.outbox,
                public_url=office.links.public_url,
                unsubscribe_url=office.answers(db).unsubscribe_url,
            )
            writers = office.post.writers() | notices.writers() | letters.writers() | reminding.writers()
            writers |= of_series.writers()
            returns = Returns(office.links, reply_to)
            kinds += Postman(db, office.carrier, office.sender, writers, returns=returns).kinds()
            kinds += reminding.kinds()
            kinds += Telling(db, office.outbox, per_day=settings.invitations_per_day).kinds()
            kinds += SeriesTelling(db, office.outbox, per_day=settings.invitations_per_day).kinds()
        self._runner = Runner(db, kinds)
        self._poster = Poster(db, webhook_target(settings), change_as_json, outbox=office.outbox)

    async def run(self) -> None:
        """Run until :meth:`stop`."""
        following = asyncio.create_task(self._follower.run())
        posting = asyncio.create_task(self._poster.run())
        try:
            await self._runner.run()
            await posting
        finally:
            following.cancel()

    async def stop(self, seconds: float) -> None:
        """Begin nothing more, and give what runs so many seconds."""
        await asyncio.gather(self._runner.stop(seconds), self._poster.stop(seconds))


async def watch_jobs(db: Database) -> None:
    """Keep the gauges of the jobs up to date; a kind of which there are none any more says so.

    Every process does it, also one that runs no jobs: that nobody runs them is what an operator must hear of.
    """
    known: set[str] = set()
    while True:
        with suppress(Unavailable):
            found = {each.kind: each for each in await jobs.counts(db)}
            known |= found.keys()
            for kind in known:
                each = found.get(kind, Counts(kind, 0, 0, 0, None))
                for state in ("waiting", "running", "failed"):
                    metrics.JOBS.labels(kind, state).set(getattr(each, state))
                due_at = each.oldest_due_at
                late = (datetime.now(UTC) - due_at).total_seconds() if due_at and each.waiting else 0.0
                metrics.JOBS_OLDEST.labels(kind).set(max(late, 0.0))
        await asyncio.sleep(WATCHING_SECONDS)


def webhook_target(settings: Settings) -> Target:
    """Where webhooks may lead."""
    return Target(plain=not settings.production, private=settings.webhook_allow_private)


async def run_alone(settings: Settings, dsn: str) -> None:
    """Run jobs and nothing else, until SIGTERM or SIGINT.

    Raises:
        MigrationFault: the database cannot be reached or migrated.
        StartFault: METRICS_BIND is taken.
        TracingFault: traces are asked for and cannot be made.
    """
    await migrate(settings.direct(dsn), patience=settings.database_wait_seconds)
    async with AsyncExitStack() as stack:
        tracing.begin()
        stack.callback(tracing.end)
        stack.enter_context(metrics_endpoint.served(settings.metrics_bind))
        db = await stack.enter_async_context(database(settings, dsn))
        passwords = Passwords(cost=settings.bcrypt_cost)
        stack.callback(passwords.close)
        mail = office(settings, settings.http_bind)
        identities = auth.build(db, passwords, secret=secret_of(settings.jwt_secret), post=mail.post)
        working = Background(settings, db, mail, identities)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        watching = asyncio.create_task(watch_jobs(db))
        task = asyncio.create_task(working.run())
        _log.info("running jobs", mail=mail.state)
        await stop.wait()
        watching.cancel()
        await working.stop(settings.drain_seconds)
        await task
    _log.info("stopped")


async def status(settings: Settings, dsn: str) -> tuple[list[Counts], list[tuple[str, str, int]]]:
    """How the jobs of each kind stand, and how many letters of each kind are in each state."""
    async with database(settings, dsn) as db, db.connection() as connection:
        del connection  # it is there: what cannot be reached says so here
        return await jobs.counts(db), await outbox.counts(db)


async def receive(settings: Settings, dsn: str, message: bytes, recipients: Sequence[str]) -> str:
    """Take an answer that came by mail; say what was done with it.

    Raises:
        Unavailable: the database cannot be reached: the message is to be handed over again.
    """
    async with database(settings, dsn) as db:
        answers = office(settings, settings.http_bind).answers(db)
        try:
            return await Reception(db, answers, settings.invitation_reply_to or "").take(message, recipients)
        except Ignored as reason:
            return f"ignored: {reason}"


def database(settings: Settings, dsn: str) -> Database:
    """The database as the settings have it."""
    return Database(
        dsn,
        size=settings.database_pool_size,
        prepare=settings.database_pool_mode == "session",
        replica=secret_of(settings.database_replica_url) or None,
    )
