"""Webhooks through the ports: from a change to an endpoint of the caller's, by a real server."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest

from appointments.v1 import webhooks_pb2 as pb
from appointments.v1 import webhooks_pb2_grpc
from tests import service
from tests.changes.webhooks.receiver import receiving
from tests.clients import Person, details, person
from tests.service import Server, Target

Code = grpc.StatusCode


@pytest.fixture
def inward(dsn: str) -> Iterator[Server]:
    """A server whose webhooks may lead to this machine."""
    with service.start(dsn, {"WEBHOOK_ALLOW_PRIVATE": "true"}) as running:
        yield running


async def test_a_change_is_posted_until_it_is_taken(inward: Server) -> None:
    """Created, pinged, changed, failed, taken, listed, posted again, deleted."""
    async with (
        person(inward.grpc) as ada,
        receiving() as receiver,
        grpc.aio.insecure_channel(inward.grpc) as channel,
        asyncio.timeout(60),
    ):
        stub = webhooks_pb2_grpc.WebhookServiceStub(channel)
        wanted = pb.Webhook(url=receiver.url, kinds=["appointment.created"])
        created = await stub.CreateWebhook(pb.CreateWebhookRequest(webhook=wanted), metadata=ada.metadata)
        receiver.secret = created.secret
        hook_id = created.webhook.id
        await stub.Ping(pb.PingRequest(id=hook_id), metadata=ada.metadata)
        while not receiver.taken:  # noqa: ASYNC110 - a state, not an event
            await asyncio.sleep(0.05)
        answers = iter((500, 200))
        receiver.answer = lambda _: next(answers, 200)
        appointment = await ada.create()
        while len(receiver.taken) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert ["ping", "appointment.created"] == [body["type"] for _, body in receiver.taken]
        assert appointment.id == receiver.taken[1][1]["data"]["appointment"]["id"]
        page = pb.ListDeliveriesRequest(webhook_id=hook_id)
        while True:
            listed = await stub.ListDeliveries(page, metadata=ada.metadata)
            if all(each.state == pb.DELIVERY_STATE_DELIVERED for each in listed.deliveries):
                break
            await asyncio.sleep(0.05)
        assert [("appointment.created", 2), ("ping", 1)] == [(each.kind, each.attempts) for each in listed.deliveries]
        await stub.Redeliver(pb.RedeliverRequest(id=listed.deliveries[0].id), metadata=ada.metadata)
        while len(receiver.taken) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert receiver.taken[1] == receiver.taken[2]
        rotated = await stub.RotateSecret(pb.RotateSecretRequest(id=hook_id), metadata=ada.metadata)
        assert rotated.secret != created.secret
        off = pb.Webhook(id=hook_id, disabled=True)
        updated = await stub.UpdateWebhook(pb.UpdateWebhookRequest(webhook=off), metadata=ada.metadata)
        assert updated.webhook.disabled
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Ping(pb.PingRequest(id=hook_id), metadata=ada.metadata)
        assert Code.FAILED_PRECONDITION == refused.value.code()
        found = await stub.ListWebhooks(pb.ListWebhooksRequest(), metadata=ada.metadata)
        assert [updated.webhook] == list(found.webhooks)
        await stub.DeleteWebhook(pb.DeleteWebhookRequest(id=hook_id), metadata=ada.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as gone:
            await stub.GetWebhook(pb.GetWebhookRequest(id=hook_id), metadata=ada.metadata)
        assert Code.NOT_FOUND == gone.value.code()


@pytest.mark.parametrize(
    ("webhook", "field"),
    [
        (pb.Webhook(), "webhook.url"),
        (pb.Webhook(url="https://127.0.0.1/"), "webhook.url"),
        (pb.Webhook(url="https://example.com/", kinds=["nonsense"]), "webhook.kinds"),
    ],
)
async def test_what_may_not_be_is_named(server: Target, ada: Person, webhook: pb.Webhook, field: str) -> None:
    """As any other bad field."""
    async with grpc.aio.insecure_channel(server.grpc) as channel:
        stub = webhooks_pb2_grpc.WebhookServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CreateWebhook(pb.CreateWebhookRequest(webhook=webhook), metadata=ada.metadata)
    assert Code.INVALID_ARGUMENT == refused.value.code()
    assert [field] == [each.field for each in details(refused.value)["BadRequest"].field_violations]
