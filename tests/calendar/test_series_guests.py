"""Guests of series: what an answer to all of it takes of their calendars, and that nobody is booked twice."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from appointments.auth import erasure
from appointments.calendar import (
    booking,
    frontiers,
    invited,
    listing,
    series_booking,
    series_guests,
    series_updating,
    updating,
)
from appointments.calendar.appointment import Appointment, Attendee, Spec, with_answers
from appointments.calendar.invited import Answer
from appointments.calendar.log import BY_OWNER
from appointments.calendar.series import Series, SeriesSpec
from appointments.db import Database, Statement, instant
from appointments.shared.errors import Conflict, Invalid, NotFound, SeriesConflict, Unmet
from tests.audit import audit
from tests.calendar.test_invited import add_guest, confirm, is_free, kinds, meet, of, rename
from tests.calendar.test_series import DAY, MONDAY, WEEK, at, occurrences, recurs, retimed, starts, titled
from tests.people import HOUR, add_room

YES, MAYBE, NO = Answer("ACCEPTED"), Answer("TENTATIVE"), Answer("DECLINED")
ALONG = Answer("ACCEPTED", follows=True)
FIVE = "FREQ=WEEKLY;COUNT=5"


async def invite(db: Database, owner: UUID, *guests: UUID, rule: str = FIVE, **decided: Any) -> Series:
    """A weekly series with guests."""
    wanted = recurs(rule, attendees=tuple(map(of, guests)), **decided)
    return (await series_booking.create(db, owner, wanted)).series


async def answer(db: Database, guest: UUID, series: Series, given: Answer = YES) -> Appointment:
    """Answer all of it, at its second occurrence."""
    rows = await occurrences(db, series.owner_id, series.id)
    return await series_guests.respond(db, guest, rows[1].id, given)


async def change(db: Database, series: Series, by: Callable[[SeriesSpec], SeriesSpec], **options: Any) -> Series:
    """Change all of it."""
    return (await series_updating.update(db, series.owner_id, series.id, by, **options)).series


def with_first(**fields: Any) -> Callable[[SeriesSpec], SeriesSpec]:
    """A change of some fields."""
    return lambda old: replace(old, first=replace(old.first, **fields))


async def answers(db: Database, series: Series, guest: int = 0) -> str:
    """What a guest says to each occurrence, by the first letters."""
    rows = await occurrences(db, series.owner_id, series.id)
    return "".join(each.attendees[guest].response[0] for each in rows)


async def to_the_series(db: Database, series: Series, guest: int = 0) -> str:
    """What a guest says to the series."""
    return (await series_booking.get(db, series.owner_id, series.id)).series.attendees[guest].response


async def taken(db: Database, guest: UUID, series: Series) -> str:
    """Whether each occurrence takes a guest's time: x where it does."""
    rows = await occurrences(db, series.owner_id, series.id)
    booked = {row[0] for row in await db.fetch(BOOKED, {"user_id": guest})}
    return "".join("x" if each.id in booked else "-" for each in rows)


BOOKED = Statement("SELECT appointment_id FROM bookings WHERE subject_id = %(user_id)s::uuid")


async def test_an_accepted_series_takes_time_of_its_guest(db: Database, owner: UUID) -> None:
    """Its occurrences stand in their calendar; accepted they are in the way, declined they are not."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest, buffer_after=HOUR)
    page = await listing.page(db, listing.Window(guest))
    assert [MONDAY + week * WEEK for week in range(5)] == [instant(each.start_at) for each in page.appointments]
    assert {(each.series_text, each.address, each.buffer_after) for each in page.appointments} == {
        (series.id_text, f"{guest}@example.com", None)
    }
    for given, letter, mark in ((MAYBE, "T", "-"), (YES, "A", "x"), (YES, "A", "x"), (NO, "D", "-"), (YES, "A", "x")):
        answered = await answer(db, guest, series, given)
        assert answered.attendees[0].response == given.response
        assert (5 * letter, 5 * mark) == (await answers(db, series), await taken(db, guest, series))
        assert given.response == await to_the_series(db, series)
        assert await audit(db) == 0
    with pytest.raises(Conflict) as caught:
        await booking.create(db, guest, at(MONDAY + 3 * WEEK))
    assert [(await occurrences(db, owner, series.id))[3].id] == [each.id for each in caught.value.collisions]
    assert await is_free(db, guest, MONDAY + HOUR)  # the organizer's buffer is the organizer's


async def test_it_is_accepted_whole_or_not_at_all(db: Database, owner: UUID) -> None:
    """What is in the way of any occurrence is named, if it is the guest's own. Nothing is taken then."""
    guest = await add_guest(db)
    busy = await booking.create(db, guest, at(MONDAY + 2 * WEEK + HOUR / 2))
    series = await invite(db, owner, guest, buffer_before=HOUR)
    with pytest.raises(SeriesConflict) as caught:
        await answer(db, guest, series)
    (miss,) = caught.value.misses.named
    assert (1, MONDAY + 2 * WEEK, ()) == (caught.value.misses.total, miss.original_start_at, miss.resource_ids)
    assert [busy.id] == [each.id for each in miss.collisions]
    assert ("NNNNN", "-----", "NEEDS-ACTION") == (
        await answers(db, series), await taken(db, guest, series), await to_the_series(db, series),
    )  # fmt: skip
    await updating.delete(db, guest, busy.id)
    await answer(db, guest, series)
    assert "xxxxx" == await taken(db, guest, series)
    assert await audit(db) == 0


async def test_single_occurrences_are_answered_otherwise(db: Database, owner: UUID) -> None:
    """Before: the answer to all replaces it. After: it stands, and the others stay as they are."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest)
    rows = await occurrences(db, owner, series.id)
    await invited.respond(db, guest, rows[0].id, YES)
    assert ("ANNNN", "x----") == (await answers(db, series), await taken(db, guest, series))
    await answer(db, guest, series)
    await invited.respond(db, guest, rows[3].id, NO)
    assert ("AAADA", "xxx-x") == (await answers(db, series), await taken(db, guest, series))
    assert "ACCEPTED" == await to_the_series(db, series)
    assert await audit(db) == 0


async def test_only_whoever_is_invited_to_a_series_answers_it(db: Database, owner: UUID, stranger: UUID) -> None:
    """Not to a single appointment, not by one who is invited to one occurrence only, not by somebody else."""
    guest, once = await add_guest(db), await add_guest(db)
    single = await meet(db, owner, guest)
    with pytest.raises(Invalid) as caught:
        await series_guests.respond(db, guest, single.id, YES)
    assert ["whole_series"] == [each.field for each in caught.value.violations]
    series = await invite(db, owner, guest)
    row = (await occurrences(db, owner, series.id))[1]
    await updating.update(
        db, owner, row.id, lambda spec: with_answers(replace(spec, attendees=(*spec.attendees, of(once))), spec)
    )
    with pytest.raises(Unmet) as unmet:
        await series_guests.respond(db, once, row.id, YES)
    assert "NOT_INVITED" == unmet.value.reason
    await invited.respond(db, once, row.id, YES)
    for nobody in (stranger, owner):
        with pytest.raises(NotFound):
            await series_guests.respond(db, nobody, row.id, YES)
    with pytest.raises(Invalid):
        await series_guests.respond(db, guest, row.id, Answer("NEEDS-ACTION"))
    assert await audit(db) == 0


async def settle(db: Database) -> None:
    """Run the jobs that rows of series have left."""
    for (user_id,) in await db.fetch(JOBS, {"kind": frontiers.SETTLE_JOB}):
        await invited.settle(db, UUID(user_id))


JOBS = Statement("DELETE FROM jobs WHERE kind = %(kind)s::text RETURNING payload ->> 'user_id'")


async def test_what_becomes_a_row_later_has_the_answer_of_the_series(db: Database, owner: UUID) -> None:
    """Where the guest is free their time is taken; where not they are asked anew, and the organizer is not held up."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest, rule="FREQ=WEEKLY")
    await answer(db, guest, series)
    there = len(await starts(db, owner, series.id))
    busy = await booking.create(db, guest, at(MONDAY + (there + 2) * WEEK))
    await frontiers.extend_due(db, timedelta(days=300))
    rows = await occurrences(db, owner, series.id)
    assert len(rows) > there + 4
    await settle(db)
    expected = "".join("-" if instant(each.start_at) == instant(busy.start_at) else "x" for each in rows)
    assert expected == await taken(db, guest, series)
    assert expected.replace("x", "A").replace("-", "N") == await answers(db, series)
    assert await audit(db) == 0


async def test_a_guest_with_an_endless_series_of_their_own(db: Database, owner: UUID) -> None:
    """Its tail makes way for what is accepted beyond it; what collides with its occurrences is refused."""
    guest = await add_guest(db)
    own = (await series_booking.create(db, guest, recurs("FREQ=WEEKLY", MONDAY + DAY))).series
    before = len(await starts(db, guest, own.id))
    series = await invite(db, owner, guest, rule="FREQ=MONTHLY;COUNT=15", start=MONDAY + 3 * HOUR)
    await answer(db, guest, series)
    assert 15 * "x" == await taken(db, guest, series)
    assert len(await starts(db, guest, own.id)) > before
    colliding = await invite(db, owner, guest, rule="FREQ=YEARLY;COUNT=3", start=MONDAY + DAY)
    with pytest.raises(SeriesConflict):
        await answer(db, guest, colliding)
    assert await audit(db) == 0


async def test_a_new_time_asks_anew_but_those_who_follow_and_are_free(db: Database, owner: UUID) -> None:
    """As for single appointments: followers go along where they are free; everybody else has their time back."""
    plain, free, busy = [await add_guest(db) for _ in range(3)]
    series = await invite(db, owner, plain, free, busy)
    for guest, given in ((plain, YES), (free, ALONG), (busy, ALONG)):
        await answer(db, guest, series, given)
    await booking.create(db, busy, at(MONDAY + 2 * WEEK + 4 * HOUR))
    await change(db, series, retimed(4 * HOUR))
    assert ["NNNNN", "AAAAA", "AANAA"] == [await answers(db, series, each) for each in range(3)]
    assert ["-----", "xxxxx", "xx-xx"] == [await taken(db, guest, series) for guest in (plain, free, busy)]
    assert ["NEEDS-ACTION", "ACCEPTED", "ACCEPTED"] == [await to_the_series(db, series, each) for each in range(3)]
    assert await is_free(db, free, MONDAY)
    assert await audit(db) == 0


async def test_who_follows_a_series_follows_what_becomes_a_row_later(db: Database, owner: UUID) -> None:
    """By the horizon that moves on: accepted, taken where they are free, and accepted still when all of it moves."""
    plain, along = await add_guest(db), await add_guest(db)
    series = await invite(db, owner, plain, along, rule="FREQ=WEEKLY")
    await answer(db, plain, series)
    await answer(db, along, series, ALONG)
    there = len(await starts(db, owner, series.id))
    for days in (300, 500):
        await frontiers.extend_due(db, timedelta(days=days))
        await settle(db)
        more = len(await starts(db, owner, series.id))
        assert more > there + 4
        there = more
    busy = (await starts(db, owner, series.id))[-2] + 2 * HOUR
    await booking.create(db, along, at(busy))
    await change(db, series, retimed(2 * HOUR))
    rows = await occurrences(db, owner, series.id)
    expected = "".join("N" if instant(each.start_at) == busy else "A" for each in rows)
    assert [len(rows) * "N", expected] == [await answers(db, series, each) for each in range(2)]
    assert 1 == expected.count("N")
    assert expected.replace("A", "x").replace("N", "-") == await taken(db, along, series)
    await frontiers.extend_due(db, timedelta(days=700))
    await settle(db)
    rows = await occurrences(db, owner, series.id)
    assert len(rows) > there + 4
    assert [len(rows) * "N", expected.ljust(len(rows), "A")] == [await answers(db, series, each) for each in range(2)]
    assert expected.ljust(len(rows), "A").replace("A", "x").replace("N", "-") == await taken(db, along, series)
    assert await audit(db) == 0


async def test_who_follows_a_series_follows_another_rule(db: Database, owner: UUID) -> None:
    """What it adds is accepted where they are free, and followed. What they had declined they are asked anew."""
    plain, along = await add_guest(db), await add_guest(db)
    series = await invite(db, owner, plain, along)
    await answer(db, plain, series)
    await answer(db, along, series, ALONG)
    await invited.respond(db, along, (await occurrences(db, owner, series.id))[3].id, NO)
    await booking.create(db, along, at(MONDAY + 6 * WEEK))
    await change(db, series, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=8"))
    assert ["NNNNNNNN", "AAANAANA"] == [await answers(db, series, each) for each in range(2)]
    assert ["--------", "xxx-xx-x"] == [await taken(db, each, series) for each in (plain, along)]
    assert ["NEEDS-ACTION", "ACCEPTED"] == [await to_the_series(db, series, each) for each in range(2)]
    assert await audit(db) == 0
    await change(db, series, retimed(2 * HOUR))
    assert ("AAANAANA", "xxx-xx-x") == (await answers(db, series, 1), await taken(db, along, series))
    assert await audit(db) == 0


async def test_who_follows_follows_what_is_split_off(db: Database, owner: UUID) -> None:
    """Moved by itself, and moved again: it has its own row, and its followers are those of the series."""
    along = await add_guest(db)
    series = await invite(db, owner, along)
    await answer(db, along, series, ALONG)
    rows = await occurrences(db, owner, series.id)
    tail = await change(db, series, retimed(2 * HOUR), from_id=rows[2].id)
    tail = await change(db, tail, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=6"))
    tail = await change(db, tail, retimed(2 * HOUR))
    assert ("AAAAAA", "xxxxxx", "ACCEPTED") == (
        await answers(db, tail), await taken(db, along, tail), await to_the_series(db, tail),
    )  # fmt: skip
    assert ("AA", "xx") == (await answers(db, series), await taken(db, along, series))
    assert await audit(db) == 0


@pytest.mark.parametrize("how", ["answer", "remove", "restore"])
async def test_following_ends_with_the_answer(db: Database, owner: UUID, how: str) -> None:
    """Answered again without it, taken off the list and invited again, deleted and restored: then a move asks anew."""
    along = await add_guest(db)
    series = await invite(db, owner, along)
    await answer(db, along, series, ALONG)
    if how == "answer":
        await answer(db, along, series, YES)
    elif how == "remove":
        for attendees in ((), (of(along),)):
            await change(db, series, with_first(attendees=attendees))
        await series_guests.respond(db, along, (await occurrences(db, owner, series.id))[0].id, YES)
    else:
        await series_updating.delete(db, owner, series.id)
        await series_updating.undelete(db, owner, series.id)
        await answer(db, along, series, YES)
    assert "xxxxx" == await taken(db, along, series)
    await change(db, series, retimed(2 * HOUR))
    await change(db, series, lambda old: replace(old, rule="FREQ=WEEKLY;COUNT=6"))
    assert ("NNNNNN", "------", "NEEDS-ACTION") == (
        await answers(db, series), await taken(db, along, series), await to_the_series(db, series),
    )  # fmt: skip
    assert await audit(db) == 0


async def test_one_occurrence_that_moves_asks_anew(db: Database, owner: UUID) -> None:
    """Only of itself; and it is deleted and restored like a single appointment."""
    guest, along = await add_guest(db), await add_guest(db)
    series = await invite(db, owner, guest, along)
    await answer(db, guest, series)
    await answer(db, along, series, ALONG)
    row = (await occurrences(db, owner, series.id))[2]
    start = instant(row.start_at) + 3 * HOUR
    await updating.update(db, owner, row.id, lambda spec: replace(spec, start_at=start, end_at=start + HOUR))
    assert ["xx-xx", "xxxxx"] == [await taken(db, each, series) for each in (guest, along)]
    assert ["AANAA", "AAAAA"] == [await answers(db, series, each) for each in range(2)]
    await updating.delete(db, owner, row.id)
    assert await is_free(db, along, start)
    await updating.undelete(db, owner, row.id)
    assert ["AANAA", "AANAA"] == [await answers(db, series, each) for each in range(2)]
    assert await audit(db) == 0


async def test_what_moves_nothing_keeps_what_each_was_answered(db: Database, owner: UUID) -> None:
    """A title, a room, buffers, one more guest: answers to single occurrences stay, and so does the time."""
    guest, other = await add_guest(db), await add_guest(db)
    room = await add_room(db, owner)
    series = await invite(db, owner, guest)
    await answer(db, guest, series)
    rows = await occurrences(db, owner, series.id)
    await invited.respond(db, guest, rows[1].id, NO)
    await invited.respond(db, guest, rows[2].id, Answer("TENTATIVE", "If it does not rain"))
    changes: list[dict[str, Any]] = [
        {"title": "Chess"},
        {"resource_ids": (str(room),)},
        {"buffer_before": HOUR},
        {"attendees": (of(other), of(guest))},
    ]
    for fields in changes:
        await change(db, series, with_first(**fields))
        place = 1 if "attendees" in fields else 0
        assert ("ADTAA", "x--xx") == (await answers(db, series, place), await taken(db, guest, series)), fields
        assert await audit(db) == 0
    assert "If it does not rain" == (await occurrences(db, owner, series.id))[2].attendees[1].comment
    assert "NNNNN" == await answers(db, series, 0)


async def test_a_series_is_one_of_what_is_not_answered(db: Database, owner: UUID) -> None:
    """Until it is answered. What asks anew afterwards, and what somebody is invited to alone, stands by itself."""
    guest, once = await add_guest(db), await add_guest(db)
    series = await invite(db, owner, guest)
    rows = await occurrences(db, owner, series.id)

    async def listed(who: UUID) -> list[tuple[UUID, bool, int]]:
        found = await invited.unanswered(db, who)
        assert len(found.nearest) == found.total
        return [(each.appointment.id, each.whole_series, each.occurrences) for each in found.nearest]

    assert [(rows[0].id, True, 5)] == await listed(guest)
    await invited.respond(db, guest, rows[0].id, NO)
    assert [(rows[1].id, True, 4)] == await listed(guest)
    await answer(db, guest, series)
    assert [] == await listed(guest)

    def later(spec: Spec) -> Spec:
        start, end = spec.start_at + 2 * HOUR, spec.end_at + 2 * HOUR
        return with_answers(replace(spec, start_at=start, end_at=end, attendees=(*spec.attendees, of(once))), spec)

    for row in rows[2:4]:
        await updating.update(db, owner, row.id, later)
    assert [(rows[2].id, False, 1), (rows[3].id, False, 1)] == await listed(guest) == await listed(once)


async def test_whoever_is_taken_off_the_list_is_free(db: Database, owner: UUID) -> None:
    """All that it took is given back, and it leaves their calendar; who stays keeps their time."""
    guest, other = await add_guest(db), await add_guest(db)
    series = await invite(db, owner, guest, other)
    for each in (guest, other):
        await answer(db, each, series)
    await change(db, series, lambda spec: replace(spec, first=replace(spec.first, attendees=spec.first.attendees[1:])))
    assert ["-----", "xxxxx"] == [await taken(db, each, series) for each in (guest, other)]
    assert [] == (await listing.page(db, listing.Window(guest))).appointments
    assert await audit(db) == 0


async def test_deleting_frees_and_restoring_asks_anew(db: Database, owner: UUID) -> None:
    """A part of it, or all."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest)
    await answer(db, guest, series)
    rows = await occurrences(db, owner, series.id)
    await series_updating.delete(db, owner, series.id, from_id=rows[3].id)
    assert "xxx" == await taken(db, guest, series)
    assert await is_free(db, guest, MONDAY + 3 * WEEK)
    await series_updating.delete(db, owner, series.id)
    assert await is_free(db, guest, MONDAY)
    assert [] == (await listing.page(db, listing.Window(guest))).appointments
    await series_updating.undelete(db, owner, series.id)
    assert ("NNN", "---") == (await answers(db, series), await taken(db, guest, series))
    assert "NEEDS-ACTION" == await to_the_series(db, series)
    assert await audit(db) == 0


async def test_a_split_and_its_undoing(db: Database, owner: UUID) -> None:
    """A title for this and following asks nobody, and can be taken back; another time asks anew about these."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest)
    await answer(db, guest, series)
    rows = await occurrences(db, owner, series.id)
    before = (await series_booking.get(db, owner, series.id)).series.spec
    tail = await change(db, series, titled("Chess"), from_id=rows[2].id)
    assert ("xx", "xxx", "AAA") == (
        await taken(db, guest, series), await taken(db, guest, tail), await answers(db, tail),
    )  # fmt: skip
    assert await audit(db) == 0
    await series_updating.rejoin(
        db, owner, series.id, tail.id, lambda spec: replace(spec, rule=before.rule, added=before.added)
    )
    assert ("xxxxx", "AAAAA") == (await taken(db, guest, series), await answers(db, series))
    assert await audit(db) == 0
    tail = await change(db, series, retimed(2 * HOUR), from_id=rows[2].id)
    assert ("xx", "---", "NNN") == (
        await taken(db, guest, series), await taken(db, guest, tail), await answers(db, tail),
    )  # fmt: skip
    assert await audit(db) == 0


async def test_the_log_tells_guests_of_occurrences(db: Database, owner: UUID) -> None:
    """Once of each: that it is there, what was answered, that it moved, that it is off."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest, rule="FREQ=WEEKLY;COUNT=2")
    await answer(db, guest, series)
    await change(db, series, retimed(HOUR))
    await series_updating.delete(db, owner, series.id)
    expected = [f"appointment.{what}" for what in ("created", "responded", "updated", "deleted") for _ in range(2)]
    assert expected == await kinds(db, guest)


async def test_confirming_an_address_takes_what_it_had_accepted(db: Database, owner: UUID, stranger: UUID) -> None:
    """Occurrence by occurrence: a job takes their time, and asks anew where it is taken."""
    series = await invite(db, owner, stranger)
    await booking.create(db, stranger, at(MONDAY + WEEK))
    address = f"{stranger}@example.com"
    respond = partial(
        series_guests.respond_in, series_id=series.id, address=address, user_id=None, answer=YES, cause=BY_OWNER
    )
    await db.transact(respond)
    assert ("AAAAA", "-----") == (await answers(db, series), await taken(db, stranger, series))
    await confirm(db, stranger)
    await invited.settle(db, stranger)
    assert ("ANAAA", "x-xxx") == (await answers(db, series), await taken(db, stranger, series))
    assert await audit(db) == 0


async def test_the_end_of_an_account_frees_its_guests(db: Database, owner: UUID) -> None:
    """Nothing of the organizer's series is left in their calendars."""
    guest = await add_guest(db)
    series = await invite(db, owner, guest)
    await answer(db, guest, series)

    async def erase(connection: Any) -> None:
        await erasure.lock(connection, owner)
        await erasure.erase(connection, owner, actor_id=owner)

    await db.transact(erase)
    assert await is_free(db, guest, MONDAY)
    assert await audit(db) == 0


async def test_guests_who_accept_while_they_book_elsewhere(db: Database, owner: UUID) -> None:
    """Of each of them one of both wins: either all of the series is theirs, or what they booked and nothing of it."""
    guests = [await add_guest(db) for _ in range(8)]
    series = await invite(db, owner, *guests)

    async def both(number: int, guest: UUID) -> tuple[bool, bool]:
        accepted, booked = await asyncio.gather(
            answer(db, guest, series), booking.create(db, guest, at(MONDAY + number % 5 * WEEK)), return_exceptions=True
        )
        assert isinstance(accepted, (Appointment, SeriesConflict)), accepted
        assert isinstance(booked, (Appointment, Conflict)), booked
        return isinstance(accepted, Appointment), isinstance(booked, Appointment)

    won = await asyncio.gather(*(both(*each) for each in enumerate(guests)))
    assert {(True, False), (False, True)} >= set(won)
    assert ["xxxxx" if accepted else "-----" for accepted, _ in won] == [
        await taken(db, each, series) for each in guests
    ]
    assert await audit(db) == 0


async def test_an_organizer_who_changes_a_series_while_everybody_answers(db: Database, owner: UUID) -> None:
    """Moved, renamed, split, extended, with guests who come and go: nobody is booked twice or where they are not."""
    guests = [await add_guest(db) for _ in range(5)]
    room = await add_room(db, owner)
    series = await invite(db, owner, *guests, rule="FREQ=WEEKLY", resource_ids=(str(room),))
    for number, guest in enumerate(guests[:2]):
        await booking.create(db, guest, at(MONDAY + (number + 1) * WEEK + 4 * HOUR))
    given = (YES, ALONG, MAYBE, NO)

    async def keep_answering(number: int, guest: UUID) -> None:
        for again in range(6):
            page = await listing.page(db, listing.Window(guest, MONDAY, MONDAY + 8 * WEEK))
            rows = [each for each in page.appointments if each.address]
            if not rows:
                continue
            row = rows[(number + again) % len(rows)]
            respond = invited.respond if again % 3 == 2 else series_guests.respond
            # Taken, or not invited any more; never an error of the database.
            with suppress(Conflict, SeriesConflict, NotFound, Unmet):
                await respond(db, guest, row.id, given[(number + again) % 4])

    async def shift() -> None:
        for step in range(4):
            by = retimed((4 if step % 2 == 0 else -4) * HOUR)
            await change(db, series, by)
            fewer = tuple(map(of, guests[step % 2 :]))
            await change(db, series, with_first(attendees=fewer))

    async def look_ahead() -> None:
        for days in (200, 300, 400):
            await frontiers.extend_due(db, timedelta(days=days))
            await settle(db)

    await asyncio.gather(shift(), look_ahead(), *(keep_answering(*each) for each in enumerate(guests)))
    await settle(db)
    for guest in guests:
        await invited.settle(db, guest)
    assert await audit(db) == 0


async def test_jobs_of_one_guest_do_not_meet_each_others_bookings(db: Database, owner: UUID, stranger: UUID) -> None:
    """Several at once take the time of the same occurrences: the guest stays accepted, and is booked."""
    series = await invite(db, owner, stranger, rule="FREQ=DAILY;COUNT=30")
    address = f"{stranger}@example.com"
    respond = partial(
        series_guests.respond_in, series_id=series.id, address=address, user_id=None, answer=YES, cause=BY_OWNER
    )
    await db.transact(respond)
    await confirm(db, stranger)
    await asyncio.gather(*(invited.settle(db, stranger) for _ in range(8)))
    assert ("A" * 30, "x" * 30) == (await answers(db, series), await taken(db, stranger, series))
    assert await audit(db) == 0


@pytest.mark.parametrize("name", ["!", "~"])
async def test_an_answer_to_a_series_is_that_of_both_addresses(db: Database, owner: UUID, name: str) -> None:
    """Also of one that only an occurrence has: what is declined takes no time, what is accepted takes it once."""
    guest = await add_guest(db)
    new = Attendee(f"{name}{guest}@example.com")
    series = await invite(db, owner, guest)
    rows = await occurrences(db, owner, series.id)
    await rename(db, guest, new.email)

    def add(old: Spec) -> Spec:
        return with_answers(replace(old, attendees=(*old.attendees, new)), old)

    await updating.update(db, owner, rows[1].id, add)
    await invited.respond(db, guest, rows[1].id, YES)
    for given, letter, mark in ((NO, "D", "-"), (YES, "A", "x"), (MAYBE, "T", "-"), (ALONG, "A", "x")):
        await answer(db, guest, series, given)
        assert (5 * letter, 5 * mark) == (await answers(db, series), await taken(db, guest, series))
        assert given.response == (await occurrences(db, owner, series.id))[1].attendees[1].response
        assert await audit(db) == 0
    await change(db, series, with_first(attendees=(of(guest), new)))
    await answer(db, guest, series, ALONG)
    await change(db, series, retimed(DAY))
    assert (5 * "A", 5 * "x") == (await answers(db, series, 1), await taken(db, guest, series))
    assert await audit(db) == 0
