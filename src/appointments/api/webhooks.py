"""WebhookService: convert, call the feature, convert; and what a change is in the body of a delivery."""

import base64
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from google.protobuf.json_format import MessageToDict

from appointments.api import changes, masks
from appointments.api.caller import Caller
from appointments.api.convert import identifier, set_timestamp
from appointments.changes.reading import Change
from appointments.changes.webhooks import deliveries, endpoints
from appointments.changes.webhooks.deliveries import Delivery
from appointments.changes.webhooks.endpoints import Spec, Webhook
from appointments.changes.webhooks.target import Target
from appointments.db import Database
from appointments.v1 import webhooks_pb2 as pb

_CHANGEABLE = ("url", "kinds", "disabled")
_STATES = {
    "waiting": pb.DELIVERY_STATE_WAITING,
    "delivered": pb.DELIVERY_STATE_DELIVERED,
    "failed": pb.DELIVERY_STATE_FAILED,
}


class WebhookService:
    """The caller's webhooks. Statuses are in proto/appointments/v1/webhooks.proto."""

    def __init__(self, db: Database, target: Target) -> None:
        self._db = db
        self._target = target

    async def CreateWebhook(self, request: pb.CreateWebhookRequest, caller: Caller) -> pb.CreateWebhookResponse:
        """Add one."""
        spec = _spec(request.webhook)
        created, secret = await endpoints.create(self._db, caller.user_id, spec, self._target)
        return pb.CreateWebhookResponse(webhook=_message(created), secret=_text(secret))

    async def ListWebhooks(self, request: pb.ListWebhooksRequest, caller: Caller) -> pb.ListWebhooksResponse:  # noqa: ARG002
        """List them."""
        return pb.ListWebhooksResponse(webhooks=map(_message, await endpoints.all_of(self._db, caller.user_id)))

    async def GetWebhook(self, request: pb.GetWebhookRequest, caller: Caller) -> pb.GetWebhookResponse:
        """Read one."""
        return pb.GetWebhookResponse(webhook=_message(await self._own(caller, identifier(request.id, "id"))))

    async def UpdateWebhook(self, request: pb.UpdateWebhookRequest, caller: Caller) -> pb.UpdateWebhookResponse:
        """Change the fields of the mask."""
        message = request.webhook
        webhook_id = identifier(message.id, "webhook.id")
        wanted = _spec(message)
        fields = masks.paths(request.update_mask, message, _CHANGEABLE)
        changed = {field: getattr(wanted, field) for field in fields}
        updated = await endpoints.update(self._db, caller.user_id, webhook_id, changed, self._target)
        return pb.UpdateWebhookResponse(webhook=_message(updated))

    async def DeleteWebhook(self, request: pb.DeleteWebhookRequest, caller: Caller) -> pb.DeleteWebhookResponse:
        """Delete one."""
        await endpoints.delete(self._db, caller.user_id, identifier(request.id, "id"))
        return pb.DeleteWebhookResponse()

    async def RotateSecret(self, request: pb.RotateSecretRequest, caller: Caller) -> pb.RotateSecretResponse:
        """Give one a new secret."""
        secret = await endpoints.rotate(self._db, caller.user_id, identifier(request.id, "id"))
        return pb.RotateSecretResponse(secret=_text(secret))

    async def Ping(self, request: pb.PingRequest, caller: Caller) -> pb.PingResponse:
        """Post a ping."""
        webhook = await self._own(caller, identifier(request.id, "id"))
        return pb.PingResponse(delivery=_delivery(await deliveries.ping(self._db, webhook)))

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, caller: Caller) -> pb.ListDeliveriesResponse:
        """List deliveries."""
        webhook = await self._own(caller, identifier(request.webhook_id, "webhook_id"))
        found, token = await deliveries.page(self._db, webhook, size=request.page_size, token=request.page_token)
        return pb.ListDeliveriesResponse(deliveries=map(_delivery, found), next_page_token=token)

    async def Redeliver(self, request: pb.RedeliverRequest, caller: Caller) -> pb.RedeliverResponse:
        """Post one again."""
        again = await deliveries.redeliver(self._db, caller.user_id, identifier(request.id, "id"))
        return pb.RedeliverResponse(delivery=_delivery(again))

    async def _own(self, caller: Caller, webhook_id: UUID) -> Webhook:
        return await endpoints.get(self._db, caller.user_id, webhook_id)


def change_as_json(value: Change) -> Any:
    """What a delivery carries."""
    return MessageToDict(changes.message(value))


def _spec(message: pb.Webhook) -> Spec:
    kinds: Sequence[str] = message.kinds
    return Spec(message.url, tuple(kinds), message.disabled)


def _text(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def _message(value: Webhook) -> pb.Webhook:
    message = pb.Webhook(
        id=str(value.id),
        url=value.url,
        kinds=value.kinds,
        disabled=value.disabled_at is not None,
        disable_reason=value.disable_reason or "",
    )
    set_timestamp(message.create_time, value.created_at)
    set_timestamp(message.update_time, value.updated_at)
    if value.failing_since_at is not None:
        set_timestamp(message.failing_since_time, value.failing_since_at)
    return message


def _delivery(value: Delivery) -> pb.Delivery:
    message = pb.Delivery(
        id=str(value.id),
        kind=value.kind,
        item_id=str(value.item_id) if value.item_id else "",
        version=value.version,
        state=_STATES[value.state],
        attempts=value.attempts,
        response_status=value.status,
        error=value.error,
    )
    set_timestamp(message.create_time, value.created_at)
    if value.state == "waiting":
        set_timestamp(message.next_attempt_time, value.due_at)
    return message
