"""Invitations between accounts: who sees what, whose time is taken, and that nobody else's move books anybody twice."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from appointments.auth import erasure
from appointments.calendar import booking, invited, listing, series_booking, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec, with_answers
from appointments.calendar.invited import Answer
from appointments.calendar.log import BY_OWNER
from appointments.calendar.series import SeriesSpec
from appointments.db import Connection, Database
from appointments.shared.errors import Conflict, Denied, Invalid, NotFound
from appointments.shared.validation import fold_email
from tests.audit import audit
from tests.people import HOUR, TEN, add_room, add_user, shared, spec

LATER = TEN + 5 * HOUR
YES, MAYBE, NO = Answer("ACCEPTED"), Answer("TENTATIVE"), Answer("DECLINED")
ALONG = Answer("ACCEPTED", follows=True)


async def add_guest(db: Database) -> UUID:
    """A user whose address is confirmed."""
    user_id = await add_user(db)
    await confirm(db, user_id)
    return user_id


async def confirm(db: Database, user_id: UUID) -> None:
    """As a link that was mailed does it."""

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %s", (user_id,))

    await db.transact(work)


def of(user_id: UUID) -> Attendee:
    """Somebody on the list of attendees, in a spelling of their own."""
    return Attendee(f"{user_id}@Example.com", "Guest")


async def meet(db: Database, owner: UUID, *guests: UUID, asked: Spec | None = None) -> Appointment:
    """An appointment with guests."""
    return await booking.create(db, owner, replace(asked or spec(), attendees=tuple(map(of, guests))))


async def move(db: Database, owner: UUID, appointment_id: UUID, start: datetime = LATER) -> Appointment:
    """To another hour."""
    return await updating.update(
        db,
        owner,
        appointment_id,
        lambda current: replace(current, start_at=start, end_at=start + HOUR),
    )


async def responses(db: Database, owner: UUID, appointment_id: UUID) -> list[str]:
    """What the organizer sees."""
    return [each.response for each in (await booking.get(db, owner, appointment_id)).attendees]


async def calendar(db: Database, user_id: UUID) -> list[tuple[UUID, bool]]:
    """What somebody's list has, and of each whether they are invited to it."""
    page = await listing.page(db, listing.Window(user_id))
    return [(each.id, each.address is not None) for each in page.appointments]


async def kinds(db: Database, user_id: UUID) -> list[str]:
    """What the log tells somebody."""
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT kind FROM new_changes WHERE calendar_id = %s ORDER BY id", (user_id,))
        return [row[0] for row in await cursor.fetchall()]


async def is_free(db: Database, user_id: UUID, start: datetime = TEN) -> bool:
    """Whether somebody can book an hour; it is given back."""
    try:
        booked = await booking.create(db, user_id, spec(start))
    except Conflict:
        return False
    await updating.delete(db, user_id, booked.id)
    return True


async def test_who_is_invited_sees_it_and_nobody_else_does(db: Database, owner: UUID, stranger: UUID) -> None:
    """It stands in their list among their own, takes no time, and of its organizer's affairs nothing is shown."""
    guest = await add_guest(db)
    room = await add_room(db, owner)
    before = await booking.create(db, guest, spec(TEN - HOUR))
    after = await booking.create(db, guest, spec(TEN + timedelta(minutes=30)))
    asked = shared(room, buffer_before=timedelta(minutes=10))
    met = await meet(db, owner, guest, stranger, asked=asked)
    assert await calendar(db, guest) == [(before.id, False), (met.id, True), (after.id, False)]
    seen = await booking.get(db, guest, met.id)
    assert (seen.owner_id, seen.title, seen.resource_ids, seen.buffer_before) == (owner, met.title, None, None)
    assert await calendar(db, stranger) == []
    with pytest.raises(NotFound):  # on the list too, but the address is not confirmed
        await booking.get(db, stranger, met.id)
    with pytest.raises(NotFound):
        await invited.respond(db, stranger, met.id, YES)
    assert await audit(db) == 0


async def test_who_is_invited_sees_by_whom(db: Database, owner: UUID) -> None:
    """By name; by address only once it is confirmed, because before it could be anybody's. Nobody else is told."""
    guest = await add_guest(db)

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE users SET display_name = 'Grace' WHERE id = %s", (owner,))

    await db.transact(work)
    met = await meet(db, owner, guest)
    assert ("Grace", "") == (await booking.get(db, guest, met.id)).organizer
    await confirm(db, owner)
    for deleted in (False, True):
        page = await listing.page(db, listing.Window(guest, show_deleted=deleted))
        assert [("Grace", f"{owner}@example.com")] == [each.organizer for each in page.appointments]
    assert ("Grace", f"{owner}@example.com") == (await invited.respond(db, guest, met.id, YES)).organizer
    assert (await booking.get(db, owner, met.id)).organizer is None


async def test_what_is_not_answered_is_listed(db: Database, owner: UUID, stranger: UUID) -> None:
    """By start, without what is answered, over, off or somebody else's; of many the nearest, and how many there are."""
    guest = await add_guest(db)
    later, sooner, answered, gone = [
        await meet(db, owner, guest, stranger, asked=spec(TEN + hour * HOUR)) for hour in (5, 1, 3, 7)
    ]
    await meet(db, owner, stranger, asked=spec(TEN + 9 * HOUR))
    await meet(db, owner, guest, asked=spec(datetime.now(UTC) - 30 * HOUR))
    await invited.respond(db, guest, answered.id, MAYBE)
    await updating.delete(db, owner, gone.id)
    found = await invited.unanswered(db, guest)
    assert [sooner.id, later.id] == [each.appointment.id for each in found.nearest]
    assert {(False, 1)} == {(each.whole_series, each.occurrences) for each in found.nearest}
    assert (2, 0) == (found.total, (await invited.unanswered(db, stranger)).total)
    assert f"{guest}@example.com" == found.nearest[0].appointment.address
    for number in range(invited.MOST_OPEN):
        await meet(db, owner, guest, asked=spec(TEN + (24 + number) * HOUR))
    found = await invited.unanswered(db, guest)
    assert (invited.MOST_OPEN, invited.MOST_OPEN + 2) == (len(found.nearest), found.total)


async def test_pages_have_invitations_in_their_place(db: Database, owner: UUID) -> None:
    """Page by page, own and others' in the order of their start, each once."""
    guest = await add_guest(db)
    expected = []
    for hour in range(12):
        start = TEN + hour * HOUR
        if hour % 3:
            expected.append((await meet(db, owner, guest, asked=spec(start))).id)
        else:
            expected.append((await booking.create(db, guest, spec(start))).id)
    for show_deleted in (False, True):
        for since in (None, TEN + timedelta(minutes=30)):
            window = listing.Window(guest, since, None, show_deleted)
            found, token = [], ""
            while True:
                page = await listing.page(db, window, size=5, token=token)
                found += [each.id for each in page.appointments]
                if not (token := page.next_token):
                    break
            assert expected == found


async def paged(db: Database, window: listing.Window, size: int) -> list[Appointment]:
    """Every page of a list; each but the last is full."""
    found: list[Appointment] = []
    token = ""
    while True:
        page = await listing.page(db, window, size=size, token=token)
        found += page.appointments
        if not (token := page.next_token):
            return found
        assert size == len(page.appointments)


@pytest.mark.parametrize("own_hours", [(), (0, 1, 2), (4, 5, 6), (0, 2, 4, 6), (0, 0, 1, 1), range(8)])
async def test_pages_of_every_size_merge_what_is_ones_own_with_what_is_not(
    db: Database, owner: UUID, own_hours: Sequence[int]
) -> None:
    """One's own before, after, between and beside others', some of it transparent: each once, by start and id."""
    guest = await add_guest(db)
    since = TEN + timedelta(minutes=30)
    booked = [await meet(db, owner, guest, asked=spec(TEN + hour * HOUR)) for hour in (0, 2, 3, 5)]
    booked += [
        await booking.create(db, guest, replace(spec(TEN + hour * HOUR), transparent=own_hours[:index].count(hour) > 0))
        for index, hour in enumerate(own_hours)
    ]
    booked += [await booking.create(db, guest, replace(spec(TEN - HOUR, 4 * HOUR), transparent=True))]
    expected = [each.id for each in sorted(booked, key=lambda each: (each.start_at, each.id_text))]
    for size in range(1, len(expected) + 2):
        for show_deleted in (False, True):
            window = listing.Window(guest, since, show_deleted=show_deleted)
            assert expected == [each.id for each in await paged(db, window, size)]


async def rename(db: Database, user_id: UUID, address: str) -> None:
    """Change somebody's address: what they were invited to by the former one stays theirs."""

    async def work(connection: Connection) -> None:
        await connection.execute("UPDATE users SET email = %s WHERE id = %s", (address, user_id))

    await db.transact(work)


@pytest.mark.parametrize("name", ["!", "~"])
async def test_who_is_invited_by_a_former_address_too_is_invited_once(db: Database, owner: UUID, name: str) -> None:
    """Their list, what is not answered and a page each have it once, and an answer is that of both addresses."""
    guest = await add_guest(db)
    new = f"{name}{guest}@example.com"
    booked = [
        await booking.create(
            db, owner, replace(spec(TEN + hour * HOUR), attendees=(of(guest), Attendee(new, "The same")))
        )
        for hour in range(4)
    ]
    await invited.respond(db, guest, booked[0].id, YES)

    await rename(db, guest, new)
    for size in (1, 2, 3, 5):
        assert [each.id for each in booked] == [each.id for each in await paged(db, listing.Window(guest), size)]
    (first, *_) = await paged(db, listing.Window(guest), 5)
    assert first == await booking.get(db, guest, first.id)
    found = await invited.unanswered(db, guest)
    assert [found.total] * 2 == [len(found.nearest), len({each.appointment.id for each in found.nearest})]
    assert {each.id for each in booked[1:]} <= {each.appointment.id for each in found.nearest}
    for answer in (NO, YES, MAYBE):
        for each in booked[:2]:
            await invited.respond(db, guest, each.id, answer)
            assert [answer.response] * 2 == await responses(db, owner, each.id)
        assert await audit(db) == 0


@pytest.mark.parametrize("name", ["!", "~"])
@pytest.mark.parametrize("follows", [True, False])
async def test_who_is_invited_by_two_addresses_is_taken_along_by_both(
    db: Database, owner: UUID, name: str, *, follows: bool
) -> None:
    """A move asks both anew or neither, and their time is taken until the last accepted address is left out."""
    guest = await add_guest(db)
    former, new = of(guest), Attendee(f"{name}{guest}@example.com")
    booked = await booking.create(db, owner, replace(spec(), attendees=(former, new)))
    await rename(db, guest, new.email)
    await invited.respond(db, guest, booked.id, Answer("ACCEPTED", follows=follows))
    for hour in range(1, 4):
        start = TEN + hour * HOUR
        await move(db, owner, booked.id, start)
        assert ["ACCEPTED" if follows else "NEEDS-ACTION"] * 2 == await responses(db, owner, booked.id)
        assert follows != await is_free(db, guest, start)
        assert await audit(db) == 0
    await invited.respond(db, guest, booked.id, YES)

    def invite(old: Spec, *, attendees: tuple[Attendee, ...]) -> Spec:
        return with_answers(replace(old, attendees=attendees), old)

    for attendees in ((new,), (former, new), (former,), ()):
        await updating.update(db, owner, booked.id, partial(invite, attendees=attendees))
        assert await audit(db) == 0
    assert await is_free(db, guest, start)


@pytest.mark.parametrize("is_taken", [True, False])
async def test_what_two_addresses_have_accepted_is_settled_for_both(
    db: Database, owner: UUID, *, is_taken: bool
) -> None:
    """By links, before they were an account's: taken if they are free then, and else both are asked anew, once."""
    guest = await add_guest(db)
    former, new = of(guest), Attendee(f"!{guest}@example.com")
    booked = await booking.create(db, owner, replace(spec(), attendees=(former, new)))

    async def accept(connection: Connection) -> None:
        for each in (former, new):
            await invited.write(connection, booked, fold_email(each.email), YES, cause=BY_OWNER)

    await db.transact(accept)
    await rename(db, guest, new.email)
    if is_taken:
        await booking.create(db, guest, spec())
    for _ in range(2):
        await invited.settle(db, guest)
        assert ["NEEDS-ACTION" if is_taken else "ACCEPTED"] * 2 == await responses(db, owner, booked.id)
    assert await audit(db) == 0


async def test_a_window_has_only_those_of_others_that_reach_into_it(db: Database, owner: UUID) -> None:
    """What ends where it begins, or begins where it ends, is not there, alone or beside one's own."""
    guest = await add_guest(db)
    for hour in (0, 2):
        await meet(db, owner, guest, asked=spec(TEN + hour * HOUR))
    window = listing.Window(guest, TEN + HOUR, TEN + 2 * HOUR)
    assert [] == await paged(db, window, 1)
    mine = await booking.create(db, guest, spec(TEN + HOUR))
    assert [mine] == await paged(db, window, 1)


async def test_lists_that_are_read_together_have_each_ones_own_invitations(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Of many at once, some invited and some not, of different lengths: as if read alone."""
    guests = [await add_guest(db) for _ in range(3)]
    for hour in range(9):
        await meet(db, owner, *guests[: hour % 3], asked=spec(TEN + hour * HOUR))
        await booking.create(db, guests[hour % 2], spec(TEN + hour * HOUR + timedelta(minutes=15)))
    asked = [
        (listing.Window(who, TEN + hour * HOUR), size)
        for who in (owner, stranger, *guests)
        for hour in (0, 4)
        for size in (1, 3, 0)
    ]
    alone = [await listing.page(db, window, size=size) for window, size in asked]
    together = await asyncio.gather(*(listing.page(db, window, size=size) for window, size in asked * 5))
    assert alone * 5 == together
    assert {owner, guests[0]} <= {each.owner_id for page in alone for each in page.appointments}


async def test_what_is_there_all_the_while_is_in_every_list(db: Database, owner: UUID) -> None:
    """While its organizer moves it, the guest answers, and other invitations come and go, it is listed exactly once."""
    guest = await add_guest(db)
    met = await meet(db, owner, guest, asked=spec(TEN + 20 * HOUR))
    mine = [await booking.create(db, guest, spec(TEN + hour * HOUR)) for hour in (0, 30)]
    stays = {met.id, *(each.id for each in mine)}
    done = asyncio.Event()

    async def change() -> None:
        for start in (TEN - HOUR, TEN + 40 * HOUR, TEN + 20 * HOUR) * 4:
            other = await meet(db, owner, guest, asked=spec(TEN + 60 * HOUR))
            await move(db, owner, met.id, start)
            await invited.respond(db, guest, met.id, YES)
            await updating.delete(db, owner, other.id)
        done.set()

    async def read() -> int:
        lists = 0
        while not done.is_set():
            found = [each.id for each in (await listing.page(db, listing.Window(guest))).appointments]
            assert len(found) == len(set(found))
            assert stays <= set(found)
            lists += 1
        return lists

    _, *lists = await asyncio.gather(change(), *(read() for _ in range(12)))
    assert all(lists)


async def test_invitations_stand_beside_occurrences_that_are_looked_for(db: Database, owner: UUID) -> None:
    """A list that says both, that others invite to something and that occurrences may be missing, has all of it."""
    guest = await add_guest(db)
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    weekly = await series_booking.create(db, guest, SeriesSpec(replace(spec(start), time_zone="UTC"), "FREQ=WEEKLY"))
    far = start + timedelta(days=7 * 60)
    mine = await booking.create(db, guest, replace(spec(far + HOUR), transparent=True))
    met = await meet(db, owner, guest, asked=spec(far + 2 * HOUR))
    window = listing.Window(guest, far - HOUR, far + timedelta(days=14))
    found = (await listing.page_ahead(db, db, window)).appointments
    assert [far, far + HOUR, far + 2 * HOUR, far + timedelta(days=7)] == [each.spec.start_at for each in found]
    assert [mine.id, met.id] == [each.id for each in found[1:3]]
    assert [str(weekly.series.id), None, None, str(weekly.series.id)] == [each.series_text for each in found]


async def test_only_accepting_takes_time(db: Database, owner: UUID) -> None:
    """Accepted it is in the way of one's own bookings, and named; every other answer gives the time back."""
    guest = await add_guest(db)
    met = await meet(db, owner, guest, asked=replace(spec(), buffer_after=HOUR))
    for answer, free in ((MAYBE, True), (YES, False), (YES, False), (MAYBE, True), (YES, False), (NO, True)):
        answered = await invited.respond(db, guest, met.id, answer)
        assert answered.attendees[0].response == answer.response
        assert await is_free(db, guest) is free
        assert await audit(db) == 0
    await invited.respond(db, guest, met.id, YES)
    with pytest.raises(Conflict) as caught:
        await booking.create(db, guest, spec())
    assert [each.id for each in caught.value.collisions] == [met.id]
    assert await is_free(db, guest, TEN + HOUR)  # the organizer's buffer is the organizer's


async def test_accepting_what_collides_names_ones_own(db: Database, owner: UUID) -> None:
    """The conflict has the guest's appointments and nothing of the organizer's; the answer stays as it was."""
    guest = await add_guest(db)
    mine = await booking.create(db, guest, spec(TEN + timedelta(minutes=30)))
    met = await meet(db, owner, guest)
    with pytest.raises(Conflict) as caught:
        await invited.respond(db, guest, met.id, YES)
    assert [each.id for each in caught.value.collisions] == [mine.id]
    assert await responses(db, owner, met.id) == ["NEEDS-ACTION"]
    await updating.delete(db, guest, mine.id)
    await invited.respond(db, guest, met.id, YES)
    assert await audit(db) == 0


async def test_an_attendee_cannot_change_it(db: Database, owner: UUID) -> None:
    """They may see it, so they are told that they may not."""
    guest = await add_guest(db)
    met = await meet(db, owner, guest)
    with pytest.raises(Denied):
        await updating.update(db, guest, met.id, lambda current: replace(current, title="Mine"))
    with pytest.raises(Denied):
        await updating.delete(db, guest, met.id)
    await updating.delete(db, owner, met.id)
    for attempt in (updating.undelete(db, guest, met.id), booking.get(db, guest, met.id)):
        with pytest.raises(NotFound):
            await attempt


async def test_a_move_asks_anew_but_those_who_follow_and_are_free(db: Database, owner: UUID) -> None:
    """Followers who are free go along; whoever is not, or does not follow, has their time back."""
    plain, free, taken, maybe = [await add_guest(db) for _ in range(4)]
    met = await meet(db, owner, plain, free, taken, maybe)
    await booking.create(db, taken, spec(LATER + timedelta(minutes=30)))
    for guest, answer in ((plain, YES), (free, ALONG), (taken, ALONG), (maybe, MAYBE)):
        await invited.respond(db, guest, met.id, answer)
    await move(db, owner, met.id)
    assert await responses(db, owner, met.id) == ["NEEDS-ACTION", "ACCEPTED", "NEEDS-ACTION", "NEEDS-ACTION"]
    assert [await is_free(db, guest) for guest in (plain, free, taken, maybe)] == [True] * 4
    assert [await is_free(db, guest, LATER) for guest in (plain, free)] == [True, False]
    assert await audit(db) == 0


async def test_what_is_not_the_time_leaves_answers_alone(db: Database, owner: UUID) -> None:
    """A new title, and new buffers of the organizer, are nothing to answer anew."""
    guest = await add_guest(db)
    met = await meet(db, owner, guest)
    await invited.respond(db, guest, met.id, Answer("ACCEPTED", "With cake"))
    changes: list[dict[str, Any]] = [{"title": "Lunch"}, {"buffer_before": HOUR}, {"buffer_before": timedelta()}]
    for fields in changes:
        await updating.update(db, owner, met.id, partial(replace, **fields))
    assert await responses(db, owner, met.id) == ["ACCEPTED"]
    assert not await is_free(db, guest)
    assert await audit(db) == 0


async def test_whoever_is_taken_off_the_list_is_free(db: Database, owner: UUID) -> None:
    """The time is given back, and the appointment leaves their calendar."""
    guest, other = await add_guest(db), await add_guest(db)
    met = await meet(db, owner, guest, other)
    for each in (guest, other):
        await invited.respond(db, each, met.id, YES)
    await updating.update(db, owner, met.id, lambda current: replace(current, attendees=current.attendees[1:]))
    assert [await is_free(db, each) for each in (guest, other)] == [True, False]
    assert await calendar(db, guest) == []
    with pytest.raises(NotFound):
        await invited.respond(db, guest, met.id, YES)
    assert await audit(db) == 0


async def test_deleting_frees_and_restoring_asks_anew(db: Database, owner: UUID) -> None:
    """An invitation that is back has no answer, and takes no time."""
    guest = await add_guest(db)
    room = await add_room(db, owner)
    for asked in (spec(), shared(room)):
        met = await meet(db, owner, guest, asked=asked)
        await invited.respond(db, guest, met.id, Answer("ACCEPTED", "With cake"))
        await updating.delete(db, owner, met.id)
        assert await is_free(db, guest)
        assert await calendar(db, guest) == []
        await updating.undelete(db, owner, met.id)
        assert await responses(db, owner, met.id) == ["NEEDS-ACTION"]
        assert await is_free(db, guest)
        assert await calendar(db, guest) == [(met.id, True)]
        assert await audit(db) == 0
        await updating.delete(db, owner, met.id)


async def test_the_log_tells_everybody_who_is_invited(db: Database, owner: UUID) -> None:
    """Being invited, every change, every answer, and that it is over."""
    guest, other = await add_guest(db), await add_guest(db)
    met = await meet(db, owner, guest, other)
    await invited.respond(db, other, met.id, YES)
    await invited.respond(db, other, met.id, YES)  # nothing new
    await move(db, owner, met.id)
    await updating.update(db, owner, met.id, lambda current: replace(current, attendees=current.attendees[:1]))
    await updating.delete(db, owner, met.id)
    await updating.undelete(db, owner, met.id)
    begun = ["appointment.created", "appointment.responded", "appointment.updated"]
    assert await kinds(db, other) == [*begun, "appointment.removed"]
    end = ["appointment.updated", "appointment.deleted", "appointment.undeleted"]
    assert await kinds(db, guest) == [*begun, *end]
    assert await kinds(db, owner) == [*begun, *end]


async def test_confirming_an_address_finds_what_it_was_invited_to(db: Database, owner: UUID, stranger: UUID) -> None:
    """Invitations of before appear. What was accepted by a link takes time then, or is asked anew where it is taken."""
    first = await meet(db, owner, stranger)
    second = await meet(db, owner, stranger, asked=spec(LATER))
    await booking.create(db, stranger, spec(LATER))
    address = f"{stranger}@example.com"
    for met in (first, second):
        await db.transact(partial(invited.write, appointment=met, address=address, answer=YES, cause=BY_OWNER))
    await confirm(db, stranger)
    assert (first.id, True) in await calendar(db, stranger)
    await invited.settle(db, stranger)
    assert [await responses(db, owner, met.id) for met in (first, second)] == [["ACCEPTED"], ["NEEDS-ACTION"]]
    assert not await is_free(db, stranger)
    assert await audit(db) == 0


async def test_what_is_no_answer_is_refused(db: Database, owner: UUID) -> None:
    """Both bad fields are named."""
    met = await meet(db, owner, await add_guest(db))
    with pytest.raises(Invalid) as caught:
        await invited.respond(db, owner, met.id, Answer("NEEDS-ACTION", "x" * 1001))
    assert [each.field for each in caught.value.violations] == ["response", "comment"]


async def test_the_end_of_an_account_frees_those_who_had_accepted(db: Database, owner: UUID) -> None:
    """Of the organizer: their guests are free, and told. Of a guest: their bookings go with them."""
    guest, leaver = await add_guest(db), await add_guest(db)
    met = await meet(db, owner, guest, leaver)
    for each in (guest, leaver):
        await invited.respond(db, each, met.id, YES)
    for each in (leaver, owner):
        await db.transact(partial(_erase, user_id=each))
        assert await audit(db) == 0
    assert await is_free(db, guest)
    assert await calendar(db, guest) == []
    assert (await kinds(db, guest))[:4] == [
        "appointment.created",
        *["appointment.responded"] * 2,
        "appointment.deleted",
    ]


@pytest.mark.parametrize("of_old", [False, True])
async def test_whoever_is_erased_while_being_invited_is_an_address(db: Database, owner: UUID, of_old: bool) -> None:
    """The invitation waits for the end of the account, and is made."""
    guest = await add_guest(db)
    old = await meet(db, owner) if of_old else None

    async def invite() -> Appointment:
        if old is None:
            return await meet(db, owner, guest)
        return await updating.update(db, owner, old.id, lambda spec: replace(spec, attendees=(of(guest),)))

    async with db.connection() as connection, connection.transaction():
        await _erase(connection, guest)
        inviting = asyncio.create_task(invite())
        await asyncio.sleep(0.3)
        assert not inviting.done()
    made = await inviting
    assert (of(guest),) == made.spec.attendees
    assert made == await booking.get(db, owner, made.id)


async def _erase(connection: Connection, user_id: UUID) -> None:
    await erasure.lock(connection, user_id)
    await erasure.erase(connection, user_id, actor_id=user_id)


async def test_twenty_who_accept_while_they_book_elsewhere(db: Database, owner: UUID) -> None:
    """Of each of them one of both wins, the other one is told what is in the way."""
    guests = [await add_guest(db) for _ in range(20)]
    for round_ in range(3):
        start = TEN + round_ * 24 * HOUR
        met = await meet(db, owner, *guests, asked=spec(start))

        async def both(guest: UUID, met: Appointment = met, start: datetime = start) -> list[bool]:
            results = await asyncio.gather(
                invited.respond(db, guest, met.id, YES),
                booking.create(db, guest, spec(start)),
                return_exceptions=True,
            )
            assert all(isinstance(each, (Appointment, Conflict)) for each in results), results
            return [isinstance(each, Appointment) for each in results]

        for won in await asyncio.gather(*map(both, guests)):
            assert won.count(True) == 1
        assert await audit(db) == 0


async def test_an_organizer_who_moves_while_everybody_accepts(db: Database, owner: UUID) -> None:
    """Nobody is booked at the old time or twice, whoever comes first."""
    guests = [await add_guest(db) for _ in range(12)]
    met = await meet(db, owner, *guests)
    for guest in guests[:4]:
        await booking.create(db, guest, spec(LATER))

    async def answer(number: int, guest: UUID) -> None:
        for again in range(4):
            try:
                await invited.respond(db, guest, met.id, (YES, ALONG, MAYBE)[(number + again) % 3])
            except Conflict:
                await asyncio.sleep(0)

    async def shift() -> None:
        for start in (LATER, TEN, LATER, TEN + 2 * HOUR, LATER):
            await move(db, owner, met.id, start)

    await asyncio.gather(shift(), *(answer(number, guest) for number, guest in enumerate(guests)))
    assert await audit(db) == 0
    current = await booking.get(db, owner, met.id)
    assert current.spec.start_at == LATER
    assert {each.response for each in current.attendees[:4]} <= {"NEEDS-ACTION", "TENTATIVE"}
