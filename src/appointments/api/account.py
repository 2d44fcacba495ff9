"""AccountService: convert, call the feature, convert."""

from typing import Any
from uuid import UUID

from appointments.api import masks
from appointments.api.auth import user_message
from appointments.api.bookable import hours, rules
from appointments.api.caller import Caller
from appointments.api.convert import identifier, timestamp
from appointments.auth import Accounts, MailedLinks, Sessions
from appointments.auth.mailed_links import check_address
from appointments.auth.ratelimit import Limiter
from appointments.auth.sessions import Session
from appointments.v1 import account_pb2 as pb

CHANGEABLE = ("display_name", "time_zone", "hours", "booking_rules", "default_reminders")


class AccountService:
    """The caller's own account. Statuses are in proto/appointments/v1/account.proto."""

    def __init__(self, accounts: Accounts, sessions: Sessions, mailed_links: MailedLinks, limiter: Limiter) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._links = mailed_links
        self._limiter = limiter

    async def GetCurrentUser(
        self,
        request: pb.GetCurrentUserRequest,  # noqa: ARG002
        caller: Caller,
    ) -> pb.GetCurrentUserResponse:
        """Read the caller's account."""
        user = await self._accounts.get(caller.user_id)
        return pb.GetCurrentUserResponse(user=user_message(user), sends_mail=self._links.is_on)

    async def UpdateCurrentUser(
        self, request: pb.UpdateCurrentUserRequest, caller: Caller
    ) -> pb.UpdateCurrentUserResponse:
        """Change the fields of the mask."""
        fields = masks.paths(request.update_mask, request.user, CHANGEABLE)
        wanted: dict[str, Any] = {
            "display_name": request.user.display_name,
            "time_zone": request.user.time_zone,
            "hours": hours(request.user.hours),
            "booking_rules": rules(request.user.booking_rules),
            "default_reminders": tuple(request.user.default_reminders),
        }
        changed = await self._accounts.update(caller.user_id, **{field: wanted[field] for field in fields})
        return pb.UpdateCurrentUserResponse(user=user_message(changed))

    async def ListSessions(
        self,
        request: pb.ListSessionsRequest,  # noqa: ARG002
        caller: Caller,
    ) -> pb.ListSessionsResponse:
        """List the caller's live sessions."""
        found = await self._sessions.list(caller.user_id)
        return pb.ListSessionsResponse(sessions=[_session(each, caller.session_id) for each in found])

    async def RevokeSession(self, request: pb.RevokeSessionRequest, caller: Caller) -> pb.RevokeSessionResponse:
        """End one of the caller's sessions."""
        await self._sessions.revoke(caller.user_id, identifier(request.id, "id"))
        return pb.RevokeSessionResponse()

    async def ChangePassword(self, request: pb.ChangePasswordRequest, caller: Caller) -> pb.ChangePasswordResponse:
        """Change the password and end the other sessions."""
        await self._limiter.admit("password", str(caller.user_id))
        await self._accounts.change_password(
            caller.user_id, caller.session_id, request.current_password, request.new_password
        )
        return pb.ChangePasswordResponse()

    async def RequestEmailVerification(
        self,
        request: pb.RequestEmailVerificationRequest,  # noqa: ARG002
        caller: Caller,
    ) -> pb.RequestEmailVerificationResponse:
        """Mail a link that confirms the account's address."""
        await self._limiter.admit("verification", str(caller.user_id), pace="mail")
        await self._links.request_verification(caller.user_id)
        return pb.RequestEmailVerificationResponse()

    async def ChangeEmail(self, request: pb.ChangeEmailRequest, caller: Caller) -> pb.ChangeEmailResponse:
        """Mail a link to a new address."""
        await self._limiter.admit("password", str(caller.user_id))
        check_address(request.email)
        await self._accounts.check_password(caller.user_id, request.password)
        await self._limiter.admit("verification", str(caller.user_id), pace="mail")
        await self._links.request_change(caller.user_id, request.email)
        return pb.ChangeEmailResponse()

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, caller: Caller) -> pb.DeleteAccountResponse:
        """Delete the account."""
        await self._limiter.admit("password", str(caller.user_id))
        await self._accounts.delete(caller.user_id, request.password)
        return pb.DeleteAccountResponse()


def _session(session: Session, current: UUID | None) -> pb.Session:
    return pb.Session(
        id=str(session.id),
        user_agent=session.user_agent,
        ip_address=session.ip_address,
        create_time=timestamp(session.created_at),
        last_use_time=timestamp(session.last_used_at),
        expire_time=timestamp(session.expires_at),
        current=session.id == current,
    )
