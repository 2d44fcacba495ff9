"""/dev/mail: the mail that development keeps, for whoever sits at the machine.

It shows links that sign people in, so it answers loopback only, and only under a name of this machine: a page of
another site whose name was pointed here (DNS rebinding) gets nothing.
"""

import asyncio
import re
from email.message import EmailMessage
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

from markupsafe import Markup, escape
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appointments.api.rest import plain
from appointments.mail.folder import Folder
from appointments.shared.validation import is_uuid

_LINK = re.compile(r"https?://[^\s<>\"]+")
_BODY = re.compile(r"<body[^>]*>(.*)</body>", re.DOTALL)


class DevelopmentMail:
    """The pages."""

    def __init__(self, folder: Folder, public_url: str) -> None:
        self._folder = folder
        self._names = {"localhost", urlsplit(public_url).hostname}

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route("/dev/mail", self._list, methods=["GET"]),
            Route("/dev/mail/{id}", self._show, methods=["GET"]),
            Route("/dev/mail/{id}/{part}", self._part, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        self._check(request)
        messages = await asyncio.to_thread(self._folder.messages)
        return plain.render("mails.html", title="Mail that was not sent", messages=messages)

    async def _show(self, request: Request) -> Response:
        message = await self._message(request)
        text, html = message.get_body(("plain",)), message.get_body(("html",))
        # The markup is our own, whatever the names and titles in it: they were escaped when it was made.
        found = _BODY.search(str(html.get_content())) if html else None
        return plain.render(
            "mail.html",
            title=message["Subject"],
            id=request.path_params["id"],
            headers=[(name, value) for name, value in message.items() if name not in {"MIME-Version", "Content-Type"}],
            text=_linked(str(text.get_content()) if text else ""),
            html=Markup(found.group(1)) if found else "",  # noqa: S704 - see above
            parts=[(number, part.get_content_type()) for number, part in enumerate(_leaves(message))],
        )

    async def _part(self, request: Request) -> Response:
        message, part = await self._message(request), request.path_params["part"]
        if part == "message.eml":
            return Response(message.as_bytes(), media_type="message/rfc822", headers=plain.HEADERS)
        leaves = _leaves(message)
        if not (part.isascii() and part.isdigit() and int(part) < len(leaves)):
            raise HTTPException(404)
        content = leaves[int(part)].get_payload(decode=True)
        # As text, so that a browser shows it; never as what it says of itself.
        return Response(cast("bytes", content), media_type="text/plain", headers=plain.HEADERS)

    async def _message(self, request: Request) -> EmailMessage:
        self._check(request)
        name = request.path_params["id"]
        message = await asyncio.to_thread(self._folder.get, UUID(name)) if is_uuid(name) else None
        if message is None:
            raise HTTPException(404)
        return message

    def _check(self, request: Request) -> None:
        peer = request.client.host if request.client else ""
        if not (_is_loopback(peer) and (request.url.hostname in self._names or _is_loopback(request.url.hostname))):
            raise HTTPException(404)


def _leaves(message: EmailMessage) -> list[EmailMessage]:
    return [part for part in message.walk() if not part.is_multipart()]


def _linked(text: str) -> Markup:
    parts, last = [], 0
    for match in _LINK.finditer(text):
        parts += [escape(text[last : match.start()]), Markup('<a href="{0}">{0}</a>').format(match.group())]
        last = match.end()
    return Markup("").join([*parts, escape(text[last:])])


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address((host or "").strip("[]")).is_loopback
    except ValueError:
        return False
