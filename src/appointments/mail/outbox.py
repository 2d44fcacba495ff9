"""The outbox: the letters that are to be sent, and the record of those that were."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from appointments.db import Connection, Database, Row, Statement, instant

JOB = "mail"
"""The kind of the jobs that send; the key of each is the letter's id."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that is to be sent. ``kind`` selects its writer, ``about`` holds what the writer needs to know.

    There is at most one letter for each appointment, kind, recipient and sequence.
    """

    kind: str
    recipient: str
    user_id: UUID | None = None
    appointment_id: UUID | None = None
    sequence: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    id: UUID = field(default_factory=uuid7)


@dataclass(frozen=True, slots=True)
class Posted:
    """A letter in the outbox, as the database has it."""

    letter: Letter
    state: str
    attempts: int
    response: str | None
    created_at: datetime


PUT = Statement(
    """
    WITH letter AS (
        INSERT INTO outbox (
            id, kind, recipient, user_id, appointment_id, sequence, about, state, created_at, changed_at
        )
        VALUES (%(id)s::uuid, %(kind)s::text, %(recipient)s::text, %(user_id)s::uuid, %(appointment_id)s::uuid,
                %(sequence)s::integer, %(about)s::jsonb, 'queued', now(), now())
        ON CONFLICT ON CONSTRAINT outbox_once DO NOTHING
        RETURNING id
    )
    INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
    SELECT 'mail', id::text, '{}', now(), now() FROM letter
    """
)

HEAD_START = timedelta(minutes=4)

# The same for many, in the order of their keys, so that two such statements cannot wait for each other. They go ahead
# of what has become due lately: what is promised for a certain minute must not wait behind a batch of invitations.
PUT_ALL = Statement(
    """
    WITH letter AS (
        INSERT INTO outbox (
            id, kind, recipient, user_id, appointment_id, sequence, about, state, created_at, changed_at
        )
        SELECT letter.*, 'queued', now(), now() FROM unnest(
            %(id)s::uuid[], %(kind)s::text[], %(recipient)s::text[], %(user_id)s::uuid[], %(appointment_id)s::uuid[],
            %(sequence)s::integer[], %(about)s::jsonb[]
        ) AS letter (id, kind, recipient, user_id, appointment_id, sequence, about)
        ORDER BY appointment_id, kind, recipient, sequence
        ON CONFLICT ON CONSTRAINT outbox_once DO NOTHING
        RETURNING id
    )
    INSERT INTO jobs (kind, key, payload, due_at, deferred_at)
    SELECT 'mail', id::text, '{}', now() - %(seconds)s::integer * interval '1 second', now() FROM letter
    """
)


class Outbox:
    """Where features put letters. If mail is off it drops them, because nobody would ever send them."""

    def __init__(self, *, is_on: bool = True) -> None:
        self.is_on = is_on

    async def put(self, connection: Connection, letter: Letter) -> None:
        """Have a letter sent once this transaction has committed."""
        if not self.is_on:
            return
        await connection.fetch(
            PUT,
            {
                "id": letter.id,
                "kind": letter.kind,
                "recipient": letter.recipient,
                "user_id": letter.user_id,
                "appointment_id": letter.appointment_id,
                "sequence": letter.sequence,
                "about": json.dumps(letter.about).encode(),
            },
        )

    async def put_all(self, connection: Connection, letters: Sequence[Letter]) -> None:
        """Have letters sent as :meth:`put` does, ahead of others. Those that are there already stay as they are."""
        if not self.is_on or not letters:
            return
        fields = ("id", "kind", "recipient", "user_id", "appointment_id", "sequence")
        values: dict[str, Any] = {field: [getattr(letter, field) for letter in letters] for field in fields}
        values["about"] = [json.dumps(letter.about).encode() for letter in letters]
        values["seconds"] = HEAD_START // timedelta(seconds=1)
        await connection.fetch(PUT_ALL, values)


MAIL_OFF = Outbox(is_on=False)
BOUNCED = "three messages to the address have bounced"

READ = Statement(
    """
    SELECT kind, recipient, user_id, appointment_id, sequence, about, id, state, attempts, response, created_at
    FROM outbox WHERE id = %(id)s::uuid
    """
)

# The state is written before the relay is contacted, so that the death of a worker in between leaves a trace.
BEGIN = Statement(
    """
    UPDATE outbox SET state = 'sending', attempts = attempts + 1, changed_at = now()
    WHERE id = %(id)s::uuid AND state IN ('queued', 'sending')
    """
)
# What a letter holds of an account that is gone stays no longer than it is needed.
END = Statement(
    """
    UPDATE outbox SET state = %(state)s::text, response = %(response)s::text, changed_at = now(),
        about = CASE WHEN %(state)s::text = 'queued' THEN about ELSE about - 'gone' END
    WHERE id = %(id)s::uuid AND state IN ('queued', 'sending')
    RETURNING id
    """
)
COUNT_BOUNCE = Statement(
    """
    INSERT INTO mail_addresses (address, hard_bounces, bounced_at) VALUES (lower(%(address)s::text), 1, now())
    ON CONFLICT ON CONSTRAINT mail_addresses_pkey
    DO UPDATE SET hard_bounces = mail_addresses.hard_bounces + 1, bounced_at = now()
    """
)
FORGET_BOUNCES = Statement(
    """
    UPDATE mail_addresses SET hard_bounces = 0, bounced_at = CASE WHEN reported_bounces > 0 THEN bounced_at END
    WHERE address = lower(%(address)s::text) AND hard_bounces > 0
    """
)
# The relay has taken this letter, and another server has refused it later, perhaps before the relay's answer is written
# down here. Of several reports the first counts.
REPORT = Statement(
    """
    UPDATE outbox SET state = 'bounced', response = %(response)s::text, changed_at = now()
    WHERE id = %(id)s::uuid AND state IN ('sending', 'sent') RETURNING id
    """
)
COUNT_REPORT = Statement(
    """
    INSERT INTO mail_addresses (address, reported_bounces, bounced_at) VALUES (lower(%(address)s::text), 1, now())
    ON CONFLICT ON CONSTRAINT mail_addresses_pkey
    DO UPDATE SET reported_bounces = mail_addresses.reported_bounces + 1, bounced_at = now()
    """
)
FORGET_REPORTS = Statement(
    """
    UPDATE mail_addresses SET reported_bounces = 0
    WHERE address = lower(%(address)s::text) AND reported_bounces > 0
    """
)
FORGET_ALL = Statement(
    """
    UPDATE mail_addresses SET hard_bounces = 0, reported_bounces = 0, bounced_at = NULL
    FROM (
        SELECT address, hard_bounces + reported_bounces AS bounces FROM mail_addresses
        WHERE address = lower(%(address)s::text) AND hard_bounces + reported_bounces > 0 FOR UPDATE
    ) AS before
    WHERE mail_addresses.address = before.address RETURNING before.bounces
    """
)
WANTS = Statement(
    """
    SELECT unsubscribed_at IS NULL OR %(is_own)s::boolean, hard_bounces + reported_bounces < 3
    FROM mail_addresses WHERE address = lower(%(address)s::text)
    """
)
COUNTS = Statement("SELECT kind, state, count(*) FROM outbox GROUP BY kind, state ORDER BY kind, state")
SWEEP = Statement(
    "DELETE FROM outbox WHERE created_at < now() - interval '90 days' AND state NOT IN ('queued', 'sending')"
)


async def read(db: Database, letter_id: UUID) -> Posted | None:
    """Read a letter and its state."""
    rows = await db.fetch(READ, {"id": letter_id})
    return _posted(rows[0]) if rows else None


async def begin(db: Database, letter_id: UUID) -> None:
    """Record that a letter is about to be handed to the relay."""
    await db.fetch(BEGIN, {"id": letter_id})


async def end(db: Database | Connection, letter_id: UUID, state: str, response: str | None = None) -> bool:
    """Record the outcome of an attempt. The state ``queued`` means that there will be another one.

    Returns:
        Whether that is news: it may have been reported already that the letter did not arrive.
    """
    rows = await db.fetch(END, {"id": letter_id, "state": state, "response": response[:500] if response else None})
    return bool(rows)


async def count_bounce(db: Database | Connection, address: str) -> None:
    """Count a permanent refusal of mail to an address."""
    await db.fetch(COUNT_BOUNCE, {"address": address})


async def forget_bounces(db: Database | Connection, address: str) -> None:
    """Reset the refusals of an address to which mail is accepted after all. What was reported of it later stays."""
    await db.fetch(FORGET_BOUNCES, {"address": address})


async def forget_all_bounces(connection: Connection, address: str) -> int:
    """Reset refusals and reports of an address, so that it is written to again. Return how many there were."""
    rows = await connection.fetch(FORGET_ALL, {"address": address.strip()})
    return int(rows[0][0]) if rows else 0


async def report(connection: Connection, letter: Letter, reason: str, *, address_is_bad: bool) -> bool:
    """Record that a letter which was sent did not arrive. Return whether that is news."""
    if not await connection.fetch(REPORT, {"id": letter.id, "response": reason[:500]}):
        return False
    if address_is_bad:
        await connection.fetch(COUNT_REPORT, {"address": letter.recipient})
    return True


async def forget_reports(connection: Connection, address: str) -> None:
    """Reset what was reported of an address that has answered: mail does reach it."""
    await connection.fetch(FORGET_REPORTS, {"address": address})


async def objection(db: Database, address: str, *, is_own: bool) -> str | None:
    """Why not to write to an address, or None. ``is_own``: the mail is about the recipient's own account."""
    rows = await db.fetch(WANTS, {"address": address, "is_own": is_own})
    wants, works = rows[0] if rows else (True, True)
    if not wants:
        return "the address asked not to be written to"
    return None if works else BOUNCED


async def counts(db: Database) -> list[tuple[str, str, int]]:
    """How many letters of each kind are in each state."""
    return [(row[0], row[1], row[2]) for row in await db.fetch(COUNTS, {})]


async def sweep(db: Database) -> None:
    """Delete letters that were sent long ago."""
    await db.fetch(SWEEP, {})


def _posted(row: Row) -> Posted:
    kind, recipient, user_id, appointment_id, sequence, about, letter_id, state, attempts, response, created_at = row
    letter = Letter(kind, recipient, user_id, appointment_id, sequence, about, letter_id)
    return Posted(letter, state, attempts, response, instant(created_at))
