"""Streams that stay open: how many there may be, for how long, and that they end with the identity that opened them."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import pytest

from appointments.api import streams
from appointments.api.rpc import RENEWED_SECONDS, Policy, Proof
from appointments.api.scopes import Rule
from appointments.api.streams import Stream, Streams
from appointments.auth import lookups
from appointments.auth.keys import READ, KeySpec
from appointments.db import Database
from appointments.shared.errors import STATUSES, Fault, Unauthenticated, Unavailable
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


async def nobody_asks(_: Sequence[Stream[None]]) -> None:
    """These tests are not about identities."""


async def held(open_streams: Streams[None], user_id: UUID) -> str:
    """Hold a stream open until it ends, and return how: "" for by itself."""
    try:
        with open_streams.admitted(user_id, None):
            await asyncio.Event().wait()
    except Fault as fault:
        return fault.reason
    return ""


async def test_streams_end_by_themselves_after_fifteen_to_thirty_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silently, so that the client goes on from its cursor, and not all at once. The loop's clock is put forward."""
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    monkeypatch.setattr(streams, "CHECK_SECONDS", 0.01)
    many: Streams[None] = Streams(nobody_asks)
    holding = [asyncio.create_task(held(many, UUID(int=number))) for number in range(200)]
    checking = asyncio.create_task(many.keep_checking())

    try:
        await asyncio.sleep(0.1)  # ten looks at them all
        assert 200 == len(many)
        # Half a minute less than the least: a busy machine may have taken some of it by now.
        ahead = 14.5 * 60
        await asyncio.sleep(0.1)
        assert 200 == len(many)
        ahead = 22.5 * 60
        async with asyncio.timeout(20):
            while len(many) == 200:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.01)
        assert 0 < len(many)
        ahead = 30 * 60
        async with asyncio.timeout(20):
            ended = await asyncio.gather(*holding)
    finally:
        checking.cancel()
        for task in holding:
            task.cancel()
    assert [""] * 200 == ended


async def test_a_process_refuses_the_stream_after_ten_thousand() -> None:
    """UNAVAILABLE, with when to come back; as soon as one has ended there is room."""
    many: Streams[None] = Streams(nobody_asks)
    holding = [asyncio.create_task(held(many, UUID(int=number % 500))) for number in range(streams.MOST)]
    try:
        await asyncio.sleep(0)
        assert 10_000 == len(many)
        with pytest.raises(Unavailable) as refused:
            many.admitted(UUID(int=1000), None)
        assert ("Too many streams are open here.", "TOO_MANY_STREAMS", 5.0) == (
            str(refused.value), refused.value.reason, refused.value.retry_after,
        )  # fmt: skip
        status = STATUSES[type(refused.value)]
        assert ("UNAVAILABLE", 503) == (status.grpc, status.http)
        holding[0].cancel()
        await asyncio.gather(holding[0], return_exceptions=True)
        with many.admitted(UUID(int=1000), None):
            assert 10_000 == len(many)
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)
    assert 0 == len(many)
