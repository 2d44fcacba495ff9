"""``GET /events``: the caller's changes, and those of resources, as server-sent events (HTML Living Standard §9.2).

The same stream as WatchChanges, under the same policy, with the session's cookie or a bearer. Each event is an answer
of WatchChanges as JSON, and its id is the cursor: a client that comes back sends it as ``Last-Event-ID``. What is wrong
is answered as a problem before the stream begins. Afterwards a stream only ends, and a client that comes back learns
why.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import structlog
from google.protobuf.json_format import MessageToJson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from appointments.api import changes
from appointments.api.origin import Origins
from appointments.api.rest.admission import proved, visitor_of
from appointments.api.rest.headers import EXPOSED
from appointments.api.rpc import Policy, Proof
from appointments.api.scopes import rule_of
from appointments.api.streams import Stream
from appointments.shared.errors import Fault
from appointments.v1 import changes_pb2 as pb

RULE = rule_of(pb.DESCRIPTOR.services_by_name["ChangeService"].methods_by_name["WatchChanges"])

RETRY_MILLISECONDS = (1000, 10_000)
"""How soon a client may come back: a number between these, so that not all come at once."""

OPENING = b": " + b" " * 2048 + b"\n"
"""Some programs in between pass nothing on before they have so much."""

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # No transformation: what compresses also collects.
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
    # Caddy 2.6 knows no-transform not yet, but leaves alone what has an encoding.
    (b"content-encoding", b"identity"),
]

_log = structlog.get_logger("appointments.request")


class Events:
    """The endpoint, as an ASGI application."""

    def __init__(self, service: changes.ChangeService, policy: Policy, origins: Origins, *, production: bool) -> None:
        self._service = service
        self._policy = policy
        self._origins = origins
        self._production = production

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one stream."""
        request = Request(scope, receive)
        headers = proved(request, self._origins, production=self._production)
        visitor = visitor_of(request, headers, self._policy)
        has_begun = False
        try:
            with self._policy.gate:
                proof, caller = await self._policy.admit(headers, visitor, RULE)
                request.state.user_id = str(caller.user_id)
                query = request.query_params
                who = changes.follower(caller, query.get("resource_id", ""), query.getlist("resource_ids"))
                cursor = headers.get("last-event-id") or query.get("cursor", "")
                answers = self._service.watch(who, changes.decoded(cursor, who))
                with self._policy.streams.admitted(caller.user_id, proof) as stream:
                    # What refuses the stream comes with its first answer, while there can still be a status.
                    async with aclosing(answers):
                        first = await anext(answers)
                        has_begun = True
                        user_id = request.state.user_id
                        _log.info("stream", request_id=caller.request_id, path=scope["path"], user_id=user_id)
                        # It may last for half an hour beside thousands of others, so it keeps what it needs alone.
                        del request, headers, proof, caller, query
                        async with _ending_with_client(stream, receive):
                            await self._send(scope, send, first, answers)
        except Fault as fault:
            if not has_begun:
                raise
            _log.info("stream ended", request_id=visitor.request_id, reason=fault.reason)
        await send({"type": "http.response.body", "body": b""})

    async def _send(
        self, scope: Scope, send: Send, first: pb.WatchChangesResponse, rest: AsyncGenerator[pb.WatchChangesResponse]
    ) -> None:
        headers = [*HEADERS, *self._origins.response_headers(scope, EXPOSED)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        retry = random.randint(*RETRY_MILLISECONDS)  # noqa: S311 - jitter, not a secret
        await send(_part(OPENING + b"retry: %d\n" % retry + _event(first)))
        async for answer in rest:
            await self._policy.streams.sent(send(_part(_event(answer))))


def _event(answer: pb.WatchChangesResponse) -> bytes:
    """An event, or, where nothing has changed, a sign of life with the cursor that is newer all the same."""
    if not answer.changes:
        return f": \nid: {answer.next_cursor}\n\n".encode()
    data = MessageToJson(answer, indent=None)
    return f"event: changes\nid: {answer.next_cursor}\ndata: {data}\n\n".encode()


def _part(body: bytes) -> dict[str, object]:
    return {"type": "http.response.body", "body": body, "more_body": True}


@asynccontextmanager
async def _ending_with_client(stream: Stream[Proof], receive: Receive) -> AsyncIterator[None]:
    """End the stream when its client has left, which only receiving tells."""

    def end(_: asyncio.Task[None]) -> None:
        stream.end()

    gone = asyncio.create_task(_gone(receive))
    gone.add_done_callback(end)
    try:
        yield
    finally:
        gone.remove_done_callback(end)
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
