"""How a server leaves so that nothing is lost: the order is everything.

Readiness and health turn first, so that balancers look elsewhere; but not where another server has taken over the same
ports, for then elsewhere is here. HTTP clients are asked to leave by every answer; then streams are ended with
UNAVAILABLE, so that their clients go too, and calls in flight end. Native calls come last.
"""

import asyncio
from dataclasses import dataclass

import grpc
import structlog

from appointments.api.gate import Gate
from appointments.api.grpcweb.front import Front
from appointments.api.health import Health, Readiness
from appointments.api.streams import Streams
from appointments.server.listener import Listener

QUIET_SECONDS = 1.0
"""How long HTTP clients get to send what they had begun to send, and to learn that they should leave."""

SHUT_SECONDS = 0.5
"""How long native newcomers may be refused: well within the patience of a client that retries."""

FLUSH_SECONDS = 0.05
"""What the last answers, and the word to those who watch the health, get to reach the wire."""

_log = structlog.get_logger("appointments")


@dataclass(frozen=True)
class Servers:
    """What listens, and what it takes to make it stop."""

    native: grpc.aio.Server
    web: Listener
    front: Front
    gate: Gate
    streams: Streams
    readiness: Readiness
    health: Health


async def drain(servers: Servers, *, seconds: float, lame_duck: float, succeeded: bool, ending: bool) -> None:
    """Leave both ports, with ``seconds`` for what is in flight.

    ``succeeded``: another server has taken over the same ports, and what arrives from now on is for it. Otherwise
    everything is still served for ``lame_duck`` seconds, for balancers to take notice. ``ending``: the process ends at
    once after this, and the native server may be left to that.
    """
    _log.info("draining", seconds=seconds, succeeded=succeeded)
    servers.web.retire()
    if succeeded:
        servers.web.stop_accepting()
    else:
        servers.readiness.draining = True
        await servers.health.drain()
        await asyncio.sleep(lame_duck)
    # Streams go first, with a cursor to go on from: their clients have time to find another server.
    await servers.streams.drain(seconds / 2)
    # A connection at rest may have a request on its way. The answer asks it to leave; few last longer than that.
    await servers.web.quiet(QUIET_SECONDS)
    await asyncio.gather(servers.front.drain(seconds), servers.web.close(seconds))
    await _leave_native(servers, seconds, ending=ending)


async def _leave_native(servers: Servers, seconds: float, *, ending: bool) -> None:
    """Stop without failing a call that its client would not try again.

    Any stop answers with CANCELLED what arrives before the client has seen the GOAWAY (grpc issue 41785), and retry
    policies name UNAVAILABLE. So where no call is left inside, the server stays up, refusing, until the process ends: a
    connection that the kernel closes is UNAVAILABLE too. Only where long calls are inside it is the stop.
    """
    if not await servers.gate.shut(min(SHUT_SECONDS, seconds)):
        await servers.native.stop(seconds)
        return
    await asyncio.sleep(FLUSH_SECONDS)
    if not ending:
        await servers.native.stop(None)
