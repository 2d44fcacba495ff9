"""Deliveries: signed, in order, at least once, whatever fails; and never to where they must not go."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from appointments.api.webhooks import _text, change_as_json
from appointments.calendar import booking, updating
from appointments.changes.sequencer import Sequencer
from appointments.changes.webhooks import deliveries, endpoints
from appointments.changes.webhooks.deliveries import Delivery
from appointments.changes.webhooks.endpoints import Spec, Webhook
from appointments.changes.webhooks.posting import Poster
from appointments.changes.webhooks.target import Target
from appointments.db import Database
from appointments.shared.errors import Invalid, NotFound, Unmet
from tests.changes.webhooks.receiver import Receiver, receiving
from tests.people import HOUR, TEN, spec

HERE = Target(plain=True, private=True)


def quick(attempts: int) -> timedelta:
    """A pause that tests can wait for."""
    return timedelta(milliseconds=10 * min(attempts, 5))


@asynccontextmanager
async def posting(db: Database, target: Target = HERE, *, posters: int = 1) -> AsyncIterator[None]:
    """Number and post, in so many processes' stead."""
    workers = [Poster(db, target, change_as_json, pause=quick) for _ in range(posters)]
    tasks = [asyncio.create_task(each.run()) for each in workers]
    numbering = asyncio.create_task(Sequencer(db).run())
    try:
        yield
    finally:
        await asyncio.gather(*(each.stop(5) for each in workers))
        numbering.cancel()
        await asyncio.gather(numbering, *tasks, return_exceptions=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """An endpoint."""
    async with receiving() as running:
        yield running


async def hook(db: Database, owner: UUID, receiver: Receiver, *kinds: str) -> Webhook:
    """A webhook that leads there."""
    webhook, secret = await endpoints.create(db, owner, Spec(receiver.url, kinds), HERE)
    receiver.secret = _text(secret)
    return webhook


async def settled(db: Database, webhook: Webhook, count: int) -> list[Delivery]:
    """All deliveries once so many of them wait no more."""
    async with asyncio.timeout(60):
        while True:
            found, _ = await deliveries.page(db, webhook, size=1000)
            if sum(each.state != "waiting" for each in found) >= count:
                return found
            await asyncio.sleep(0.02)


async def test_changes_arrive_signed_and_say_what_is_so_now(db: Database, owner: UUID, receiver: Receiver) -> None:
    """The signature is that of standardwebhooks; the receiver checks it."""
    webhook = await hook(db, owner, receiver)
    async with posting(db):
        created = await booking.create(db, owner, spec())
        await settled(db, webhook, 1)
        await updating.delete(db, owner, created.id)
        found = await settled(db, webhook, 2)
    assert ["appointment.created", "appointment.deleted"] == [body["type"] for _, body in receiver.taken]
    for (_, body), version in zip(receiver.taken, (1, 2), strict=True):
        assert (str(created.id), str(version)) == (body["data"]["id"], body["data"]["version"])
        assert "Haircut" == body["data"]["appointment"]["title"]
    assert "deleteTime" in receiver.taken[1][1]["data"]["appointment"]
    assert {str(each.id) for each in found} == {identifier for identifier, _ in receiver.taken}
    assert [("delivered", 1, 204)] * 2 == [(each.state, each.attempts, each.status) for each in found]


async def test_only_the_kinds_that_are_asked_for_arrive(db: Database, owner: UUID, receiver: Receiver) -> None:
    """And nothing of somebody else's, and nothing while it is disabled."""
    webhook = await hook(db, owner, receiver, "appointment.deleted")
    async with posting(db):
        created = await booking.create(db, owner, spec())
        await updating.delete(db, owner, created.id)
        await settled(db, webhook, 1)
        await endpoints.update(db, owner, webhook.id, {"disabled": True}, HERE)
        await updating.undelete(db, owner, created.id)
        await updating.delete(db, owner, created.id)
        await Sequencer(db).settle()
    assert ["appointment.deleted"] == [body["type"] for _, body in receiver.taken]
    assert 1 == len((await deliveries.page(db, webhook))[0])


async def test_a_receiver_that_fails_a_third_of_the_time_gets_everything_in_order(
    db: Database, owner: UUID, receiver: Receiver
) -> None:
    """Three processes post, 60 appointments change four times each: every version, those of one in order."""
    chance = random.Random(1)
    receiver.answer = lambda _: 500 if chance.random() < 1 / 3 else 200
    webhook = await hook(db, owner, receiver)
    async with posting(db, posters=3):
        for hours in range(60):
            created = await booking.create(db, owner, spec(TEN + hours * HOUR))
            for title in ("One", "Two"):
                await updating.update(db, owner, created.id, lambda old, title=title: replace(old, title=title))  # type: ignore[misc]
            await updating.delete(db, owner, created.id)
        found = await settled(db, webhook, 240)
    assert 240 == len(found)
    assert receiver.refused > 40
    versions: dict[str, list[int]] = defaultdict(list)
    for _, body in receiver.taken:
        versions[body["data"]["id"]].append(int(body["data"]["version"]))
    assert 60 == len(versions)
    for seen in versions.values():
        assert [1, 2, 3, 4] == list(dict.fromkeys(seen))
        assert sorted(seen) == seen


async def test_a_killed_process_leaves_its_work_to_others(db: Database, owner: UUID, receiver: Receiver) -> None:
    """The lease ends by itself, within a minute; until then what comes after it waits."""
    webhook = await hook(db, owner, receiver)
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    await Sequencer(db).settle()
    (leased,) = await deliveries.lease(db, UUID(int=1), 10)
    assert [] == await deliveries.lease(db, UUID(int=2), 10)
    async with db.connection() as connection:
        cursor = await connection.execute("SELECT due_at - now() FROM webhook_deliveries WHERE lease IS NOT NULL")
        row = await cursor.fetchone()
        assert row
        assert row[0] < timedelta(seconds=60)
        await connection.execute("UPDATE webhook_deliveries SET due_at = now() WHERE lease IS NOT NULL")
    async with posting(db):
        await settled(db, webhook, 2)
    await deliveries.delivered(db, leased, UUID(int=1), 200)  # the dead one comes back, and changes nothing
    assert [1, 2] == [int(body["data"]["version"]) for _, body in receiver.taken]


async def test_410_ends_a_webhook(db: Database, owner: UUID, receiver: Receiver) -> None:
    """At once, and what waits is given up. Enabling it begins anew."""
    receiver.answer = lambda _: 410
    webhook = await hook(db, owner, receiver)
    async with posting(db):
        await booking.create(db, owner, spec())
        await settled(db, webhook, 1)
        await booking.create(db, owner, spec(TEN + HOUR))
        await Sequencer(db).settle()
        now = await endpoints.get(db, owner, webhook.id)
        assert (True, "gone") == (now.disabled_at is not None, now.disable_reason)
        assert 1 == receiver.refused
        receiver.answer = lambda _: 200
        again = await endpoints.update(db, owner, webhook.id, {"disabled": False}, HERE)
        assert (None, None, None) == (again.disabled_at, again.disable_reason, again.failing_since_at)
        await booking.create(db, owner, spec(TEN + 2 * HOUR))
        await settled(db, webhook, 2)
    assert 1 == len(receiver.taken)


@pytest.mark.parametrize(("days", "disabled"), [(4, False), (6, True)])
async def test_a_webhook_that_only_fails_is_disabled_after_five_days(
    db: Database, owner: UUID, receiver: Receiver, days: int, disabled: bool
) -> None:
    """Counted from the first failure after the last success."""
    receiver.answer = lambda _: 503
    webhook = await hook(db, owner, receiver)
    async with db.connection() as connection:
        await connection.execute("UPDATE webhooks SET failing_since_at = now() - %s * interval '1 day'", [days])
    async with posting(db):
        await booking.create(db, owner, spec())
        async with asyncio.timeout(20):
            while receiver.refused < 2:
                if (await endpoints.get(db, owner, webhook.id)).disabled_at is not None:
                    break
                await asyncio.sleep(0.02)
    assert disabled == ((await endpoints.get(db, owner, webhook.id)).disable_reason == "failing")


async def test_a_delivery_is_given_up_after_seventy_two_hours_and_can_be_posted_again(
    db: Database, owner: UUID, receiver: Receiver
) -> None:
    """Then the next change of the same appointment has its turn."""
    receiver.answer = lambda body: 500 if body["data"]["version"] == "1" else 200
    webhook = await hook(db, owner, receiver)
    created = await booking.create(db, owner, spec())
    await updating.delete(db, owner, created.id)
    await Sequencer(db).settle()
    async with db.connection() as connection:
        await connection.execute(
            "UPDATE webhook_deliveries SET begun_at = now() - interval '73 hours' WHERE version = 1"
        )
    async with posting(db):
        found = {each.version: each for each in await settled(db, webhook, 2)}
        assert ("failed", 500, "answered 500") == (found[1].state, found[1].status, found[1].error)
        assert "delivered" == found[2].state
        receiver.answer = lambda _: 200
        again = await deliveries.redeliver(db, owner, found[1].id)
        assert ("waiting", found[1].id) == (again.state, again.id)
        await settled(db, webhook, 2)
    assert ["2", "1"] == [body["data"]["version"] for _, body in receiver.taken]


async def test_both_secrets_sign_while_one_follows_the_other(db: Database, owner: UUID, receiver: Receiver) -> None:
    """A receiver with either of them can check; after a day the old one signs no more."""
    webhook = await hook(db, owner, receiver)
    old = receiver.secret
    new = _text(await endpoints.rotate(db, owner, webhook.id))
    async with posting(db):
        for number, secret in enumerate((old, new), start=1):
            receiver.secret = secret
            await deliveries.ping(db, webhook)
            await settled(db, webhook, number)
        async with db.connection() as connection:
            await connection.execute("UPDATE webhooks SET previous_ends_at = now()")
        await deliveries.ping(db, webhook)
        await settled(db, webhook, 3)
    assert ["ping"] * 3 == [body["type"] for _, body in receiver.taken]
    assert [2, 2, 1] == [len(each["webhook-signature"].split()) for each in receiver.headers]


async def test_nothing_is_posted_inside(db: Database, owner: UUID, receiver: Receiver) -> None:
    """Not even if the URL was allowed once, or its name has come to mean something else."""
    webhook = await hook(db, owner, receiver)
    by_name, _ = await endpoints.create(db, owner, Spec(receiver.url.replace("127.0.0.1", "127.1")), HERE)
    async with posting(db, Target(plain=True)):
        for each in (webhook, by_name):
            await deliveries.ping(db, each)
            async with asyncio.timeout(20):
                while not (await deliveries.page(db, each))[0][0].error:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            (failed,), _ = await deliveries.page(db, each)
            assert "public address" in failed.error
    assert ([], 0) == (receiver.taken, receiver.refused)


async def test_a_redirect_is_no_success(db: Database, owner: UUID, receiver: Receiver) -> None:
    """It is not followed: it could lead inside."""
    receiver.answer = lambda _: 302
    webhook = await hook(db, owner, receiver)
    async with posting(db):
        await deliveries.ping(db, webhook)
        async with asyncio.timeout(20):
            while (await deliveries.page(db, webhook))[0][0].status != 302:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert [] == receiver.taken


async def test_what_is_somebody_elses_is_not_found(
    db: Database, owner: UUID, stranger: UUID, receiver: Receiver
) -> None:
    """Neither webhooks nor deliveries."""
    webhook = await hook(db, owner, receiver)
    ping = await deliveries.ping(db, webhook)
    for attempt in (
        endpoints.get(db, stranger, webhook.id),
        endpoints.update(db, stranger, webhook.id, {"url": "https://example.com"}, HERE),
        endpoints.delete(db, stranger, webhook.id),
        endpoints.rotate(db, stranger, webhook.id),
        deliveries.redeliver(db, stranger, ping.id),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert [] == await endpoints.all_of(db, stranger)


async def test_bounds_are_kept(db: Database, owner: UUID) -> None:
    """Unknown kinds, kinds twice, too many webhooks."""
    for kinds in (("appointment.made",), ("appointment.created",) * 2):
        with pytest.raises(Invalid):
            await endpoints.create(db, owner, Spec("https://example.com/", kinds), HERE)
    for _ in range(endpoints.MOST):
        await endpoints.create(db, owner, Spec("https://example.com/"), HERE)
    with pytest.raises(Unmet):
        await endpoints.create(db, owner, Spec("https://example.com/"), HERE)


async def test_what_is_old_or_belongs_to_nobody_is_swept(db: Database, owner: UUID, receiver: Receiver) -> None:
    """Deliveries of a disabled webhook are given up; those of one that is gone go."""
    webhook = await hook(db, owner, receiver)
    await deliveries.ping(db, webhook)
    await endpoints.update(db, owner, webhook.id, {"disabled": True}, HERE)
    await deliveries.sweep(db)
    (given_up,), _ = await deliveries.page(db, webhook)
    assert "failed" == given_up.state
    with pytest.raises(Unmet):
        await deliveries.redeliver(db, owner, given_up.id)
    async with db.connection() as connection:
        await connection.execute("DELETE FROM webhooks")
    await deliveries.sweep(db)
    assert ([], "") == await deliveries.page(db, webhook)


async def test_deliveries_are_listed_page_by_page(db: Database, owner: UUID, receiver: Receiver) -> None:
    """The newest first; a token of another webhook is none."""
    webhook = await hook(db, owner, receiver)
    made = [(await deliveries.ping(db, webhook)).id for _ in range(5)]
    seen: list[Any] = []
    token = ""
    while True:
        found, token = await deliveries.page(db, webhook, size=2, token=token)
        seen += [each.id for each in found]
        if not token:
            break
    assert made[::-1] == seen
    other = await hook(db, owner, receiver)
    _, token = await deliveries.page(db, webhook, size=2)
    with pytest.raises(Invalid):
        await deliveries.page(db, other, token=token)


def test_pauses_grow_and_have_an_end() -> None:
    """From seconds to hours, never longer than six and a quarter more."""
    pauses = [deliveries.pause_after(attempts, 1.25) for attempts in range(1, 40)]
    assert timedelta(seconds=6.25) == pauses[0]
    assert sorted(pauses) == pauses
    assert timedelta(hours=7.5) == pauses[-1]
