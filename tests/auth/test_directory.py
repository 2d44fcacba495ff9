"""The users that admins see to: managed users, service accounts, roles, and who is shut out."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from appointments.auth import Auth
from appointments.auth.directory import grant_admin
from appointments.auth.keys import SCOPES, KeySpec
from appointments.auth.user import User
from appointments.calendar import booking, resources, series_booking
from appointments.calendar.series import SeriesSpec
from appointments.db import Database
from appointments.shared.errors import Conflict, Fault, Invalid, NotFound, Taken, Unauthenticated, Unmet
from tests.audit import audit
from tests.auth.signing_in import EMAIL, Clock, is_signed_in, login, process, register, sign_out_within_five_seconds
from tests.people import TEN, add_room, shared, spec

KEY = KeySpec("Backend", SCOPES)


async def manage(house: Auth, **decided: str) -> User:
    """A managed user."""
    nothing = {"display_name": "", "time_zone": "", "external_id": "", "email": ""}
    return await house.directory.create(**(nothing | decided))


async def add_admin(db: Database, house: Auth, email: str = EMAIL) -> User:
    """An admin who can sign in."""
    person = await register(house, email)
    assert await grant_admin(db, email.upper())
    return await house.accounts.get(person.user.id)


async def test_a_managed_user_needs_nothing(db: Database) -> None:
    """No password, no address; a time zone of UTC. They own appointments as everybody does."""
    house = process(db)
    made = await manage(house)
    assert ("", "", "UTC", "user", "person", False) == (
        made.email,
        made.external_id,
        made.time_zone,
        made.role,
        made.kind,
        made.disabled,
    )
    assert made == await house.directory.get(made.id)
    await booking.create(db, made.id, spec())


async def test_an_external_id_is_one_users(db: Database) -> None:
    """As is an address, whatever its case; many ask at once and one gets it."""
    house = process(db)
    made = await manage(house, external_id="crm-1", email="Ada@Example.com", time_zone="Europe/Zurich")
    assert made == await house.directory.get(external_id="crm-1")
    assert "ada@example.com" == made.email
    for decided, reason in (
        ({"external_id": "crm-1"}, "EXTERNAL_ID_TAKEN"),
        ({"email": "ADA@example.com"}, "EMAIL_TAKEN"),
    ):
        with pytest.raises(Taken) as caught:
            await manage(house, **decided)
        assert reason == caught.value.reason
    with pytest.raises(Taken):
        await register(house, "ada@example.com")
    raced = await asyncio.gather(*(manage(house, external_id="crm-2") for _ in range(20)), return_exceptions=True)
    assert 1 == sum(isinstance(each, User) for each in raced)
    assert {"EXTERNAL_ID_TAKEN"} == {each.reason for each in raced if isinstance(each, Fault)}


@pytest.mark.parametrize(
    ("decided", "fields"),
    [
        ({"display_name": "n" * 201, "time_zone": "Moon/Base"}, ["user.display_name", "user.time_zone"]),
        ({"external_id": "x" * 201, "email": "no address"}, ["user.email", "user.external_id"]),
        ({"external_id": " "}, ["user.external_id"]),
        ({"external_id": "a\x00b"}, ["user.external_id"]),
    ],
)
async def test_a_bad_user_is_named(db: Database, decided: dict[str, str], fields: list[str]) -> None:
    """Every field, and nobody is made."""
    house = process(db)
    with pytest.raises(Invalid) as caught:
        await manage(house, **decided)
    assert fields == [violation.field for violation in caught.value.violations]
    assert [] == (await house.directory.page()).users


async def test_a_managed_user_never_signs_in(db: Database) -> None:
    """Nobody can tell that the address is there."""
    house = process(db)
    await manage(house, email=EMAIL)
    with pytest.raises(Unauthenticated) as caught:
        await login(house)
    assert "WRONG_CREDENTIALS" == caught.value.reason


async def test_a_list_has_everybody_once(db: Database) -> None:
    """The oldest first, page by page, while others are added."""
    clock = Clock()
    house = process(db, clock)
    made = []
    for number in range(5):
        clock.turn(seconds=number % 2)
        made.append(await manage(house, display_name=str(number)))
    seen, token = [], ""
    while True:
        page = await house.directory.page(size=2, token=token)
        seen += page.users
        if not (token := page.next_token):
            break
        clock.turn(seconds=1)
        if len(seen) == 2:
            made.append(await manage(house, display_name="late"))
    assert made == seen
    for bad in ("x", "größer"):
        with pytest.raises(Invalid):
            await house.directory.page(token=bad)
    with pytest.raises(Invalid):
        await house.directory.page(size=-1)


async def test_a_change_is_what_was_asked_for(db: Database) -> None:
    """Field by field; an external id can go, and go to somebody else."""
    house = process(db)
    made = await manage(house, external_id="crm-1")
    changes: dict[str, Any] = {"display_name": "Ada", "time_zone": "Asia/Tokyo", "role": "admin"}
    changed = await house.directory.update(made.id, changes)
    assert ("Ada", "Asia/Tokyo", "admin", "crm-1") == (
        changed.display_name,
        changed.time_zone,
        changed.role,
        changed.external_id,
    )
    assert changed == await house.directory.update(made.id, {"role": "admin"})
    await house.directory.update(made.id, {"external_id": ""})
    other = await manage(house, external_id="crm-1")
    with pytest.raises(Taken) as caught:
        await house.directory.update(made.id, {"external_id": "crm-1"})
    assert "EXTERNAL_ID_TAKEN" == caught.value.reason
    with pytest.raises(Invalid):
        await house.directory.update(other.id, {"role": ""})
    with pytest.raises(NotFound):
        await house.directory.update(uuid4(), {"display_name": "Nobody"})
    assert other == await house.directory.get(other.id)


async def test_who_is_disabled_is_out_everywhere(db: Database) -> None:
    """Sessions end, sign-ins and refreshes are refused; all of it comes back but the sessions."""
    here, there = process(db), process(db)
    ada = await register(here)
    assert await is_signed_in(there, ada.tokens.access_token)
    disabled = await here.directory.update(ada.user.id, {"disabled": True})
    assert disabled.disabled
    assert not await is_signed_in(here, ada.tokens.access_token)
    await sign_out_within_five_seconds(there, ada.tokens.access_token)
    with pytest.raises(Unauthenticated) as caught:
        await login(here)
    assert "USER_DISABLED" == caught.value.reason
    with pytest.raises(Unauthenticated):
        await here.rotation.exchange(ada.tokens.refresh_token)
    await here.directory.update(ada.user.id, {"disabled": False})
    again = await login(here)
    assert await is_signed_in(there, again.tokens.access_token)
    assert not await is_signed_in(there, ada.tokens.access_token)


async def test_signing_in_and_being_disabled_at_once(db: Database) -> None:
    """Whichever comes first: who is disabled afterwards has no session that works."""
    house = process(db)
    ada = await register(house)
    for _ in range(5):
        signed_in, _ = await asyncio.gather(
            login(house), house.directory.update(ada.user.id, {"disabled": True}), return_exceptions=True
        )
        if not isinstance(signed_in, BaseException):
            assert not await is_signed_in(process(db), signed_in.tokens.access_token)
        await house.directory.update(ada.user.id, {"disabled": False})


async def test_a_service_account_is_a_program(db: Database) -> None:
    """It has a name and keys, no address, no external id, no role."""
    house = process(db)
    account, made = await house.directory.create_service_account("Backend", KEY)
    assert ("service_account", "Backend") == (account.kind, account.display_name)
    identity = await house.authenticator.identify(made.secret)
    assert (account.id, True, True) == (identity.user_id, identity.is_admin, identity.may_act)
    for change in ({"external_id": "x"}, {"role": "admin"}, {"display_name": " "}):
        with pytest.raises(Invalid):
            await house.directory.update(account.id, change)
    with pytest.raises(Invalid) as caught:
        await house.directory.create_service_account(" ", KeySpec("", ["root"]))
    assert ["display_name", "key.display_name", "key.scopes[0]"] == [each.field for each in caught.value.violations]
    assert 1 == len((await house.directory.page()).users)
    await house.directory.update(account.id, {"disabled": True})
    with pytest.raises(Unauthenticated):
        await house.authenticator.identify(made.secret)


async def test_an_admin_who_can_sign_in_stays(db: Database) -> None:
    """By demotion, by disabling, by deletion; managed and disabled admins do not count."""
    house = process(db)
    last = await add_admin(db, house)
    managed = await manage(house)
    await house.directory.update(managed.id, {"role": "admin"})
    attempts: list[Any] = [
        lambda: house.directory.update(last.id, {"role": "user"}),
        lambda: house.directory.update(last.id, {"disabled": True}),
        lambda: house.directory.delete(last.id, actor_id=last.id),
    ]
    for attempt in attempts:
        with pytest.raises(Unmet) as caught:
            await attempt()
        assert "LAST_ADMIN" == caught.value.reason
        assert last == await house.directory.get(last.id)
    await house.directory.update(managed.id, {"role": "user"})
    other = await add_admin(db, house, "other@example.com")
    await house.directory.update(other.id, {"disabled": True})
    with pytest.raises(Unmet):
        await house.directory.update(last.id, {"role": "user"})
    await house.directory.update(other.id, {"disabled": False})
    await house.directory.update(last.id, {"role": "user"})


async def test_admins_who_end_each_other_leave_one(db: Database) -> None:
    """All at once, each another one."""
    house = process(db)
    admins = [await add_admin(db, house, f"admin-{number}@example.com") for number in range(6)]
    ends: list[Any] = [
        lambda who: house.directory.update(who, {"role": "user"}),
        lambda who: house.directory.update(who, {"disabled": True}),
        lambda who: house.directory.delete(who, actor_id=who),
    ]
    ended = await asyncio.gather(
        *(ends[number % 3](admin.id) for number, admin in enumerate(admins)), return_exceptions=True
    )
    assert ["LAST_ADMIN"] == [each.reason for each in ended if isinstance(each, Fault)]


async def test_a_deleted_user_takes_everything_along(db: Database, stranger: UUID) -> None:
    """Appointments, bookings of rooms, sessions, keys and roles; the room that they added stays, without them."""
    house = process(db)
    ada = await register(house)
    made = await house.keys.create(ada.user.id, KeySpec("Backend", ["appointments.read"]))
    mine, others = await add_room(db, ada.user.id), await add_room(db, stranger)
    booked = await booking.create(db, ada.user.id, shared(mine, others))
    await house.directory.delete(ada.user.id, actor_id=stranger)
    assert not await is_signed_in(house, ada.tokens.access_token)
    assert not await is_signed_in(house, made.secret)
    for gone in (
        lambda: house.directory.get(ada.user.id),
        lambda: booking.get(db, ada.user.id, booked.id),
        lambda: house.directory.delete(ada.user.id, actor_id=stranger),
    ):
        with pytest.raises(NotFound):
            await gone()
    await booking.create(db, stranger, shared(mine, others))
    assert 3 == (await resources.get(db, stranger, mine, is_admin=True)).role
    assert 0 == await audit(db)


async def test_a_deleted_users_series_leave_the_room(db: Database, stranger: UUID) -> None:
    """One without an end closes the room's time for ever; it is open again where somebody books."""
    house = process(db)
    made, room = await manage(house), await add_room(db, stranger)
    await series_booking.create(db, made.id, SeriesSpec(shared(room), "FREQ=WEEKLY"))
    in_two_years = shared(room, start=TEN + timedelta(weeks=104))
    with pytest.raises(Conflict):
        await booking.create(db, stranger, in_two_years)
    await house.directory.delete(made.id, actor_id=stranger)
    await booking.create(db, stranger, in_two_years)
    await booking.create(db, stranger, shared(room))
    await booking.create(db, stranger, shared(room, start=TEN + timedelta(weeks=208)))
    assert 0 == await audit(db)


async def test_an_erasure_waits_for_whoever_changes_a_room(db: Database, dsn: str, stranger: UUID) -> None:
    """They have the room and want its bookers next: the erasure may not have one of these and want the room."""
    house = process(db)
    made = await manage(house)
    room = await add_room(db, made.id)
    await booking.create(db, made.id, shared(room))
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with (
        await psycopg.AsyncConnection.connect(dsn) as manager,
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as watcher,
        asyncio.timeout(10),
    ):
        await manager.execute("SELECT FROM resources WHERE id = %s FOR UPDATE", [room])
        erasing = asyncio.create_task(house.directory.delete(made.id, actor_id=stranger))
        while not (await watcher.execute(waiting)).rowcount:  # noqa: ASYNC110 - it waits in another process
            await asyncio.sleep(0.01)
        await manager.execute("SELECT FROM subjects WHERE id = %s FOR NO KEY UPDATE NOWAIT", [made.id])
        await manager.commit()
        await erasing
    assert 0 == await audit(db)


async def test_nobody_has_the_address_of_nobody(db: Database) -> None:
    """The command line is told."""
    assert not await grant_admin(db, "nobody@example.com")
