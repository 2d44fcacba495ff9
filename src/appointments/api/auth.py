"""AuthService: limit, call the feature, convert. Programs use it; browsers have the same as REST under /auth."""

from appointments.api.bookable import set_hours, set_rules
from appointments.api.caller import Visitor
from appointments.api.convert import timestamp
from appointments.auth import Accounts, Device, Rotation, Sessions
from appointments.auth.ratelimit import Limiter, network
from appointments.auth.tokens import Tokens
from appointments.auth.user import User
from appointments.calendar.bookable.hours import Hours
from appointments.calendar.bookable.rules import BookingRules
from appointments.v1 import account_pb2, auth_pb2


class AuthService:
    """Registration, sign-in, refresh and sign-out. Statuses are in proto/appointments/v1/auth.proto."""

    def __init__(self, accounts: Accounts, sessions: Sessions, rotation: Rotation, limiter: Limiter) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._rotation = rotation
        self._limiter = limiter

    async def Register(self, request: auth_pb2.RegisterRequest, visitor: Visitor) -> auth_pb2.RegisterResponse:
        """Create an account and sign in."""
        await self._limiter.admit("register", network(visitor.address))
        signed_in = await self._accounts.register(
            request.email, request.password, request.display_name, device(visitor)
        )
        return auth_pb2.RegisterResponse(user=user_message(signed_in.user), tokens=_tokens(signed_in.tokens))

    async def Login(self, request: auth_pb2.LoginRequest, visitor: Visitor) -> auth_pb2.LoginResponse:
        """Sign in."""
        await self._limiter.admit("login", network(visitor.address))
        signed_in = await self._accounts.login(request.email, request.password, device(visitor))
        return auth_pb2.LoginResponse(user=user_message(signed_in.user), tokens=_tokens(signed_in.tokens))

    async def Refresh(self, request: auth_pb2.RefreshRequest, visitor: Visitor) -> auth_pb2.RefreshResponse:
        """Exchange a refresh token."""
        refreshed = await self._rotation.exchange(request.refresh_token, visitor.attempt_id)
        return auth_pb2.RefreshResponse(tokens=_tokens(refreshed.tokens))

    async def Logout(self, request: auth_pb2.LogoutRequest, visitor: Visitor) -> auth_pb2.LogoutResponse:  # noqa: ARG002
        """End a session."""
        await self._sessions.log_out(request.refresh_token)
        return auth_pb2.LogoutResponse()


def device(visitor: Visitor) -> Device:
    """The device that a new session is recorded with."""
    return Device(user_agent=visitor.user_agent, address=visitor.address)


_ROLES = {"user": account_pb2.USER_ROLE_USER, "admin": account_pb2.USER_ROLE_ADMIN}
_KINDS = {"person": account_pb2.USER_KIND_PERSON, "service_account": account_pb2.USER_KIND_SERVICE_ACCOUNT}


def user_message(user: User) -> account_pb2.User:
    """A user as the contract has it."""
    message = account_pb2.User(
        id=str(user.id),
        email=user.email,
        display_name=user.display_name,
        time_zone=user.time_zone,
        create_time=timestamp(user.created_at),
        update_time=timestamp(user.updated_at),
        external_id=user.external_id,
        role=_ROLES[user.role],
        disabled=user.disabled,
        kind=_KINDS[user.kind],
        email_verified=user.email_verified,
        default_reminders=user.default_reminders,
    )
    if user.hours:
        set_hours(message.hours, Hours.from_json(user.hours))
    if user.booking_rules:
        set_rules(message.booking_rules, BookingRules.from_json(user.booking_rules))
    return message


def _tokens(tokens: Tokens) -> auth_pb2.Tokens:
    return auth_pb2.Tokens(
        access_token=tokens.access_token,
        access_token_expire_time=timestamp(tokens.access_expires_at),
        refresh_token=tokens.refresh_token,
        refresh_token_expire_time=timestamp(tokens.refresh_expires_at),
    )
