"""Rooms and equipment for the tests of the page."""

from typing import Any

from appointments.v1 import resources_pb2 as pb
from tests.clients import Person


async def room(manager: Person, name: str, **decided: Any) -> pb.Resource:
    """Add a room that everybody may book, unless something else is decided."""
    usual: dict[str, Any] = {
        "kind": pb.RESOURCE_KIND_ROOM,
        "display_name": name,
        "time_zone": "Europe/Zurich",
        "default_role": pb.RESOURCE_ROLE_BOOKER,
    }
    request = pb.CreateResourceRequest(resource=pb.Resource(**(usual | decided)))
    response = await manager.resources.CreateResource(request, metadata=manager.metadata)
    return response.resource
