"""Links that prove an address: verification, change of address, a new password; and the notices about an account."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from appointments.auth import Auth
from appointments.db import Database
from appointments.shared.errors import Invalid, Taken, Unauthenticated, Unmet
from tests.auth.signing_in import (
    EMAIL,
    LAPTOP,
    PASSWORD,
    PHONE,
    SECRET,
    Clock,
    is_signed_in,
    login,
    process,
    register,
)
from tests.mailroom import Mailroom, link, text, token

NEW = "a new password"


class House:
    """One process with mail."""

    def __init__(self, db: Database, path: Path, clock: Clock | None = None, **secrets: Any) -> None:
        self.mail = Mailroom(db, path, **secrets)
        self.auth: Auth = process(db, clock, post=self.mail.post)

    async def subjects(self) -> list[tuple[str, str]]:
        """To whom new messages went, and what of."""
        return [(message["To"], message["Subject"]) for message in await self.mail.new(self.auth)]

    async def token(self) -> str:
        """Of the link in the one new message."""
        (message,) = await self.mail.new(self.auth)
        return token(message)


@pytest.fixture
def house(db: Database, tmp_path: Path) -> House:
    """A process with mail."""
    return House(db, tmp_path)


async def verified(house: House, email: str = EMAIL) -> None:
    """An account whose address is confirmed."""
    await register(house.auth, email)
    await house.auth.mailed_links.verify(await house.token())


async def is_verified(house: House) -> bool:
    """Whether the account's address is confirmed."""
    return (await login(house.auth, device=LAPTOP)).user.email_verified


async def test_who_registers_confirms_the_address(house: House) -> None:
    """By a link, which may be looked at as often as scanners like, and works once."""
    await register(house.auth)
    (message,) = await house.mail.new(house.auth)
    assert (EMAIL, "Confirm your e-mail address") == (message["To"], message["Subject"])
    assert link(message).startswith("https://calendar.example.com/verify-email/")
    for _ in range(3):
        assert EMAIL == await house.auth.mailed_links.look("verify", token(message))
    assert not await is_verified(house)
    assert EMAIL == await house.auth.mailed_links.verify(token(message))
    assert await is_verified(house)
    with pytest.raises(Invalid) as refused:
        await house.auth.mailed_links.verify(token(message))
    assert ("INVALID_TOKEN", None) == (
        refused.value.reason,
        await house.auth.mailed_links.look("verify", token(message)),
    )


async def test_a_link_is_of_one_purpose_and_ends(db: Database, tmp_path: Path) -> None:
    """A day later it is dead, and a link to confirm sets no password."""
    clock = Clock()
    house = House(db, tmp_path, clock)
    await register(house.auth)
    confirmation = await house.token()
    for attempt in (house.auth.mailed_links.reset(confirmation, NEW), house.auth.mailed_links.change(confirmation)):
        with pytest.raises(Invalid):
            await attempt
    clock.turn(hours=24)
    with pytest.raises(Invalid):
        await house.auth.mailed_links.verify(confirmation)


async def test_only_the_newest_link_works(house: House) -> None:
    """And of two that were asked for at once one is sent at all."""
    user_id = (await register(house.auth)).user.id
    first = await house.token()
    await house.auth.mailed_links.request_verification(user_id)
    second = await house.token()
    assert [None, EMAIL] == [await house.auth.mailed_links.look("verify", each) for each in (first, second)]
    await house.auth.mailed_links.request_verification(user_id)
    await house.auth.mailed_links.request_verification(user_id)
    third = await house.token()
    await house.auth.mailed_links.verify(third)
    await house.auth.mailed_links.request_verification(user_id)
    assert [] == await house.subjects()


async def test_a_forgotten_password_is_set_anew(house: House) -> None:
    """Once; every session ends, the old password is dead, and the address is proved by it."""
    before = await register(house.auth)
    await house.subjects()
    await house.auth.mailed_links.request_reset(EMAIL.upper())
    reset = await house.token()
    await house.auth.mailed_links.reset(reset, NEW)
    assert not await is_signed_in(house.auth, before.tokens.access_token)
    with pytest.raises(Unauthenticated):
        await login(house.auth)
    assert (await house.auth.accounts.login(EMAIL, NEW, LAPTOP)).user.email_verified
    with pytest.raises(Invalid) as refused:
        await house.auth.mailed_links.reset(reset, PASSWORD)
    assert "INVALID_TOKEN" == refused.value.reason
    assert [(EMAIL, "Your password was changed")] == await house.subjects()


async def test_of_twenty_who_use_a_link_at_once_one_has_success(house: House, db: Database, tmp_path: Path) -> None:
    """In several processes."""
    await verified(house)
    await house.auth.mailed_links.request_reset(EMAIL)
    reset = await house.token()
    houses = [House(db, tmp_path).auth for _ in range(4)]
    results = await asyncio.gather(
        *(houses[number % 4].mailed_links.reset(reset, f"{NEW} {number}") for number in range(20)),
        return_exceptions=True,
    )
    winners = [number for number, result in enumerate(results) if result is None]
    assert 1 == len(winners)
    assert {"Invalid"} == {type(result).__name__ for result in results if result is not None}
    await house.auth.accounts.login(EMAIL, f"{NEW} {winners[0]}", LAPTOP)


async def test_a_reset_link_that_is_late_or_replaced_does_nothing(db: Database, tmp_path: Path) -> None:
    """Thirty minutes, and the newest only; a link of another account is of that account."""
    clock = Clock()
    house = House(db, tmp_path, clock)
    await verified(house)
    await verified(house, "bob@example.com")
    await house.auth.mailed_links.request_reset(EMAIL)
    first = await house.token()
    await house.auth.mailed_links.request_reset(EMAIL)
    second = await house.token()
    await house.auth.mailed_links.request_reset("bob@example.com")
    bobs = await house.token()
    clock.turn(minutes=29)
    with pytest.raises(Invalid):
        await house.auth.mailed_links.reset(first, NEW)
    await house.auth.mailed_links.reset(bobs, NEW)
    await login(house.auth)  # Ada's is as it was
    clock.turn(minutes=2)
    with pytest.raises(Invalid):
        await house.auth.mailed_links.reset(second, NEW)


async def test_a_new_password_has_to_be_one(house: House) -> None:
    """A bad one is named, and does not use the link up."""
    await verified(house)
    await house.auth.mailed_links.request_reset(EMAIL)
    reset = await house.token()
    for bad in ("short", "x" * 73, "nul \x00 nul nul"):
        with pytest.raises(Invalid) as refused:
            await house.auth.mailed_links.reset(reset, bad)
        assert ["password"] == [violation.field for violation in refused.value.violations]
    await house.auth.mailed_links.reset(reset, NEW)


async def test_nobody_learns_which_addresses_have_accounts(house: House) -> None:
    """Asking for a reset is the same for all; only the job knows, and mails those who have one."""
    await verified(house)
    for email in (EMAIL, "nobody@example.com"):
        await house.auth.mailed_links.request_reset(email)
    assert [(EMAIL, "Set a new password")] == await house.subjects()


@pytest.mark.parametrize("bad", ["", "x" * 43, "\ud800", "../../etc", "a" * 10_000])
async def test_what_was_never_a_token_does_not_work(house: House, bad: str) -> None:
    """Whatever somebody sends."""
    for attempt in (
        house.auth.mailed_links.verify(bad),
        house.auth.mailed_links.change(bad),
        house.auth.mailed_links.reset(bad, NEW),
    ):
        with pytest.raises(Invalid) as refused:
            await attempt
        assert "INVALID_TOKEN" == refused.value.reason


async def test_the_database_does_not_hold_what_a_link_needs(house: House, db: Database) -> None:
    """Neither the token nor anything that it can be computed from without the server's secret."""
    await register(house.auth)
    reset = await house.token()
    async with db.connection() as connection:
        for table in ("mail_links", "outbox", "jobs"):
            cursor = await connection.execute(
                f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE %s", [f"%{reset}%"]
            )
            assert (0,) == await cursor.fetchone()


async def test_links_outlive_a_rotation_of_the_secret(db: Database, tmp_path: Path) -> None:
    """What was mailed before works after; what was asked for before and is mailed after works too."""
    old = House(db, tmp_path)
    await register(old.auth)
    mailed = await old.token()
    await register(old.auth, "bob@example.com")
    new = House(db, tmp_path / "new", secret="another secret of thirty-two bytes", previous=SECRET)
    await new.auth.mailed_links.verify(await new.token())
    await new.auth.mailed_links.verify(mailed)


async def test_an_address_is_changed_at_the_new_one_and_the_old_one_is_told(house: House) -> None:
    """Sessions go on; the old address signs in no more, and links that went there are dead."""
    signed_in = await register(house.auth)
    await house.subjects()
    await house.auth.mailed_links.request_reset(EMAIL)
    old_link = await house.token()
    await house.auth.mailed_links.request_change(signed_in.user.id, "ADA@new.example")
    (message,) = await house.mail.new(house.auth)
    assert ("ada@new.example", "Confirm your new e-mail address") == (message["To"], message["Subject"])
    await login(house.auth)  # until it is confirmed nothing has changed
    assert "ada@new.example" == await house.auth.mailed_links.change(token(message))
    assert [(EMAIL, "Your e-mail address was changed")] == await house.subjects()
    assert (await house.auth.accounts.login("ada@new.example", PASSWORD, LAPTOP)).user.email_verified
    for refused in (login(house.auth), house.auth.mailed_links.reset(old_link, NEW)):
        with pytest.raises((Unauthenticated, Invalid)):
            await refused
    assert await is_signed_in(house.auth, signed_in.tokens.access_token)


async def test_an_address_that_is_taken_is_not_taken_away(house: House) -> None:
    """When the change is asked for, and when it is confirmed."""
    ada = (await register(house.auth)).user
    await house.subjects()
    await house.auth.mailed_links.request_change(ada.id, "bob@example.com")
    change = await house.token()
    await register(house.auth, "bob@example.com")
    with pytest.raises(Taken):
        await house.auth.mailed_links.change(change)
    with pytest.raises(Taken):
        await house.auth.mailed_links.request_change(ada.id, "BOB@example.com")
    for bad in ("no address", EMAIL, ""):
        with pytest.raises(Invalid):
            await house.auth.mailed_links.request_change(ada.id, bad)
    assert EMAIL == (await house.auth.accounts.get(ada.id)).email


async def test_people_are_told_what_happens_to_their_accounts(house: House) -> None:
    """A device that was not seen before, a changed password, a stolen session; and nothing else."""
    signed_in = await register(house.auth, device=LAPTOP)
    await house.auth.mailed_links.verify(await house.token())
    await login(house.auth, device=LAPTOP)
    assert [] == await house.subjects()
    phone = await login(house.auth, device=PHONE)
    (message,) = await house.mail.new(house.auth)
    assert "A new device signed in" == message["Subject"]
    assert ("Phone" in text(message), "192.0.2.2" in text(message)) == (True, True)
    await login(house.auth, device=PHONE)
    assert [] == await house.subjects()

    session = await house.auth.authenticator.identify(signed_in.tokens.access_token)
    await house.auth.accounts.change_password(signed_in.user.id, session.session_id, PASSWORD, NEW)
    assert [(EMAIL, "Your password was changed")] == await house.subjects()
    assert not await is_signed_in(house.auth, phone.tokens.access_token)

    await house.auth.rotation.exchange(signed_in.tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await house.auth.rotation.exchange(signed_in.tokens.refresh_token)
    with pytest.raises(Unauthenticated):
        await house.auth.rotation.exchange(signed_in.tokens.refresh_token)
    assert [(EMAIL, "You were signed out everywhere")] == await house.subjects()


async def test_an_address_that_nobody_confirmed_gets_no_notices(house: House) -> None:
    """It may be somebody else's."""
    await register(house.auth, device=LAPTOP)
    await house.subjects()
    await login(house.auth, device=PHONE)
    assert [] == await house.subjects()


async def test_a_device_cannot_write_the_notice(house: House) -> None:
    """Its User-Agent is data."""
    await verified(house)
    hostile = PHONE.__class__('x\r\nBcc: eve@example.com\r\n\r\n<script>"</script>', "192.0.2.7")
    await login(house.auth, device=hostile)
    (message,) = await house.mail.new(house.auth)
    html = message.get_body(("html",))
    assert html is not None
    assert (None, False) == (message["Bcc"], "<script" in html.get_content())


async def test_without_mail_nothing_is_mailed_and_it_says_so(db: Database) -> None:
    """Nobody waits for a message that never comes."""
    auth = process(db)
    user_id = (await register(auth)).user.id
    for attempt in (
        auth.mailed_links.request_reset(EMAIL),
        auth.mailed_links.request_verification(user_id),
        auth.mailed_links.request_change(user_id, "new@example.com"),
    ):
        with pytest.raises(Unmet) as refused:
            await attempt
        assert "MAIL_OFF" == refused.value.reason
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM jobs)")
        assert (0,) == await cursor.fetchone()


async def test_who_may_not_sign_in_gets_no_new_password(house: House) -> None:
    """A managed user, though they have an address; and who is disabled, also by a link from before."""
    await house.auth.directory.create(display_name="", time_zone="", external_id="", email=EMAIL)
    await house.auth.mailed_links.request_reset(EMAIL)
    assert [] == await house.subjects()
    disabled = await register(house.auth, "bob@example.com")
    await house.subjects()
    await house.auth.mailed_links.request_reset("bob@example.com")
    reset = await house.token()
    await house.auth.directory.update(disabled.user.id, {"disabled": True})
    with pytest.raises(Invalid) as refused:
        await house.auth.mailed_links.reset(reset, NEW)
    assert "INVALID_TOKEN" == refused.value.reason
    await house.auth.mailed_links.request_reset("bob@example.com")
    assert [] == await house.subjects()
    await house.auth.directory.update(disabled.user.id, {"disabled": False})
    with pytest.raises(Unauthenticated):
        await house.auth.accounts.login("bob@example.com", NEW, LAPTOP)
    await house.auth.mailed_links.reset(reset, NEW)
    await house.auth.accounts.login("bob@example.com", NEW, LAPTOP)
