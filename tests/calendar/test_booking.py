"""Booking on a real PostgreSQL: the rules, one at a time."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.calendar import booking, updating
from appointments.calendar.appointment import Appointment, Attendee, Spec
from appointments.db import Database
from appointments.shared.errors import Collision, Conflict, Invalid, NotFound, Stale, Taken
from tests.people import HOUR, TEN, spec


def collision(appointment: Appointment) -> Collision:
    """What a conflict says of an appointment."""
    return Collision(appointment.id, appointment.spec.start_at, appointment.spec.end_at)


async def test_an_appointment_is_read_as_it_was_booked(db: Database, owner: UUID) -> None:
    """Every field comes back, to the microsecond and in every script."""
    asked = Spec(
        "Zahnarzt 🦷",
        TEN + timedelta(microseconds=1),
        TEN + HOUR,
        "Asia/Kathmandu",
        "line\nline",
        "2 Rue de l'Église",
        (Attendee("ada@example.com", "Ada", "ACCEPTED"), Attendee("bob@example.com")),
    )
    created = await booking.create(db, owner, asked)
    assert asked == created.spec
    assert created == await booking.get(db, owner, created.id)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (timedelta(0), HOUR),
        (-HOUR / 2, HOUR),
        (HOUR / 2, HOUR),
        (HOUR / 4, HOUR / 4),
        (-HOUR, 3 * HOUR),
        (HOUR - timedelta(microseconds=1), HOUR),
    ],
)
async def test_an_overlap_is_refused_and_named(db: Database, owner: UUID, offset: timedelta, length: timedelta) -> None:
    """However the times overlap, the conflict says with what."""
    first = await booking.create(db, owner, spec())
    with pytest.raises(Conflict) as refused:
        await booking.create(db, owner, spec(TEN + offset, length))
    assert (collision(first),) == refused.value.collisions


async def test_neighbours_do_not_overlap(db: Database, owner: UUID) -> None:
    """9–10, 10–11 and 11–12 fit: an end is exclusive."""
    for offset in (0, -1, 1):
        await booking.create(db, owner, spec(TEN + offset * HOUR))


async def test_different_people_never_conflict(db: Database, owner: UUID, stranger: UUID) -> None:
    """The same time is free for everybody else."""
    await booking.create(db, owner, spec())
    await booking.create(db, stranger, spec())


async def test_a_conflict_names_the_earliest_ten(db: Database, owner: UUID) -> None:
    """A long booking over many short ones names the first of them, in order."""
    short = [await booking.create(db, owner, spec(TEN + index * HOUR)) for index in range(12)]
    with pytest.raises(Conflict) as refused:
        await booking.create(db, owner, spec(TEN, 12 * HOUR))
    assert [collision(each) for each in short[:10]] == list(refused.value.collisions)


async def test_an_update_does_not_conflict_with_itself(db: Database, owner: UUID) -> None:
    """Half an hour later overlaps only the appointment's own old time."""
    created = await booking.create(db, owner, spec())
    moved = await updating.update(db, owner, created.id, lambda old: replace(old, end_at=old.end_at + HOUR / 2))
    assert TEN + 1.5 * HOUR == moved.spec.end_at
    assert (created.version + 1, created.created_at) == (moved.version, moved.created_at)


async def test_an_update_onto_another_is_refused_and_changes_nothing(db: Database, owner: UUID) -> None:
    """The move is refused with what it collides with, and the old time stays taken."""
    first = await booking.create(db, owner, spec())
    second = await booking.create(db, owner, spec(TEN + HOUR))
    with pytest.raises(Conflict) as refused:
        await updating.update(db, owner, second.id, lambda old: replace(old, start_at=TEN, title="never"))
    assert (collision(first),) == refused.value.collisions
    assert second == await booking.get(db, owner, second.id)
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(TEN + HOUR))


async def test_an_update_moves_the_booking_too(db: Database, owner: UUID) -> None:
    """The old time is free at once, the new one is taken."""
    created = await booking.create(db, owner, spec())
    later = spec(TEN + 5 * HOUR)
    await updating.update(db, owner, created.id, lambda _: later)
    await booking.create(db, owner, spec())
    with pytest.raises(Conflict):
        await booking.create(db, owner, later)


async def test_an_update_that_changes_nothing_keeps_the_etag(db: Database, owner: UUID) -> None:
    """A no-op is no change."""
    created = await booking.create(db, owner, spec())
    assert created == await updating.update(db, owner, created.id, lambda old: old, etag=created.etag)


async def test_an_update_to_a_bad_plan_is_refused(db: Database, owner: UUID) -> None:
    """The whole spec is checked, not only the changed field."""
    created = await booking.create(db, owner, spec())
    with pytest.raises(Invalid) as refused:
        await updating.update(db, owner, created.id, lambda old: replace(old, end_at=old.start_at))
    assert ["appointment.end_time"] == [violation.field for violation in refused.value.violations]


async def test_a_stale_etag_is_refused(db: Database, owner: UUID) -> None:
    """Who read an older version changes and deletes nothing; the current etag works."""
    created = await booking.create(db, owner, spec())
    renamed = await updating.update(db, owner, created.id, lambda old: replace(old, title="new"), etag=created.etag)
    with pytest.raises(Stale):
        await updating.update(db, owner, created.id, lambda old: replace(old, title="lost"), etag=created.etag)
    with pytest.raises(Stale):
        await updating.delete(db, owner, created.id, etag=created.etag)
    assert renamed == await booking.get(db, owner, created.id)
    deleted = await updating.delete(db, owner, created.id, etag=renamed.etag)
    assert deleted.deleted_at is not None


@pytest.mark.parametrize("etag", ["\x00", "1", '"0"', '"01"', '"٣"', '"' + "9" * 40 + '"', "x" * 100_000])
async def test_a_forged_etag_is_stale(db: Database, owner: UUID, etag: str) -> None:
    """Whatever it holds, it is not the current one."""
    created = await booking.create(db, owner, spec())
    with pytest.raises(Stale):
        await updating.delete(db, owner, created.id, etag=etag)
    with pytest.raises(Stale):
        await updating.update(db, owner, created.id, lambda old: replace(old, title="lost"), etag=etag)


async def test_a_deleted_time_is_free_and_can_be_restored(db: Database, owner: UUID) -> None:
    """Soft delete frees the slot; undelete takes it again."""
    created = await booking.create(db, owner, spec())
    deleted = await updating.delete(db, owner, created.id)
    assert deleted == await booking.get(db, owner, created.id)
    other = await booking.create(db, owner, spec())
    with pytest.raises(Conflict) as refused:
        await updating.undelete(db, owner, created.id)
    assert (collision(other),) == refused.value.collisions
    await updating.delete(db, owner, other.id)
    restored = await updating.undelete(db, owner, created.id)
    assert (created.spec, None, created.version + 2) == (restored.spec, restored.deleted_at, restored.version)
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec())


async def test_deleting_twice_finds_nothing(db: Database, owner: UUID) -> None:
    """A deleted appointment can neither be deleted nor changed, only read and restored."""
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    with pytest.raises(NotFound):
        await updating.delete(db, owner, created.id)
    with pytest.raises(NotFound):
        await updating.update(db, owner, created.id, lambda old: replace(old, title="new"))


async def test_undeleting_a_live_appointment_is_refused(db: Database, owner: UUID) -> None:
    """There is nothing to restore (AIP-164)."""
    created = await booking.create(db, owner, spec())
    with pytest.raises(Taken) as refused:
        await updating.undelete(db, owner, created.id)
    assert refused.value.reason == "APPOINTMENT_NOT_DELETED"


async def test_a_strangers_appointment_is_not_there(db: Database, owner: UUID, stranger: UUID) -> None:
    """Whatever a stranger tries reads exactly as for an unknown id, and changes nothing."""
    created = await booking.create(db, owner, spec())
    messages = set()
    for appointment_id in (created.id, uuid4()):
        for attempt in (
            booking.get(db, stranger, appointment_id),
            updating.update(db, stranger, appointment_id, lambda old: replace(old, title="mine")),
            updating.delete(db, stranger, appointment_id),
            updating.delete(db, stranger, appointment_id, etag=created.etag),
            updating.undelete(db, stranger, appointment_id),
        ):
            with pytest.raises(NotFound) as refused:
                await attempt
            messages.add((refused.value.message, refused.value.reason))
    assert len(messages) == 1
    assert created == await booking.get(db, owner, created.id)


async def test_a_retry_gets_the_first_answer(db: Database, owner: UUID) -> None:
    """The same request id and body: the answer as it was, even after the appointment has changed or gone."""
    request_id = uuid4()
    first = await booking.create(db, owner, spec(), request_id=request_id)
    assert first == await booking.create(db, owner, spec(), request_id=request_id)
    await updating.update(db, owner, first.id, lambda _: spec(TEN + 3 * HOUR))
    assert first == await booking.create(db, owner, spec(), request_id=request_id)
    await updating.delete(db, owner, first.id)
    assert first == await booking.create(db, owner, spec(), request_id=request_id)


async def test_a_request_id_with_another_body_is_refused(db: Database, owner: UUID, stranger: UUID) -> None:
    """A request id belongs to one body of one owner."""
    request_id = uuid4()
    await booking.create(db, owner, spec(), request_id=request_id)
    for other in (spec(title="Other"), spec(TEN + 2 * HOUR)):
        with pytest.raises(Invalid) as refused:
            await booking.create(db, owner, other, request_id=request_id)
        assert ("REQUEST_ID_REUSED", "request_id") == (refused.value.reason, refused.value.violations[0].field)
    await booking.create(db, stranger, spec(title="Other"), request_id=request_id)


async def test_a_conflict_leaves_the_request_id_unused(db: Database, owner: UUID) -> None:
    """A refused request may be repeated once the time is free."""
    request_id = uuid4()
    first = await booking.create(db, owner, spec())
    with pytest.raises(Conflict):
        await booking.create(db, owner, spec(), request_id=request_id)
    await updating.delete(db, owner, first.id)
    await booking.create(db, owner, spec(), request_id=request_id)


async def test_the_constraint_stands_without_the_code(db: Database, owner: UUID) -> None:
    """PostgreSQL itself refuses the overlap, the empty and the unbounded range."""
    created = await booking.create(db, owner, spec())
    free = await booking.create(db, owner, spec(TEN + 9 * HOUR))
    attempts = {
        "bookings_no_overlap": "tstzrange('2030-05-01 10:30+00', '2030-05-01 12:00+00')",
        "bookings_during": "'empty'::tstzrange",
    }
    for constraint, during in attempts.items():
        with pytest.raises(psycopg.errors.IntegrityError) as refused:
            async with db.connection() as connection:
                await connection.execute(f"UPDATE bookings SET during = {during} WHERE appointment_id = %s", [free.id])
        assert constraint == refused.value.diag.constraint_name
    assert created == await booking.get(db, owner, created.id)
