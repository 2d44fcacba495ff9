"""ResourceService: convert, call the feature, convert."""

from dataclasses import replace
from typing import Literal

from appointments.api import masks
from appointments.api.bookable import hours, rules, set_hours, set_rules
from appointments.api.caller import Caller, cause
from appointments.api.convert import buffer, identifier, optional_identifier, set_timestamp
from appointments.calendar import access, resources
from appointments.calendar.bookable.hours import Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.calendar.resource import Resource, ResourceSpec, violations
from appointments.db import Database
from appointments.shared.errors import Denied, Invalid
from appointments.v1 import resources_pb2 as pb

_KINDS = {"": pb.RESOURCE_KIND_UNSPECIFIED, "room": pb.RESOURCE_KIND_ROOM, "equipment": pb.RESOURCE_KIND_EQUIPMENT}
_TO_KIND = {number: kind for kind, number in _KINDS.items()}

_CHANGEABLE = (
    "kind", "display_name", "time_zone", "description", "location", "seats", "units", "buffer_before", "buffer_after",
    "default_role", "hours", "booking_rules",
)  # fmt: skip
"""The contract's fields that an update can name. A ResourceSpec calls them the same."""


class ResourceService:
    """Rooms and equipment. Statuses are in proto/appointments/v1/resources.proto."""

    def __init__(self, db: Database, *, creation: Literal["everyone", "admins"] = "everyone") -> None:
        self._db = db
        self._creation = creation

    async def CreateResource(self, request: pb.CreateResourceRequest, caller: Caller) -> pb.CreateResourceResponse:
        """Add one."""
        spec = _spec(request.resource)
        if self._creation == "admins" and not caller.is_admin:
            raise Denied("Only admins may add resources here.", reason="RESOURCE_CREATION_DENIED")
        try:
            request_id = optional_identifier(request.request_id, "request_id")
        except Invalid as bad:
            raise Invalid([*bad.violations, *violations(spec)]) from None
        created = await resources.create(self._db, caller.user_id, spec, request_id=request_id, cause=cause(caller))
        return pb.CreateResourceResponse(resource=message_of(created))

    async def GetResource(self, request: pb.GetResourceRequest, caller: Caller) -> pb.GetResourceResponse:
        """Read one."""
        resource_id = identifier(request.id, "id")
        found = await resources.get(self._db, caller.user_id, resource_id, is_admin=caller.is_admin)
        return pb.GetResourceResponse(resource=message_of(found))

    async def ListResources(self, request: pb.ListResourcesRequest, caller: Caller) -> pb.ListResourcesResponse:
        """List those that the caller may see."""
        if request.kind not in _TO_KIND:
            raise Invalid.field("kind", "is not a known kind")
        which = resources.Filter(caller.user_id, _TO_KIND[request.kind], request.min_seats, caller.is_admin)
        page = await resources.page(self._db, which, size=request.page_size, token=request.page_token)
        return pb.ListResourcesResponse(resources=map(message_of, page.resources), next_page_token=page.next_token)

    async def UpdateResource(self, request: pb.UpdateResourceRequest, caller: Caller) -> pb.UpdateResourceResponse:
        """Change the fields of the mask."""
        message = request.resource
        resource_id = identifier(message.id, "resource.id")
        wanted = _spec(message)
        fields = masks.paths(request.update_mask, message, _CHANGEABLE)

        def change(current: ResourceSpec) -> ResourceSpec:
            return replace(current, **{field: getattr(wanted, field) for field in fields})

        changed = await resources.update(
            self._db,
            caller.user_id,
            resource_id,
            change,
            etag=message.etag,
            is_admin=caller.is_admin,
            cause=cause(caller),
        )
        return pb.UpdateResourceResponse(resource=message_of(changed))

    async def DeleteResource(self, request: pb.DeleteResourceRequest, caller: Caller) -> pb.DeleteResourceResponse:
        """Delete softly."""
        deleted = await resources.delete(
            self._db,
            caller.user_id,
            identifier(request.id, "id"),
            etag=request.etag,
            force=request.force,
            is_admin=caller.is_admin,
            cause=cause(caller),
        )
        return pb.DeleteResourceResponse(resource=message_of(deleted))

    async def UndeleteResource(
        self, request: pb.UndeleteResourceRequest, caller: Caller
    ) -> pb.UndeleteResourceResponse:
        """Restore."""
        resource_id = identifier(request.id, "id")
        restored = await resources.undelete(
            self._db, caller.user_id, resource_id, is_admin=caller.is_admin, cause=cause(caller)
        )
        return pb.UndeleteResourceResponse(resource=message_of(restored))

    async def SetResourceAccess(
        self, request: pb.SetResourceAccessRequest, caller: Caller
    ) -> pb.SetResourceAccessResponse:
        """Say what somebody may do."""
        resource_id, grantee_id = identifier(request.id, "id"), optional_identifier(request.user_id, "user_id")
        if grantee_id and request.email:
            raise Invalid.field("user_id", "must be empty where email is given")
        if grantee_id and not caller.is_admin:
            raise Denied("Only admins may give roles by user_id.", reason="NOT_AN_ADMIN")
        await access.grant(
            self._db,
            caller.user_id,
            resource_id,
            grantee_id or request.email,
            request.role,
            is_admin=caller.is_admin,
            cause=cause(caller),
        )
        return pb.SetResourceAccessResponse()

    async def ListResourceAccess(
        self, request: pb.ListResourceAccessRequest, caller: Caller
    ) -> pb.ListResourceAccessResponse:
        """Tell who has a role of their own."""
        resource_id = identifier(request.id, "id")
        page = await access.page(
            self._db,
            caller.user_id,
            resource_id,
            is_admin=caller.is_admin,
            size=request.page_size,
            token=request.page_token,
        )
        return pb.ListResourceAccessResponse(
            access=[
                pb.ResourceAccess(
                    email=each.email,
                    role=pb.ResourceRole.ValueType(each.role),
                    user_id=str(each.user_id),
                    display_name=each.display_name,
                )
                for each in page.access
            ],
            next_page_token=page.next_token,
        )


def _spec(message: pb.Resource) -> ResourceSpec:
    """What a request asks for, unchecked: the feature names what is wrong with it."""
    return ResourceSpec(
        kind=_TO_KIND.get(message.kind, str(message.kind)),
        display_name=message.display_name,
        time_zone=message.time_zone,
        description=message.description,
        location=message.location,
        seats=message.seats,
        units=message.units or 1,
        buffer_before=buffer(message.buffer_before),
        buffer_after=buffer(message.buffer_after),
        default_role=message.default_role,
        hours=hours(message.hours),
        booking_rules=rules(message.booking_rules),
    )


def message_of(value: Resource) -> pb.Resource:
    """A resource as the contract has it, for the person whose role it tells."""
    message = pb.Resource(
        id=value.id_text,
        kind=_KINDS[value.kind],
        display_name=value.display_name,
        time_zone=value.time_zone,
        description=value.description,
        location=value.location,
        seats=value.seats,
        units=value.units,
        default_role=pb.ResourceRole.ValueType(value.default_role),
        role=pb.ResourceRole.ValueType(value.role),
        etag=value.etag,
    )
    if value.buffer_before:
        message.buffer_before.seconds = value.buffer_before
    if value.buffer_after:
        message.buffer_after.seconds = value.buffer_after
    if value.hours:
        set_hours(message.hours, Hours.from_json(value.hours))
    if value.booking_rules:
        set_rules(message.booking_rules, BookingRules.from_json(value.booking_rules))
    set_timestamp(message.create_time, value.created_at)
    set_timestamp(message.update_time, value.updated_at)
    if value.deleted_at is not None:
        set_timestamp(message.delete_time, value.deleted_at)
    return message
