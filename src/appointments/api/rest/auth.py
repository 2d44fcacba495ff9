"""Registration and sign-in for browsers: /auth/*. Tokens travel in cookies only, so no script ever sees one."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router

from appointments.api.origin import Origins
from appointments.api.rest import cookies, json_body
from appointments.api.rest.client import address_of
from appointments.auth import Auth, Device, MailedLinks, accounts
from appointments.auth.mailed_links import check_address
from appointments.auth.ratelimit import Limiter, network
from appointments.auth.tokens import Tokens
from appointments.auth.user import User
from appointments.shared.errors import Forbidden, Invalid, TooMany, Unauthenticated
from appointments.shared.validation import fold_email


async def ask_for_reset(mailed_links: MailedLinks, limiter: Limiter, email: str) -> None:
    """Have a link mailed, unless the address has been sent many: then nothing is said of it, because it is no fault of
    its reader's.

    Raises:
        Invalid: it is no address.
        Unmet: there is no mail here.
    """
    check_address(email)
    with suppress(TooMany):
        await limiter.admit("password-reset", fold_email(email), pace="mail")
        await mailed_links.request_reset(email)


class AuthEndpoints:
    """The endpoints. Each of them changes something, so each first checks the origin of the calling page."""

    def __init__(
        self,
        auth: Auth,
        limiter: Limiter,
        origins: Origins,
        *,
        production: bool,
        trusted_proxy_hops: int,
        now: Callable[[], datetime],
    ) -> None:
        self._auth = auth
        self._limiter = limiter
        self._origins = origins
        self._production = production
        self._hops = trusted_proxy_hops
        self._now = now

    def router(self) -> Router:
        """The routes under /auth."""
        routes = [
            Route(f"/{endpoint.__name__}", endpoint, methods=["POST"])
            for endpoint in (self.register, self.login, self.refresh, self.logout)
        ]
        routes += [
            Route("/password-reset", self.request_reset, methods=["POST"]),
            Route("/password-reset/confirm", self.reset, methods=["POST"]),
        ]
        return Router(routes, redirect_slashes=False)

    async def register(self, request: Request) -> Response:
        """Create an account and sign in: 201."""
        await self._admit(request, "register")
        fields = await json_body.read(request)
        email, password, name = fields.text("email"), fields.text("password"), fields.text("display_name")
        if fields.violations:
            known = {violation.field for violation in fields.violations}
            others = [each for each in accounts.violations(email, password, name) if each.field not in known]
            raise Invalid([*fields.violations, *others])
        signed_in = await self._auth.accounts.register(email, password, name, self._device(request))
        return self._signed_in(request, signed_in.user, signed_in.tokens, 201)

    async def login(self, request: Request) -> Response:
        """Sign in: 200."""
        await self._admit(request, "login")
        fields = await json_body.read(request)
        email, password = fields.text("email"), fields.text("password")
        if fields.violations:
            raise Invalid(fields.violations)
        signed_in = await self._auth.accounts.login(email, password, self._device(request))
        return self._signed_in(request, signed_in.user, signed_in.tokens)

    async def refresh(self, request: Request) -> Response:
        """Exchange the refresh cookie: 200. A refusal keeps the cookies, as another tab may have set newer ones."""
        self._check_origin(request)
        await json_body.read(request, optional=True)
        token = cookies.refresh_token(request.scope["headers"], self._production)
        if token is None:
            raise Unauthenticated("There is no refresh token.", reason="INVALID_REFRESH_TOKEN")
        refreshed = await self._auth.rotation.exchange(token, request.headers.get("x-refresh-id"))
        return self._signed_in(request, refreshed.user, refreshed.tokens)

    async def logout(self, request: Request) -> Response:
        """End the session, if there is one, and clear the cookies: 204."""
        self._check_origin(request)
        await json_body.read(request, optional=True)
        if token := cookies.refresh_token(request.scope["headers"], self._production):
            await self._auth.sessions.log_out(token)
        response = Response(status_code=204)
        cookies.clear(response, production=self._production)
        return response

    async def request_reset(self, request: Request) -> Response:
        """Have a link mailed that sets a new password: 202, whether or not the address has an account."""
        await self._admit(request, "password-reset")
        fields = await json_body.read(request)
        email = fields.text("email")
        if fields.violations:
            raise Invalid(fields.violations)
        await ask_for_reset(self._auth.mailed_links, self._limiter, email)
        return JSONResponse({}, 202)

    async def reset(self, request: Request) -> Response:
        """Set a new password with a mailed token: 204. Nobody is signed in by it, and everybody is signed out."""
        await self._admit(request, "password-reset-confirm")
        fields = await json_body.read(request)
        token, password = fields.text("token"), fields.text("password")
        if fields.violations:
            raise Invalid(fields.violations)
        await self._auth.mailed_links.reset(token, password)
        return Response(status_code=204)

    async def _admit(self, request: Request, action: str) -> None:
        self._check_origin(request)
        await self._limiter.admit(action, network(self._address(request)))

    def _check_origin(self, request: Request) -> None:
        if not self._origins.permits(request.scope):
            raise Forbidden("A page of another site may not do this.")

    def _address(self, request: Request) -> str:
        return address_of(request, self._hops)

    def _device(self, request: Request) -> Device:
        return Device(request.headers.get("user-agent", ""), self._address(request))

    def _signed_in(self, request: Request, user: User, tokens: Tokens, status: int = 200) -> Response:
        request.state.user_id = str(user.id)
        content = {
            "user": {"id": str(user.id), "email": user.email, "display_name": user.display_name},
            "access_token_expire_time": tokens.access_expires_at.isoformat().replace("+00:00", "Z"),
        }
        response = JSONResponse(content, status)
        cookies.put(response, tokens, self._now(), production=self._production)
        return response
