"""AdminService: convert, call the feature, convert. The policy (``scopes``) has let nobody in but admins."""

from typing import Any

from appointments.api import keys, masks
from appointments.api.auth import user_message
from appointments.api.bookable import hours, rules
from appointments.api.caller import Caller
from appointments.api.convert import identifier
from appointments.auth import Directory
from appointments.auth.directory import CHANGEABLE
from appointments.shared.errors import Invalid, Violation
from appointments.v1 import account_pb2
from appointments.v1 import admin_pb2 as pb

_TO_ROLE = {account_pb2.USER_ROLE_USER: "user", account_pb2.USER_ROLE_ADMIN: "admin"}


class AdminService:
    """Users that a backend manages, and service accounts. Statuses are in proto/appointments/v1/admin.proto."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def CreateUser(self, request: pb.CreateUserRequest, caller: Caller) -> pb.CreateUserResponse:  # noqa: ARG002
        """Make a managed user."""
        user = request.user
        created = await self._directory.create(
            display_name=user.display_name, time_zone=user.time_zone, external_id=user.external_id, email=user.email
        )
        return pb.CreateUserResponse(user=user_message(created))

    async def ListUsers(self, request: pb.ListUsersRequest, caller: Caller) -> pb.ListUsersResponse:  # noqa: ARG002
        """List everybody."""
        page = await self._directory.page(size=request.page_size, token=request.page_token)
        return pb.ListUsersResponse(users=map(user_message, page.users), next_page_token=page.next_token)

    async def GetUser(self, request: pb.GetUserRequest, caller: Caller) -> pb.GetUserResponse:  # noqa: ARG002
        """Read one."""
        if bool(request.id) == bool(request.external_id):
            problem = "must be empty where the other is given" if request.id else "is required, or the other one"
            raise Invalid([Violation("id", problem), Violation("external_id", problem)])
        user_id = identifier(request.id, "id") if request.id else None
        found = await self._directory.get(user_id, external_id=request.external_id)
        return pb.GetUserResponse(user=user_message(found))

    async def UpdateUser(self, request: pb.UpdateUserRequest, caller: Caller) -> pb.UpdateUserResponse:  # noqa: ARG002
        """Change the fields of the mask."""
        user_id = identifier(request.user.id, "user.id")
        fields = masks.paths(request.update_mask, request.user, CHANGEABLE)
        changes: dict[str, Any] = {field: getattr(request.user, field) for field in fields}
        if "role" in changes:
            changes["role"] = _TO_ROLE.get(request.user.role, "")
        if "hours" in changes:
            changes["hours"] = hours(request.user.hours)
        if "booking_rules" in changes:
            changes["booking_rules"] = rules(request.user.booking_rules)
        if changes.get("time_zone") == "":
            changes["time_zone"] = "UTC"
        changed = await self._directory.update(user_id, changes)
        return pb.UpdateUserResponse(user=user_message(changed))

    async def DeleteUser(self, request: pb.DeleteUserRequest, caller: Caller) -> pb.DeleteUserResponse:
        """Delete one for good."""
        await self._directory.delete(identifier(request.id, "id"), actor_id=caller.actor_id)
        return pb.DeleteUserResponse()

    async def CreateServiceAccount(
        self,
        request: pb.CreateServiceAccountRequest,
        caller: Caller,  # noqa: ARG002
    ) -> pb.CreateServiceAccountResponse:
        """Make a service account and its first key."""
        account, made = await self._directory.create_service_account(request.display_name, keys.spec(request.key))
        return pb.CreateServiceAccountResponse(
            user=user_message(account), key=keys.message(made.key), secret=made.secret
        )
