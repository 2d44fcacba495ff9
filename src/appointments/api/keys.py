"""KeyService: convert, call the feature, convert."""

from datetime import UTC, datetime

from appointments.api.caller import Caller
from appointments.api.convert import identifier, instant, optional_identifier, timestamp
from appointments.auth.keys import Key, Keys, KeySpec
from appointments.v1 import keys_pb2 as pb

_NO_TIME = datetime.min.replace(tzinfo=UTC)


class KeyService:
    """The caller's keys, and for admins those of service accounts. Statuses are in proto/appointments/v1/keys.proto."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def CreateKey(self, request: pb.CreateKeyRequest, caller: Caller) -> pb.CreateKeyResponse:
        """Make a key."""
        made = await self._keys.create(
            caller.user_id,
            spec(request.key),
            service_account_id=optional_identifier(request.service_account_id, "service_account_id"),
            is_admin=caller.is_admin,
        )
        return pb.CreateKeyResponse(key=message(made.key), secret=made.secret)

    async def ListKeys(self, request: pb.ListKeysRequest, caller: Caller) -> pb.ListKeysResponse:
        """List keys."""
        found = await self._keys.list(
            caller.user_id,
            service_account_id=optional_identifier(request.service_account_id, "service_account_id"),
            is_admin=caller.is_admin,
        )
        return pb.ListKeysResponse(keys=map(message, found))

    async def RevokeKey(self, request: pb.RevokeKeyRequest, caller: Caller) -> pb.RevokeKeyResponse:
        """End a key."""
        await self._keys.revoke(caller.user_id, identifier(request.id, "id"), is_admin=caller.is_admin)
        return pb.RevokeKeyResponse()


def spec(key: pb.Key) -> KeySpec:
    """What a request asks for, unchecked: a time that is none is in the past, so the feature names it."""
    expires_at = (instant(key.expire_time) or _NO_TIME) if key.HasField("expire_time") else None
    return KeySpec(key.display_name, list(key.scopes), expires_at)


def message(key: Key) -> pb.Key:
    """A key as the contract has it."""
    return pb.Key(
        id=str(key.id),
        display_name=key.display_name,
        scopes=key.scopes,
        create_time=timestamp(key.created_at),
        expire_time=timestamp(key.expires_at) if key.expires_at else None,
        last_use_time=timestamp(key.last_used_at) if key.last_used_at else None,
    )
