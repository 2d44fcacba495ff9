"""An endpoint of the test's own: a real HTTP server on loopback that checks signatures and may fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook as Verifier


@dataclass
class Receiver:
    """What came, in order: of each request its id and its body. ``answer`` decides the status of each."""

    secret: str = ""
    answer: Callable[[dict[str, Any]], int] = lambda _: 204
    url: str = ""
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refused: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")[1:]
            headers = {key.lower(): value for key, _, value in (line.partition(": ") for line in lines if line)}
            body = (await reader.readexactly(int(headers["content-length"]))).decode()
            self.headers.append(headers)
            if self.secret:
                Verifier(self.secret).verify(body, headers)
            content = json.loads(body)
            status = self.answer(content)
            if 200 <= status < 300:
                self.taken.append((headers["webhook-id"], content))
            else:
                self.refused += 1
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):  # a poster that was killed
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(receiver: Receiver | None = None) -> AsyncIterator[Receiver]:
    """Run one until the block ends."""
    receiver = receiver or Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield receiver
