"""The exchange alone, where the order of events can be chosen."""

import asyncio

from appointments.api.grpcweb.reply import Reply
from appointments.api.http_exchange import Event, Exchange, Scope

HTTP1: Scope = {"type": "http", "http_version": "1.1", "headers": []}
HTTP2: Scope = {"type": "http", "http_version": "2", "headers": [(b"content-length", b"1")]}
PIECE: Event = {"type": "http.request", "body": b"x", "more_body": True}
END: Event = {"type": "http.request", "body": b"", "more_body": False}
START: Event = {"type": "http.response.start", "status": 401, "headers": []}
FINAL: Event = {"type": "http.response.body", "body": b"answer"}


async def test_last_event_waits_for_the_end_of_the_body() -> None:
    """What it says is sent at once; only the end is held back."""
    arriving: asyncio.Queue[Event] = asyncio.Queue()
    sent: asyncio.Queue[Event] = asyncio.Queue()
    exchange = Exchange(HTTP1, arriving.get, sent.put)
    sending = asyncio.create_task(exchange.send(FINAL))
    first = await sent.get()
    arriving.put_nowait(PIECE)
    await asyncio.sleep(0)
    still_open = not sending.done()
    arriving.put_nowait(END)
    await sending
    assert (b"answer", True, True) == (first["body"], first["more_body"], still_open)
    assert {"type": "http.response.body", "body": b""} == await sent.get()


async def test_answer_ends_whoever_reads_the_last_piece() -> None:
    """A reader that was there first takes the end of the body, and the answer must not wait for another."""
    arriving: asyncio.Queue[Event] = asyncio.Queue()
    sent: asyncio.Queue[Event] = asyncio.Queue()
    exchange = Exchange(HTTP1, arriving.get, sent.put)
    reading = asyncio.create_task(exchange.receive())
    await asyncio.sleep(0)
    sending = asyncio.create_task(exchange.send(FINAL))
    await sent.get()
    arriving.put_nowait(END)
    async with asyncio.timeout(10):
        await sending
    assert END == await reading


async def test_several_readers_get_each_event_once() -> None:
    """No event is lost, and none is seen twice."""
    arriving: asyncio.Queue[Event] = asyncio.Queue()
    sent: asyncio.Queue[Event] = asyncio.Queue()
    exchange = Exchange(HTTP1, arriving.get, sent.put)
    reading = [asyncio.create_task(exchange.receive()) for _ in range(3)]
    for number in range(3):
        arriving.put_nowait({**PIECE, "body": b"%d" % number})
    assert [b"0", b"1", b"2"] == sorted([(await each)["body"] for each in reading])


async def test_stream_begins_when_it_can() -> None:
    """Over HTTP/2 too, a response that comes in pieces does not wait for the request's end, but its own end does."""
    arriving: asyncio.Queue[Event] = asyncio.Queue()
    sent: asyncio.Queue[Event] = asyncio.Queue()
    exchange = Exchange(HTTP2, arriving.get, sent.put)
    await exchange.send(START)
    nothing_yet = sent.empty()
    first: Event = {**FINAL, "more_body": True}
    await exchange.send(first)
    assert (True, [START, first]) == (nothing_yet, [sent.get_nowait(), sent.get_nowait()])
    ending = asyncio.create_task(exchange.send(FINAL))
    await asyncio.sleep(0)
    arriving.put_nowait(END)
    await ending
    assert [b"answer", b""] == [sent.get_nowait()["body"], sent.get_nowait()["body"]]


async def test_metadata_of_a_stream_leaves_at_once() -> None:
    """Over HTTP/2 too: a client may wait for it before it goes on."""
    sent: asyncio.Queue[Event] = asyncio.Queue()
    exchange = Exchange(HTTP2, asyncio.Queue[Event]().get, sent.put)
    reply = Reply(exchange.send, content_type=b"application/grpc-web", text=False, streaming=True, cors=lambda _: [])
    await reply.metadata([(b"x-first", b"1")])
    assert (b"x-first", b"1") in sent.get_nowait()["headers"]
