"""Which client sends a request."""

from starlette.requests import Request

from appointments.api.address import client_address


def address_of(request: Request, trusted_proxy_hops: int) -> str:
    """The client's IP address."""
    peer = request.client.host if request.client else ""
    return client_address(peer, ",".join(request.headers.getlist("x-forwarded-for")), trusted_proxy_hops)
