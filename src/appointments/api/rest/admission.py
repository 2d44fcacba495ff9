"""Who calls an HTTP endpoint that is for somebody who has signed in: under the same policy as an RPC."""

from starlette.requests import Request

from appointments.api.caller import Caller, Visitor
from appointments.api.origin import Origins
from appointments.api.rest import cookies
from appointments.api.rpc import Policy
from appointments.api.scopes import Rule
from appointments.shared.errors import Forbidden


async def admit(request: Request, policy: Policy, origins: Origins, rule: Rule, *, production: bool) -> Caller:
    """Tell who calls, with the session's cookie or a bearer, and see that they may.

    Raises:
        Unauthenticated: nobody, or nobody any more.
        Denied: they may not.
        Forbidden: the session's cookie comes from a page that may not use it.
        NotFound, Unmet: there is nobody to act for.
    """
    headers = proved(request, origins, production=production)
    _, caller = await policy.admit(headers, visitor_of(request, headers, policy), rule)
    request.state.user_id = str(caller.user_id)
    return caller


def visitor_of(request: Request, headers: dict[str, str], policy: Policy) -> Visitor:
    """What is known of the client before anybody has asked who it is."""
    peer = request.client.host if request.client else ""
    return policy.visitor(headers, peer, headers.get("x-forwarded-for"))


def proved(request: Request, origins: Origins, *, production: bool) -> dict[str, str]:
    """The headers, with what proves who calls where a native client would have put it.

    Raises:
        Forbidden: the session's cookie comes from a page that may not use it.
    """
    headers = {name: ", ".join(request.headers.getlist(name)) for name in request.headers}
    headers["x-request-id"] = request.state.request_id
    token = cookies.access_token(request.scope["headers"], production)
    if token is not None:
        if not origins.permits(request.scope):
            raise Forbidden("A page of another site may not do this.")
        headers.setdefault("authorization", f"Bearer {token}")
    return headers
