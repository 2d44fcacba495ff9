"""Sends what is in the outbox: one job for each letter.

A permanent refusal by the relay marks the letter as bounced. After a temporary one it is retried for a day. If a worker
dies while it talks to the relay, the letter is sent again with the same Message-ID, so that a second copy is
recognisable.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from appointments.db import Connection, Database
from appointments.jobs import Job, Kind, Later
from appointments.mail import outbox
from appointments.mail.message import Mail, Sender, compose, on_the_wire
from appointments.mail.outbox import JOB, Letter
from appointments.mail.relay import Carrier, Never, NotNow
from appointments.shared import metrics

PAUSE = timedelta(seconds=15)
PATIENCE = timedelta(hours=24)

_log = structlog.get_logger("appointments.mail")


@dataclass(frozen=True, slots=True)
class Writer:
    """Composes the letters of one kind. ``write`` returns None if there is no longer anything to say.

    ``is_own``: the letters are about the recipient's own account, so they are sent even after an "unsubscribe".
    """

    write: Callable[[Connection, Letter], Awaitable[Mail | None]]
    is_own: bool = False


class Postman:
    """Hands the letters of the outbox to a carrier."""

    def __init__(
        self,
        db: Database,
        carrier: Carrier,
        sender: Sender,
        writers: Mapping[str, Writer],
        *,
        pause: timedelta = PAUSE,
    ) -> None:
        self._db = db
        self._carrier = carrier
        self._sender = sender
        self._writers = writers
        self._pause = pause

    def kinds(self) -> list[Kind]:
        """The kinds of jobs that do this."""
        # An hour more than PATIENCE, so that this code gives letters up and records it before the runner gives up.
        mail = Kind(JOB, self._send, pause=self._pause, patience=PATIENCE + timedelta(hours=1))
        return [mail, Kind("mail.sweep", self._sweep, every=timedelta(hours=6))]

    async def _send(self, job: Job) -> None:
        posted = await outbox.read(self._db, UUID(job.key or ""))
        if posted is None or posted.state not in {"queued", "sending"}:
            return
        letter = posted.letter
        writer = self._writers[letter.kind]
        if reason := await outbox.objection(self._db, letter.recipient, is_own=writer.is_own):
            await outbox.end(self._db, letter.id, "dropped", reason)
            metrics.MAIL.labels("dropped").inc()
            return
        async with self._db.connection() as connection:
            mail = await writer.write(connection, letter)
        if mail is None:
            await outbox.end(self._db, letter.id, "dropped", "there was nothing to say any more")
            return
        recipient = on_the_wire(letter.recipient)
        message = compose(mail, self._sender, id=letter.id, recipient=recipient, date=posted.created_at)
        await outbox.begin(self._db, letter.id)
        try:
            said = await self._carrier.deliver(message, self._sender.address, recipient)
        except Never as refusal:
            await self._bounced(letter, refusal)
        except NotNow as error:
            await self._not_now(job, letter, str(error))
        else:
            metrics.MAIL.labels("sent").inc()
            await outbox.end(self._db, letter.id, "sent", said)
            await outbox.forget_bounces(self._db, letter.recipient)

    async def _bounced(self, letter: Letter, refusal: Never) -> None:
        metrics.MAIL.labels("bounced").inc()
        await outbox.end(self._db, letter.id, "bounced", str(refusal))
        if refusal.address_is_bad:
            await outbox.count_bounce(self._db, letter.recipient)
        _log.warning("mail bounced", id=str(letter.id), kind=letter.kind, reason=str(refusal))

    async def _not_now(self, job: Job, letter: Letter, reason: str) -> None:
        if job.waited > PATIENCE:
            metrics.MAIL.labels("failed").inc()
            await outbox.end(self._db, letter.id, "failed", reason)
            _log.error("mail was given up", id=str(letter.id), kind=letter.kind, reason=reason)
            return
        metrics.MAIL.labels("postponed").inc()
        await outbox.end(self._db, letter.id, "queued", reason)
        raise Later(reason)

    async def _sweep(self, job: Job) -> None:  # noqa: ARG002
        await outbox.sweep(self._db)
