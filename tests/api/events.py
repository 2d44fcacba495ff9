"""Server-sent events as a client reads them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
from google.protobuf.json_format import ParseDict

from appointments.api.rest.cookies import DEVELOPMENT
from appointments.v1 import changes_pb2 as pb
from tests.clients import Person
from tests.service import Target


class Event(NamedTuple):
    """An event as a browser takes it apart; without data it is none, but its id counts."""

    name: str
    id: str
    data: str
    retry: str

    @property
    def answer(self) -> pb.WatchChangesResponse:
        """What it carries."""
        return ParseDict(json.loads(self.data), pb.WatchChangesResponse())


Events = AsyncIterator[Event]


def cookie(target: Target, who: Person, **headers: str) -> dict[str, str]:
    """What a page's EventSource sends."""
    return {
        "accept": "text/event-stream",
        "accept-encoding": "gzip, deflate, br",
        "cookie": f"{DEVELOPMENT.access}={who.tokens.access_token}",
        "sec-fetch-site": "same-origin",
        **headers,
    }


@asynccontextmanager
async def opened(
    target: Target, headers: dict[str, str], **query: str | list[str]
) -> AsyncIterator[tuple[httpx.Response, Events]]:
    """A stream: the response, and its events as they come."""
    async with (
        httpx.AsyncClient(base_url=target.url, timeout=60) as client,
        client.stream("GET", "/events", params=query, headers=headers) as response,
    ):

        async def events() -> Events:
            fields: dict[str, str] = {}
            async for line in response.aiter_lines():
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    event = Event(*(fields.get(name, "") for name in ("event", "id", "data", "retry")))
                    fields = {}
                    yield event

        yield response, events()
