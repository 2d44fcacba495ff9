"""Pages made on the server, for whoever follows a link in a mail: plain HTML that works without script.

GET never changes anything, because mail scanners follow every link. What acts is a form's POST; the token in its path
is what allows it, so neither a cookie nor an Origin counts (with no-referrer browsers send ``Origin: null``). The pages
are not for search engines, and their addresses go to nobody.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from appointments.shared.errors import STATUSES, Fault, Malformed, TooLarge

HEADERS = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}
STYLE = (Path(__file__).parent / "templates/plain.css").read_bytes()
MAX_BYTES = 64 * 1024

Endpoint = Callable[[Request], Awaitable[Response]]

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("appointments.api.rest"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, status: int = 200, **context: object) -> Response:
    """Make a page."""
    return HTMLResponse(_templates.get_template(template).render(context), status, HEADERS)


def said(title: str, *paragraphs: str, status: int = 200, home: bool = True) -> Response:
    """A page that only says something; with a way to the calendar, if ``home``."""
    return render("said.html", status, title=title, paragraphs=paragraphs, home=home)


def with_faults(endpoint: Endpoint) -> Endpoint:
    """Faults as pages rather than as problem details."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Fault as fault:
            response = said("That did not work", fault.message, status=STATUSES[type(fault)].http)
            if fault.retry_after is not None:
                response.headers["Retry-After"] = str(int(fault.retry_after) + 1)
            return response

    return answer


async def form(request: Request) -> dict[str, str]:
    """The fields of a form (application/x-www-form-urlencoded).

    Raises:
        TooLarge: the body is over 64 KiB.
        Malformed: it cannot be read.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise TooLarge(f"The form must be at most {MAX_BYTES} bytes.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Malformed("The form cannot be read.", reason="MALFORMED_FORM") from None


async def _style(request: Request) -> Response:  # noqa: ARG001
    return Response(STYLE, media_type="text/css", headers={"Cache-Control": "public, max-age=3600"})


STYLE_ROUTE = Route("/plain.css", _style, methods=["GET"])
