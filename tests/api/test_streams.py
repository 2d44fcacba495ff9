"""Streams that stay open: an identity that has ended elsewhere ends them, however fresh what is remembered of it is."""

import asyncio
from uuid import UUID

import pytest

from appointments.api import streams
from appointments.api.rpc import RENEWED_SECONDS, Policy, Proof
from appointments.api.scopes import Rule
from appointments.auth import lookups
from appointments.auth.keys import READ, KeySpec
from appointments.db import Database
from appointments.shared.errors import Unauthenticated
from tests.auth.signing_in import login, process, register, session_of

CALENDAR = Rule((READ,))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are looked at without a pause. What calls remember is good for an hour, so a stream must ask anew."""
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(lookups, "FRESH_SECONDS", 3600.0)


async def fault_of(policy: Policy, user_id: UUID, credential: str, opened: asyncio.Event) -> str:
    """Hold a stream open until something ends it, and return the reason."""
    try:
        with policy.streams.admitted(user_id, Proof(credential, None, CALENDAR)):
            opened.set()
            await asyncio.Event().wait()
    except Unauthenticated as fault:
        return fault.reason
    return ""


async def opened(policy: Policy, user_id: UUID, credential: str) -> asyncio.Task[str]:
    """A stream that is open."""
    is_open = asyncio.Event()
    stream = asyncio.create_task(fault_of(policy, user_id, credential, is_open))
    await is_open.wait()
    return stream


async def kept_checking(policy: Policy, *ending: asyncio.Task[str]) -> list[str]:
    """Look at the streams again and again until these have ended; return why."""
    checking = asyncio.create_task(policy.streams.keep_checking())
    try:
        async with asyncio.timeout(20):
            return await asyncio.gather(*ending)
    finally:
        checking.cancel()


@pytest.mark.usefixtures("checks")
async def test_a_session_that_another_process_ends_ends_its_stream(db: Database) -> None:
    """Calls had just been told that it works. The stream of another session of the same person goes on."""
    here, elsewhere = process(db), process(db)
    ada, phone = await register(here), await login(here)
    policy = Policy(here.authenticator)
    ended = await opened(policy, ada.user.id, phone.tokens.access_token)
    goes_on = await opened(policy, ada.user.id, ada.tokens.access_token)
    await elsewhere.sessions.revoke(ada.user.id, await session_of(here, phone))
    assert ["SESSION_ENDED"] == await kept_checking(policy, ended)
    assert not goes_on.done()
    goes_on.cancel()
    await asyncio.gather(goes_on, return_exceptions=True)
    assert 0 == len(policy.streams)


@pytest.mark.usefixtures("checks")
async def test_a_key_that_another_process_revokes_ends_its_stream(db: Database) -> None:
    """As a session does."""
    here, elsewhere = process(db), process(db)
    ada = await register(here)
    key = await here.keys.create(ada.user.id, KeySpec("Backend", [READ]))
    await here.authenticator.identify(key.secret)
    policy = Policy(here.authenticator)
    ended = await opened(policy, ada.user.id, key.secret)
    await elsewhere.keys.revoke(ada.user.id, key.key.id)
    assert ["UNKNOWN_KEY"] == await kept_checking(policy, ended)


def test_the_checks_fit_into_five_seconds() -> None:
    """The pause, how old an answer about an identity may be then, and half a second for the question itself."""
    assert streams.CHECK_SECONDS + RENEWED_SECONDS <= 4.5
