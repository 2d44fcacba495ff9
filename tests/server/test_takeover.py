"""A process that posts to webhooks is killed while an endpoint thinks: another one posts what it had begun."""

import asyncio
from time import monotonic

import grpc

from appointments.v1 import appointments_pb2, appointments_pb2_grpc, webhooks_pb2, webhooks_pb2_grpc
from tests import service
from tests.changes.webhooks.receiver import Receiver, receiving
from tests.clients import person

TAKEN_OVER_SECONDS = 60.0


class Thinking(Receiver):
    """It does not answer until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = False
        self.asked = asyncio.Event()
        self.identifiers: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one request."""
        if self.answers:
            await super().serve(reader, writer)
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        self.identifiers.append(head.partition("webhook-id: ")[2].partition("\r\n")[0])
        self.asked.set()
        await reader.read()  # until whoever posts is gone
        writer.close()


async def test_a_delivery_of_a_process_that_is_killed_is_posted_by_another_within_a_minute(dsn: str) -> None:
    """With what comes after it, in order. Nobody tells the other one, and nothing helps the lease along."""
    private = {"WEBHOOK_ALLOW_PRIVATE": "true"}
    thinking = Thinking()
    with service.start(dsn, private) as first:
        async with receiving(thinking), person(first.grpc) as ada:
            hooks = webhooks_pb2_grpc.WebhookServiceStub(ada.channel)
            wanted = webhooks_pb2.CreateWebhookRequest(webhook=webhooks_pb2.Webhook(url=thinking.url))
            thinking.secret = (await hooks.CreateWebhook(wanted, metadata=ada.metadata)).secret
            made = await ada.create()
            async with asyncio.timeout(30):
                await thinking.asked.wait()
            first.process.kill()  # it waits for an answer, and would for ten seconds
            killed = monotonic()
            thinking.answers = True
            with service.start(dsn, private) as second:
                async with grpc.aio.insecure_channel(second.grpc) as channel:
                    calendar = appointments_pb2_grpc.AppointmentServiceStub(channel)
                    request = appointments_pb2.DeleteAppointmentRequest(id=made.id)
                    await calendar.DeleteAppointment(request, metadata=ada.metadata)
                async with asyncio.timeout(killed + 2 * TAKEN_OVER_SECONDS - monotonic()):
                    while not thinking.taken:  # noqa: ASYNC110 - in another process
                        await asyncio.sleep(0.1)
                taken_over = monotonic() - killed
                async with asyncio.timeout(30):
                    while len(thinking.taken) < 2:  # noqa: ASYNC110
                        await asyncio.sleep(0.1)
    assert taken_over < TAKEN_OVER_SECONDS
    assert thinking.identifiers == [thinking.taken[0][0]]
    assert [1, 2] == [int(body["data"]["version"]) for _, body in thinking.taken]
