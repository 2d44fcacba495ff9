"""Signing in with cheap hashes and a clock that tests turn, for the tests of auth."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from appointments import auth
from appointments.auth import Auth, Device, Passwords
from appointments.auth.accounts import SignIn
from appointments.auth.tokens import utc_now
from appointments.db import Database
from appointments.shared.errors import Unauthenticated

EMAIL = "ada@example.com"
PASSWORD = "correct horse"
SECRET = "a secret of at least thirty-two bytes"
LAPTOP = Device("Laptop", "192.0.2.1")
PHONE = Device("Phone", "192.0.2.2")


@dataclass
class Clock:
    """The time, until somebody turns it."""

    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        """The time."""
        return self.time

    def turn(self, **by: float) -> None:
        """Let time pass."""
        self.time += timedelta(**by)


def process(db: Database, clock: Clock | None = None, **given: Any) -> Auth:
    """Auth as one process has it; several on one database are several processes."""
    return auth.build(db, Passwords(cost=4), now=clock or utc_now, **({"secret": SECRET} | given))


async def register(house: Auth, email: str = EMAIL, device: Device = LAPTOP) -> SignIn:
    """A new account."""
    return await house.accounts.register(email, PASSWORD, "Ada", device)


async def login(house: Auth, email: str = EMAIL, device: Device = PHONE) -> SignIn:
    """Another session."""
    return await house.accounts.login(email, PASSWORD, device)


async def is_signed_in(house: Auth, access_token: str) -> bool:
    """Whether an access token works."""
    try:
        await house.authenticator.identify(access_token)
    except Unauthenticated:
        return False
    return True


async def sign_out_within_five_seconds(house: Auth, access_token: str) -> None:
    """Return when an access token has stopped working; fail if that takes too long."""
    async with asyncio.timeout(5):
        while await is_signed_in(house, access_token):  # noqa: ASYNC110 - another process cannot tell us
            await asyncio.sleep(0.05)


async def session_of(house: Auth, signed_in: SignIn) -> UUID:
    """The session of a sign-in."""
    session_id = (await house.authenticator.identify(signed_in.tokens.access_token)).session_id
    assert session_id
    return session_id


async def live_tokens(db: Database) -> int:
    """How many refresh tokens could be exchanged."""
    async with db.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id"
            " WHERE rotated_at IS NULL AND revoked_at IS NULL"
        )
        row = await cursor.fetchone()
    return int(row[0]) if row else 0
