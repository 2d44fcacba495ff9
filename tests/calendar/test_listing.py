"""Lists: windows, order and pages that neither skip nor repeat."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from appointments.calendar import booking, updating
from appointments.calendar import listing as agenda
from appointments.calendar.appointment import Appointment
from appointments.calendar.listing import Window
from appointments.db import Database, paging
from appointments.shared.errors import Invalid
from tests.people import HOUR, TEN, spec

DAY = timedelta(days=1)


async def listed(db: Database, window: Window, size: int = 0) -> list[Appointment]:
    """Every page of a list."""
    found: list[Appointment] = []
    token = ""
    while True:
        page = await agenda.page(db, window, size=size, token=token)
        found += page.appointments
        token = page.next_token
        if not token:
            return found


async def test_a_list_is_ordered_by_start(db: Database, owner: UUID) -> None:
    """Whatever the order of booking."""
    booked = [await booking.create(db, owner, spec(TEN + index * HOUR)) for index in (3, 0, 4, 1, 2)]
    expected = sorted(booked, key=lambda each: each.spec.start_at)
    for size in (0, 1, 2, 5):
        assert expected == await listed(db, Window(owner), size)


async def test_lists_that_are_read_together_are_each_as_if_read_alone(
    db: Database, owner: UUID, stranger: UUID
) -> None:
    """Of two people, of several windows, of different lengths, with and without a next page."""
    for who, hours in ((owner, range(8)), (stranger, range(4, 12))):
        for hour in hours:
            await booking.create(db, who, replace(spec(TEN + hour * HOUR), transparent=hour % 3 == 0))
    asked = [
        (Window(who, TEN + hour * HOUR), size) for who in (owner, stranger) for hour in range(6) for size in (1, 3, 0)
    ]
    alone = [await agenda.page(db, window, size=size) for window, size in asked]
    together = await asyncio.gather(*(agenda.page(db, window, size=size) for window, size in asked * 5))
    assert alone * 5 == together
    assert {1, 3, 8} <= {len(page.appointments) for page in alone}


async def test_a_window_catches_what_reaches_into_it(db: Database, owner: UUID) -> None:
    """What began before the window counts, what ends where it starts or starts where it ends does not."""
    await booking.create(db, owner, spec(TEN - 32 * DAY, HOUR))
    long = await booking.create(db, owner, spec(TEN - 31 * DAY + HOUR, 31 * DAY))
    inside = await booking.create(db, owner, spec(TEN + 2 * HOUR))
    await booking.create(db, owner, spec(TEN + 4 * HOUR))
    assert [long, inside] == await listed(db, Window(owner, TEN, TEN + 4 * HOUR))
    assert [inside] == await listed(db, Window(owner, TEN + HOUR, TEN + 4 * HOUR))
    assert [long, inside] == (await listed(db, Window(owner, TEN)))[:2]


async def test_a_window_may_be_as_wide_as_time(db: Database, owner: UUID) -> None:
    """From the first instant to the last that a Timestamp can say."""
    booked = await booking.create(db, owner, spec())
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for show_deleted in (False, True):
        assert [booked] == await listed(db, Window(owner, first, last, show_deleted))
        assert [] == await listed(db, Window(owner, first, first + HOUR, show_deleted))


async def test_a_list_is_the_owners_own(db: Database, owner: UUID, stranger: UUID) -> None:
    """Nothing of anybody else's."""
    mine = await booking.create(db, owner, spec())
    await booking.create(db, stranger, spec())
    assert [mine] == await listed(db, Window(owner))


async def test_deleted_appointments_are_listed_on_request(db: Database, owner: UUID) -> None:
    """Only with show_deleted."""
    live = await booking.create(db, owner, spec())
    gone = await booking.create(db, owner, spec(TEN + HOUR))
    gone = await updating.delete(db, owner, gone.id)
    assert [live] == await listed(db, Window(owner))
    assert [live, gone] == await listed(db, Window(owner, show_deleted=True), 1)


async def test_pages_neither_skip_nor_repeat_while_rows_are_added(db: Database, owner: UUID) -> None:
    """What was there when the list began appears exactly once, in order, whatever is booked meanwhile."""
    booked = [await booking.create(db, owner, spec(TEN + 2 * index * HOUR)) for index in range(20)]
    seen: list[UUID] = []
    token, added = "", 0
    while True:
        page = await agenda.page(db, Window(owner), size=3, token=token)
        seen += [each.id for each in page.appointments]
        token = page.next_token
        if not token:
            break
        # One before and one after the place where the list stands.
        for start in (TEN - (added + 1) * HOUR, TEN + (2 * (len(seen) + 1) + 1) * HOUR):
            await booking.create(db, owner, spec(start))
        added += 1
    assert len(seen) == len(set(seen))
    ours = {each.id for each in booked}
    assert [each.id for each in booked] == [each for each in seen if each in ours]


async def test_a_full_last_page_has_no_token(db: Database, owner: UUID) -> None:
    """Nothing follows, so nothing is promised."""
    for index in range(4):
        await booking.create(db, owner, spec(TEN + index * HOUR))
    first = await agenda.page(db, Window(owner), size=2)
    second = await agenda.page(db, Window(owner), size=2, token=first.next_token)
    assert (2, 2, "") == (len(first.appointments), len(second.appointments), second.next_token)


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "=" * 60, "A" * 43, "A" * 10_000, "\x00"])
async def test_a_forged_page_token_is_refused(db: Database, owner: UUID, token: str) -> None:
    """A token that this list did not make names its field."""
    with pytest.raises(Invalid) as refused:
        await agenda.page(db, Window(owner), token=token)
    assert ["page_token"] == [violation.field for violation in refused.value.violations]


async def test_a_token_of_another_list_is_refused(db: Database, owner: UUID, stranger: UUID) -> None:
    """Same place, but another owner, window or filter."""
    token = paging.encode(paging.Key(TEN, owner), Window(owner))
    for window in (Window(stranger), Window(owner, TEN), Window(owner, show_deleted=True)):
        with pytest.raises(Invalid):
            await agenda.page(db, window, token=token)
    await agenda.page(db, Window(owner), token=token)


async def test_every_fault_of_a_list_is_named_at_once(db: Database, owner: UUID) -> None:
    """Window, size and token in one answer."""
    with pytest.raises(Invalid) as refused:
        await agenda.page(db, Window(owner, TEN, TEN), size=-1, token="x")
    assert ["end_time", "page_size", "page_token"] == [violation.field for violation in refused.value.violations]
