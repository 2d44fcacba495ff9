"""The drain: how a server stops without losing a call. The order matters.

1. Readiness and health turn, so that load balancers send new clients elsewhere. This step is left out where another
   server has taken over the same ports.
2. Every HTTP answer asks its client to leave.
3. Streams end with UNAVAILABLE, so that their clients leave too. Calls in flight end by themselves.
4. Native calls come last, when nothing else is left to wait for: from then on they are refused.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

import structlog

from appointments.api.gate import Gate
from appointments.api.grpcweb.front import Front
from appointments.api.health import Health, Readiness
from appointments.api.rpc import Proof
from appointments.api.streams import Streams
from appointments.server import transport
from appointments.server.listener import Listener

QUIET_SECONDS = 1.0
"""How long HTTP clients get to finish sending, and to learn that they should leave."""

SHUT_SECONDS = 0.5
"""How long new native calls may be refused. A client that retries waits longer."""

FLUSH_SECONDS = 0.05
"""How long the last answers, and the health updates, get to reach the wire."""

_log = structlog.get_logger("appointments")


@dataclass(frozen=True)
class Servers:
    """The parts of a running service that a drain has to stop."""

    native: transport.Server
    web: Listener
    front: Front
    gate: Gate
    streams: Streams[Proof]
    readiness: Readiness
    health: Health


async def drain(
    servers: Servers, *beside: Awaitable[None], seconds: float, lame_duck: float, succeeded: bool, ending: bool
) -> None:
    """Leave both ports. Calls in flight get ``seconds``. What else has to end is waited for before the native port.

    With ``succeeded`` another server has taken over the same ports and gets every new connection. Otherwise everything
    is still served for ``lame_duck`` seconds, until load balancers have noticed. With ``ending`` the process ends right
    after this, so the native server need not be stopped.
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
    # A request may be on its way on an idle connection. Its answer asks the client to leave.
    await servers.web.quiet(QUIET_SECONDS)
    await asyncio.gather(servers.front.drain(seconds), servers.web.close(seconds), *beside)
    await _leave_native(servers, seconds, ending=ending)


async def _leave_native(servers: Servers, seconds: float, *, ending: bool) -> None:
    """Stop without failing a call in a way that its client would not retry.

    gRPC's stop answers CANCELLED to calls that arrive before the client has seen the GOAWAY (grpc issue 41785), and
    retry policies name UNAVAILABLE. So if no call is left, the server stays up and refuses until the process ends. The
    kernel then closes the connections, which clients see as UNAVAILABLE too. Only if long calls are left is it stopped.
    """
    if not await servers.gate.shut(min(SHUT_SECONDS, seconds)):
        await servers.native.stop(seconds)
        return
    await asyncio.sleep(FLUSH_SECONDS)
    if not ending:
        await servers.native.stop(None)
