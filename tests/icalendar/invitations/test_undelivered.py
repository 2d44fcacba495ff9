"""Mail that does not arrive: its organizer sees it, and three bounces end it, also where they come as reports."""

from uuid import UUID

import pytest

from appointments.api import convert
from appointments.calendar import booking, series_booking
from appointments.calendar.appointment import Appointment, as_invited
from appointments.icalendar.invitations import Ignored, Letters, Reception, SeriesLetters
from appointments.jobs import Runner
from appointments.mail import Sender, outbox
from appointments.mail.postman import Postman
from appointments.mail.relay import Relay, Server
from appointments.mail.returns import Returns
from appointments.v1 import appointments_pb2 as pb
from tests.icalendar.invitations.test_invitations import BOB, EVE, house
from tests.icalendar.invitations.test_series import Club, club, token_of
from tests.mail.test_returns import REPORT
from tests.mailroom import PUBLIC_URL
from tests.people import HOUR
from tests.postbox import Postbox, postbox

__all__ = ["club", "house"]

REPLY_TO = "answers@example.com"
FAILED = pb.ATTENDEE_DELIVERY_FAILED
DOWNSTREAM = REPORT.format(action="failed", status="5.1.1")


class Mailer:
    """Sends invitations through a real mail server, and takes what is reported."""

    def __init__(self, club: Club, box: Postbox) -> None:
        self.club, self.box = club, box
        self.house = club.house
        sender = Sender.of("Calendar <calendar@example.com>", PUBLIC_URL)
        letters = Letters(self.house.answers, sender, reply_to=REPLY_TO)
        of_series = SeriesLetters(self.house.answers, sender, reply_to=REPLY_TO)
        writers = letters.writers() | of_series.writers()
        returns = Returns(self.house.mail.links, REPLY_TO)
        postman = Postman(club.db, Relay(Server.of(box.url)), sender, writers, returns=returns)
        kinds = [*self.house.telling.kinds(), *club._telling.kinds(), *postman.kinds()]
        self._runner = Runner(club.db, kinds)
        self._reception = Reception(club.db, self.house.answers, REPLY_TO)

    async def send(self) -> list[str]:
        """Send what there is to send; return the senders of what the server took to Bob, oldest first."""
        await self.house._sequencer.settle()
        await self.house._follower.step()
        await self._runner.run_due()
        return [sender for (known, _), sender in zip(self.box.taken, self.box.senders, strict=True) if known == BOB]

    async def report(self, to: str, message: str = DOWNSTREAM) -> str:
        """Hand a report over, as the alias of the reply address does."""
        return await self._reception.take(message.encode(), [to])

    async def seen(self, appointment_id: UUID) -> dict[str, bool]:
        """Of each attendee whether the organizer sees that mail does not reach them."""
        found = await booking.get(self.club.db, self.house.owner, appointment_id)
        return failures(found)

    async def change(self, appointment: Appointment) -> None:
        """Move it by an hour."""
        current = await booking.get(self.club.db, self.house.owner, appointment.id)
        start = current.spec.start_at + HOUR
        await self.house.change(current, start_at=start, end_at=start + HOUR)


def failures(found: Appointment) -> dict[str, bool]:
    """As the contract has it."""
    return {each.email: each.delivery == FAILED for each in convert.appointment(found).attendees}


async def test_a_refusal_is_seen_until_a_message_is_taken(club: Club) -> None:
    """By the organizer alone, beside whom it concerns; a change of it does not hide it, an answer stays."""
    with postbox(Postbox(decide=lambda who, attempt: "5xx at RCPT" if (who, attempt) == (BOB, 1) else "take")) as box:
        mailer = Mailer(club, box)
        appointment = await club.house.invite()
        await mailer.send()
        assert {BOB: True, EVE: False} == await mailer.seen(appointment.id)
        current = await booking.get(club.db, club.house.owner, appointment.id)
        assert {BOB: False, EVE: False} == failures(as_invited(current._replace(invitation=[EVE, "", ""])))
        await club.house.change(current, description="Bring the clock")
        assert {BOB: True, EVE: False} == await mailer.seen(appointment.id)
        # Who has just bounced is written to again, because the description is news.
        await mailer.send()
        assert {BOB: False, EVE: False} == await mailer.seen(appointment.id)


async def test_a_report_is_seen_and_is_a_change(club: Club) -> None:
    """It comes to the address that the letter was sent from; twice it is the same report."""
    with postbox() as box:
        mailer = Mailer(club, box)
        appointment = await club.house.invite()
        (sender,) = await mailer.send()
        local, _, domain = sender.partition("@")
        assert ("answers+", "example.com", 48) == (local[:8], domain, len(local))
        before = await booking.get(club.db, club.house.owner, appointment.id)
        assert (await mailer.report(sender)).startswith("bounced: letter ")
        assert {BOB: True, EVE: False} == await mailer.seen(appointment.id)
        after = await booking.get(club.db, club.house.owner, appointment.id)
        assert before.version + 1 == after.version
        with pytest.raises(Ignored, match="already"):
            await mailer.report(sender)
        assert [("invitation.request", "bounced", 1), ("invitation.request", "sent", 1)] == await outbox.counts(club.db)
        # That a message did not arrive is no news for anybody who is invited.
        assert [sender] == await mailer.send()


async def test_three_reports_end_it_though_the_relay_takes_everything(club: Club) -> None:
    """What is not sent any more does not arrive, either. Who answers is written to again."""
    with postbox() as box:
        mailer = Mailer(club, box)
        appointment = await club.house.invite()
        for number in range(1, 4):
            senders = await mailer.send()
            assert number == len(senders)
            await mailer.report(senders[-1])
            await mailer.change(appointment)
        assert 3 == len(await mailer.send())
        assert {BOB: True, EVE: False} == await mailer.seen(appointment.id)
        assert 4 == sum(recipient == EVE for recipient, _ in box.taken)
        message = next(message for recipient, message in box.taken if recipient == BOB)
        await club.house.answers.respond(token_of(message), "ACCEPTED", "")
        await mailer.change(appointment)
        assert 4 == len(await mailer.send())
        assert {BOB: False, EVE: False} == await mailer.seen(appointment.id)


async def test_what_is_no_report_of_a_letter_changes_nothing(club: Club) -> None:
    """A vacation notice, a delay, a token of no letter, a torn one, and a report to the plain address."""
    with postbox() as box:
        mailer = Mailer(club, box)
        appointment = await club.house.invite()
        (sender,) = await mailer.send()
        unknown = Returns(club.house.mail.links, REPLY_TO).address(appointment.id) or ""
        for to, message in (
            (sender, "From: bob@example.org\nAuto-Submitted: auto-replied\n\nI am away."),
            (sender, REPORT.format(action="delayed", status="4.4.1")),
            (unknown, DOWNSTREAM),
            (sender.replace("+", "+a"), DOWNSTREAM),
            (REPLY_TO, DOWNSTREAM),
        ):
            with pytest.raises(Ignored):
                await mailer.report(to, message)
        assert {BOB: False, EVE: False} == await mailer.seen(appointment.id)


async def test_a_series_shows_it_in_all_that_is_to_come(club: Club) -> None:
    """In the series and in its occurrences, also where it is changed; a message that is taken clears it."""
    with postbox() as box:
        mailer = Mailer(club, box)
        series = await club.invite("FREQ=WEEKLY;COUNT=4")
        (sender,) = await mailer.send()
        await mailer.report(sender)
        rows = await club.rows(series)
        assert [{BOB: True, EVE: False}] * 4 == [failures(each) for each in rows]
        current = (await series_booking.get(club.db, club.house.owner, series.id)).series
        assert [True, False] == [each.delivery == FAILED for each in map(convert.attendee, current.attendees)]
        await club.change(series, title="Go")
        rows = await club.rows(series)
        assert [{BOB: True, EVE: False}] * 4 == [failures(each) for each in rows]
        await mailer.send()
        assert [{BOB: False, EVE: False}] * 4 == [failures(each) for each in await club.rows(series)]


async def test_a_relay_that_takes_one_sender_only_gets_that(club: Club) -> None:
    """Without return addresses there are no reports, but there is mail."""
    with postbox(Postbox(accepts=lambda sender: sender == "calendar@example.com")) as box:
        mailer = Mailer(club, box)
        await club.house.invite()
        assert ["calendar@example.com"] == await mailer.send()
