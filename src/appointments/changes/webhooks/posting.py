"""Posts due deliveries, a few at a time, until it is told to stop.

Any number of processes may post: each delivery is leased by one of them. If a process is killed, another one takes its
deliveries when the lease ends.
"""

import asyncio
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import structlog
from standardwebhooks import Webhook as Signer

from appointments.changes import reading
from appointments.changes.cursor import Follower
from appointments.changes.reading import Change, Entry
from appointments.changes.webhooks import deliveries
from appointments.changes.webhooks.deliveries import PING, Leased
from appointments.changes.webhooks.target import Refused, Target
from appointments.db import Database, instant
from appointments.mail import MAIL_OFF, Outbox
from appointments.shared import metrics
from appointments.shared.errors import Unavailable

TIMEOUT_SECONDS = 10.0
"""How long an endpoint may take to answer, including the resolution of its name."""

POLL_SECONDS = 0.5
AWAY_SECONDS = 2.0
AT_ONCE = 16
GONE = 410

_log = structlog.get_logger("appointments.changes.webhooks")

ToJson = Callable[[Change], Any]
"""Turns a change into JSON. It is passed in, because this room does not know the contract's messages."""


class Poster:
    """Posts on behalf of one process. Who owns a webhook that is disabled is told by ``outbox``."""

    def __init__(
        self,
        db: Database,
        target: Target,
        to_json: ToJson,
        *,
        outbox: Outbox = MAIL_OFF,
        pause: Callable[[int], timedelta] | None = None,
    ) -> None:
        self._db = db
        self._target = target
        self._to_json = to_json
        self._outbox = outbox
        self._pause = pause or _pause
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False

    async def run(self) -> None:
        """Post deliveries as they become due, until :meth:`stop`."""
        async with httpx.AsyncClient(
            follow_redirects=False, trust_env=False, timeout=TIMEOUT_SECONDS, headers={"user-agent": "appointments"},
            limits=httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=0),
        ) as client:  # fmt: skip
            while not self._stopping:
                leased = 0
                try:
                    leased = await self._begin(client)
                except Unavailable:
                    await asyncio.sleep(AWAY_SECONDS)
                except Exception as error:  # noqa: BLE001 - the last line: nothing would be posted any more
                    _log.error("deliveries cannot be read", exc_info=error)
                if not leased or len(self._running) >= AT_ONCE:
                    await self._rest()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def stop(self, seconds: float) -> None:
        """Start nothing more, and give running deliveries so many seconds. Others are posted when their lease ends."""
        self._stopping = True
        self._wake.set()
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()

    async def _rest(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _begin(self, client: httpx.AsyncClient) -> int:
        most = AT_ONCE - len(self._running)
        if most <= 0:
            return 0
        lease = uuid4()
        leased = await deliveries.lease(self._db, lease, most)
        for each in leased:
            task = asyncio.create_task(self._deliver(client, each, lease))
            self._running.add(task)
            task.add_done_callback(self._ended)
        return len(leased)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            # The outcome could not be written, so the delivery is posted again when its lease ends.
            _log.warning("the end of a delivery could not be recorded", error=repr(error))

    async def _deliver(self, client: httpx.AsyncClient, leased: Leased, lease: UUID) -> None:
        status, error = 0, ""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status = await self._post(client, leased)
        except TimeoutError:
            error = f"no answer within {TIMEOUT_SECONDS:.0f} seconds"
        except (Refused, httpx.HTTPError, httpx.InvalidURL) as reason:
            error = str(reason) or type(reason).__name__
        else:
            error = "" if 200 <= status < 300 else f"answered {status}"
        ids = {"webhook_id": str(leased.webhook_id), "id": str(leased.id)}
        _log.info("webhook", **ids, attempts=leased.attempts, status=status, error=error)
        metrics.WEBHOOKS.labels("failed" if error else "delivered").inc()
        if not error:
            await deliveries.delivered(self._db, leased, lease, status)
            return
        disabled = await deliveries.failed(
            self._db,
            leased,
            lease,
            status=status,
            error=error,
            pause=self._pause(leased.attempts),
            gone=status == GONE,
            outbox=self._outbox,
        )
        if disabled:
            metrics.WEBHOOKS_DISABLED.inc()
            _log.warning("webhook disabled", webhook_id=str(leased.webhook_id), status=status)

    async def _post(self, client: httpx.AsyncClient, leased: Leased) -> int:
        parts = urlsplit(leased.url)
        if problem := self._target.problem(leased.url):
            raise Refused(problem)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._target.address(host, port)
        body = json.dumps(await self._body(leased), ensure_ascii=False)
        # Connect to the address that was checked. The Host header and the certificate's name are still the host's.
        request = client.build_request(
            "POST",
            httpx.URL(leased.url).copy_with(host=address),
            content=body.encode(),
            headers={"host": parts.netloc, "content-type": "application/json", **_signed(leased, body)},
            extensions={"sni_hostname": host},
        )
        response = await client.send(request, stream=True)
        await response.aclose()  # only the status matters
        return response.status_code

    async def _body(self, leased: Leased) -> dict[str, Any]:
        changed_at = instant(leased.changed_at).isoformat().replace("+00:00", "Z")
        if leased.kind == PING or leased.item_id is None:
            return {"type": PING, "timestamp": changed_at, "data": {}}
        entry = Entry(
            leased.position, leased.owner_id, leased.kind, leased.item_id, leased.version, leased.actor_id,
            leased.request_id, leased.fields, leased.changed_at,
        )  # fmt: skip
        found = await reading.items(self._db, [entry])
        seen = await reading.seen(self._db, Follower(leased.owner_id), reading.NO_ROLES, [entry], found)
        (change,) = seen.changes
        return {"type": leased.kind, "timestamp": changed_at, "data": self._to_json(change)}


def _signed(leased: Leased, body: str) -> dict[str, str]:
    now = datetime.now(UTC)
    secrets = [secret for secret in (leased.secret, leased.previous_secret) if secret]
    signatures = [Signer(secret).sign(str(leased.id), now, body) for secret in secrets]
    return {
        "webhook-id": str(leased.id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def _pause(attempts: int) -> timedelta:
    return deliveries.pause_after(attempts, random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
