"""Answers that come by mail: what a calendar sends, and what somebody sends who means harm."""

import os
import subprocess
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from appointments.calendar import booking
from appointments.db import Database
from appointments.icalendar.invitations import Ignored, Letters, Reception
from appointments.icalendar.invitations.receiving import MOST_BYTES
from appointments.mail import Sender
from tests.icalendar.invitations.test_invitations import BOB, EVE, House, event, house
from tests.mailroom import PUBLIC_URL
from tests.people import HOUR, TEN
from tests.service import ROOT

__all__ = ["house"]

REPLY_TO = "answers@example.com"


@dataclass
class Invited:
    """An appointment, and the address to which Bob answers."""

    house: House
    id: UUID
    organizer: str

    def answer(
        self, partstat: str = "ACCEPTED", *, method: str = "REPLY", to: str = "", sender: str = BOB, **fields: str
    ) -> EmailMessage:
        """What his calendar sends."""
        told = {"UID": str(self.id), "SEQUENCE": "0", "ATTENDEE": BOB, "COMMENT": ""} | fields
        message = EmailMessage()
        message["From"], message["To"] = sender, to or self.organizer
        message["Subject"] = "Accepted: Chess"
        message.set_content("Bob has accepted.")
        lines = [
            "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Google Inc//Google Calendar//EN", f"METHOD:{method}",
            "BEGIN:VEVENT", f"UID:{told['UID']}", "DTSTAMP:20300401T000000Z", "DTSTART:20300501T120000Z",
            f"SEQUENCE:{told['SEQUENCE']}", f"ATTENDEE;PARTSTAT={partstat};CN=Bob:mailto:{told['ATTENDEE']}",
            f"COMMENT:{told['COMMENT']}", "END:VEVENT", "END:VCALENDAR", "",
        ]  # fmt: skip
        content = "\r\n".join(lines).encode()
        message.add_alternative(content.decode(), subtype="calendar", params={"method": method})
        return message

    async def take(self, message: EmailMessage | bytes, *recipients: str) -> str:
        """Hand a message over."""
        content = message if isinstance(message, bytes) else bytes(message)
        return await Reception(self.house.db, self.house.answers, REPLY_TO).take(content, recipients)

    async def answers(self) -> dict[str, tuple[str, str]]:
        """Who has answered what, and said what."""
        current = await booking.get(self.house.db, self.house.owner, self.id)
        return {each.email: (each.response, each.comment) for each in current.attendees}


UNANSWERED = ("NEEDS-ACTION", "")


@pytest.fixture
async def bob(house: House) -> Invited:
    """Somebody who has been invited."""
    sender = Sender.of("Calendar <calendar@example.com>", PUBLIC_URL)
    house._letters = Letters(house.answers, sender, reply_to=REPLY_TO)
    appointment = await house.invite()
    _, found = event((await house.told())[BOB])
    return Invited(house, appointment.id, str(found["organizer"]).removeprefix("mailto:"))


@pytest.mark.parametrize("partstat", ["ACCEPTED", "TENTATIVE", "DECLINED"])
async def test_an_answer_is_taken(bob: Invited, partstat: str) -> None:
    """With what was said, for nobody else; a mail server may turn the address to upper case."""
    local, _, domain = bob.organizer.partition("@")
    assert ("answers+", "example.com", 40) == (local[:8], domain, len(local))
    message = bob.answer(partstat, COMMENT="See you\\nthere", to=bob.organizer.upper())
    assert f"{partstat.lower()}: appointment {bob.id}" == await bob.take(message)
    assert {BOB: (partstat, "See you\nthere"), EVE: UNANSWERED} == await bob.answers()


async def test_the_envelope_says_whom_it_is_to(bob: Invited) -> None:
    """Where the headers name somebody else, as a list or an alias does."""
    message = bob.answer(to="somebody@example.net")
    with pytest.raises(Ignored, match="to no address"):
        await bob.take(message)
    await bob.take(message, bob.organizer)
    assert ("ACCEPTED", "") == (await bob.answers())[BOB]


async def test_another_time_is_a_proposal(bob: Invited) -> None:
    """COUNTER moves nothing: the organizer reads it beside a "maybe"."""
    await bob.take(bob.answer("NEEDS-ACTION", method="COUNTER", COMMENT="Too early"))
    assert {
        BOB: ("TENTATIVE", "Proposes 2030-05-01 12:00:00+00:00.\nToo early"),
        EVE: UNANSWERED,
    } == await bob.answers()


async def test_an_answer_to_an_older_time_is_none(bob: Invited) -> None:
    """Whoever accepted ten o'clock has not accepted eleven."""
    current = await booking.get(bob.house.db, bob.house.owner, bob.id)
    await bob.house.change(current, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    await bob.house.told()
    with pytest.raises(Ignored, match="newer"):
        await bob.take(bob.answer())
    await bob.take(bob.answer(SEQUENCE="1"))
    assert ("ACCEPTED", "") == (await bob.answers())[BOB]


async def test_what_is_forged_does_nothing(bob: Invited) -> None:
    """Neither a sender without the token, nor the token with another sender, attendee or appointment."""
    other = await bob.house.invite(start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    forged = [
        bob.answer(to=REPLY_TO),
        bob.answer(to=f"answers+{'a' * 32}@example.com"),
        bob.answer(to=bob.organizer.replace("@example.com", "@example.net")),
        bob.answer(sender=EVE),
        bob.answer(sender=f"{BOB}, {EVE}"),
        bob.answer(ATTENDEE=EVE),
        bob.answer(UID=str(other.id)),
        bob.answer("DELEGATED"),
        bob.answer(method="REQUEST"),
        bob.answer(method="CANCEL"),
    ]
    for message in forged:
        with pytest.raises(Ignored):
            await bob.take(message)
    assert {BOB: UNANSWERED, EVE: UNANSWERED} == await bob.answers()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Auto-Submitted", "auto-replied"),
        ("Auto-Submitted", "auto-generated; owner=x"),
        ("Precedence", "bulk"),
        ("Return-Path", "<>"),
    ],
)
async def test_machines_are_not_listened_to(bob: Invited, header: str, value: str) -> None:
    """A vacation notice that quotes the invitation is no answer, nor is a bounce."""
    message = bob.answer()
    message[header] = value
    with pytest.raises(Ignored):
        await bob.take(message)
    assert UNANSWERED == (await bob.answers())[BOB]


async def test_hostile_messages_are_ignored(bob: Invited) -> None:
    """Torn, deep, huge or not mail at all: each is refused for a reason, and none is an error of the program."""
    good = bytes(bob.answer())
    nested = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(400))
    envelope = f"From: {BOB}\nTo: {bob.organizer}\n".encode()
    hostile: list[Any] = [
        b"",
        b"\x00" * 5000,
        os.urandom(20_000),
        b"x" * (MOST_BYTES + 1),
        envelope + nested,
        envelope + b'Content-Type: text/calendar; charset="no-such"; method=REPLY\n\nBEGIN:VCALENDAR\n',
        envelope + b"Content-Type: text/calendar\nContent-Transfer-Encoding: base64\n\n!!!!\n",
        good.replace(b"SEQUENCE:0", b"SEQUENCE:many"),
        good.replace(b"BEGIN:VEVENT", b"BEGIN:VEVENT\r\n" * 50),
        good.replace(f"UID:{bob.id}".encode(), b"UID:../../etc/passwd"),
        *(good[: len(good) * part // 12] for part in range(11)),
    ]
    for number, message in enumerate(hostile):
        with pytest.raises(Ignored):
            raise AssertionError(f"{number}: {await bob.take(message)}")
    assert {BOB: UNANSWERED, EVE: UNANSWERED} == await bob.answers()


async def test_a_comment_is_data(bob: Invited) -> None:
    """It is cut, and what has no letter is left out."""
    await bob.take(bob.answer(COMMENT="<b>\u202eno\x07" + "x" * 3000))
    _, comment = (await bob.answers())[BOB]
    assert ("<b>nox", 1000) == (comment[:6], len(comment))


async def test_the_command_takes_it(bob: Invited, dsn: str, tmp_path: Path, db: Database) -> None:
    """As a mail server's pipe calls it: one line, and exit code 0 also for what is ignored."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DATABASE_URL"},
        "DATABASE_URL": dsn,
        "INVITATION_REPLY_TO": REPLY_TO,
        "JWT_SECRET": bob.house.mail.secret,
    }
    for message, expected in (
        (bob.answer(), f"accepted: appointment {bob.id}\n"),
        (bob.answer(sender=EVE), "ignored: it is not from the address that was invited\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "appointments", "receive-mail", bob.organizer],
            input=bytes(message), capture_output=True, check=False, cwd=ROOT, env=environment, timeout=120,
        )  # fmt: skip
        assert (0, expected, "") == (done.returncode, done.stdout.decode(), done.stderr.decode())
    assert ("ACCEPTED", "") == (await bob.answers())[BOB]
