"""Sends what is in the outbox: one job for each letter.

A permanent refusal by the relay marks the letter as bounced. After a temporary one it is retried for a day. If a worker
dies while it talks to the relay, the letter is sent again with the same Message-ID, so that a second copy is
recognisable.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from uuid import UUID

import structlog

from appointments.db import Connection, Database
from appointments.jobs import Job, Kind, Later
from appointments.mail import outbox
from appointments.mail.message import Mail, Sender, compose, on_the_wire
from appointments.mail.outbox import JOB, Letter
from appointments.mail.relay import Carrier, Never, NotNow, SenderRefused
from appointments.mail.returns import Returns
from appointments.shared import metrics

PAUSE = timedelta(seconds=15)
PATIENCE = timedelta(hours=24)

_log = structlog.get_logger("appointments.mail")


@dataclass(frozen=True, slots=True)
class Writer:
    """Composes the letters of one kind. ``write`` returns None if there is no longer anything to say.

    ``is_own``: the letters are about the recipient's own account, so they are sent even after an "unsubscribe".
    ``told`` is called, in the transaction that records it, when it is known whether a letter ``arrived``: when the
    relay has taken it, and when it was refused or given up.
    """

    write: Callable[[Connection, Letter], Awaitable[Mail | None]]
    is_own: bool = False
    told: Callable[..., Awaitable[None]] | None = None


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
        returns: Returns | None = None,
    ) -> None:
        """``returns`` are the addresses that undeliverable letters are reported to. None: to the sender's."""
        self._db = db
        self._carrier = carrier
        self._sender = sender
        self._writers = writers
        self._pause = pause
        self._returns = returns

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
            metrics.MAIL.labels("dropped").inc()
            await self._end(letter, "dropped", reason, arrived=False if reason is outbox.BOUNCED else None)
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
            said = await self._deliver(message, letter, recipient)
        except Never as refusal:
            await self._bounced(letter, refusal)
        except NotNow as error:
            await self._not_now(job, letter, str(error))
        else:
            metrics.MAIL.labels("sent").inc()
            await self._end(letter, "sent", said, arrived=True)
            await outbox.forget_bounces(self._db, letter.recipient)

    async def _deliver(self, message: EmailMessage, letter: Letter, recipient: str) -> str:
        own = self._returns.address(letter.id) if self._returns else None
        if own is not None:
            try:
                return await self._carrier.deliver(message, own, recipient)
            except SenderRefused as refusal:
                # Some relays take mail from one address only. Better without reports than not at all.
                _log.warning("the relay refuses return addresses of INVITATION_REPLY_TO", reason=str(refusal))
        return await self._carrier.deliver(message, self._sender.address, recipient)

    async def _end(self, letter: Letter, state: str, response: str, *, arrived: bool | None) -> None:
        """Record what became of a letter, and tell whoever wants to know whether it arrived."""
        told = self._writers[letter.kind].told

        async def work(connection: Connection) -> None:
            if await outbox.end(connection, letter.id, state, response) and told is not None and arrived is not None:
                await told(connection, letter, arrived=arrived)

        await self._db.transact(work)

    async def _bounced(self, letter: Letter, refusal: Never) -> None:
        metrics.MAIL.labels("bounced").inc()
        await self._end(letter, "bounced", str(refusal), arrived=False)
        if refusal.address_is_bad:
            await outbox.count_bounce(self._db, letter.recipient)
        _log.warning("mail bounced", id=str(letter.id), kind=letter.kind, reason=str(refusal))

    async def _not_now(self, job: Job, letter: Letter, reason: str) -> None:
        if job.waited > PATIENCE:
            metrics.MAIL.labels("failed").inc()
            await self._end(letter, "failed", reason, arrived=False)
            _log.error("mail was given up", id=str(letter.id), kind=letter.kind, reason=reason)
            return
        metrics.MAIL.labels("postponed").inc()
        await outbox.end(self._db, letter.id, "queued", reason)
        raise Later(reason)

    async def _sweep(self, job: Job) -> None:  # noqa: ARG002
        await outbox.sweep(self._db)
