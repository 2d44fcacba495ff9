"""``GET /auth/audit``: what happened to the caller's account, the latest first.

Whoever else did it is only called by their part: an admin's address is nobody's business but the admin's.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from appointments.api.origin import Origins
from appointments.api.rest.admission import admit
from appointments.api.rpc import Policy
from appointments.api.scopes import PEOPLE
from appointments.auth import audit
from appointments.db import Database, paging
from appointments.shared.errors import Invalid, Violation

DEFAULT_PAGE = 50
MAX_PAGE = 200


class History:
    """The endpoint."""

    def __init__(self, db: Database, policy: Policy, origins: Origins, *, production: bool) -> None:
        self._db = db
        self._policy = policy
        self._origins = origins
        self._production = production

    def routes(self) -> list[Route]:
        """The route."""
        return [Route("/auth/audit", self._list, methods=["GET"])]

    async def _list(self, request: Request) -> Response:
        caller = await admit(request, self._policy, self._origins, PEOPLE, production=self._production)
        size, before = _asked(request, str(caller.user_id))
        wanted = audit.Filter(user_id=caller.user_id)
        found = await audit.entries(self._db, wanted, limit=size + 1, before=before)
        shown, token = found[:size], ""
        if len(found) > size:
            token = paging.seal(shown[-1].id.to_bytes(8), f"audit of {caller.user_id}")
        content = {"events": [_told(each) for each in shown], "next_page_token": token}
        return JSONResponse(content, headers={"Cache-Control": "no-store"})


def _asked(request: Request, user_id: str) -> tuple[int, int | None]:
    bad = []
    size, token = request.query_params.get("page_size", ""), request.query_params.get("page_token", "")
    key = paging.unseal(token, f"audit of {user_id}") if token else b""
    if size and not (size.isascii() and size.isdigit() and len(size) < 10):
        bad.append(Violation("page_size", "must be a number that is not negative"))
    if token and (key is None or len(key) != 8):
        bad.append(Violation("page_token", "is not a page token of this list"))
    if bad:
        raise Invalid(bad)
    return min(int(size or 0) or DEFAULT_PAGE, MAX_PAGE), int.from_bytes(key) if key else None


def _told(entry: audit.Entry) -> dict[str, Any]:
    by = "you" if entry.actor_id == entry.user_id else "nobody signed in"
    if entry.source == "command":
        by = "operator"
    elif entry.actor_id and entry.actor_id != entry.user_id:
        by = "admin"
    own = by in {"you", "nobody signed in"}
    detail = {key: value for key, value in entry.detail.items() if key != "operator"}
    return {
        "time": entry.at.isoformat().replace("+00:00", "Z"),
        "event": entry.event,
        "by": by,
        "address": (own and entry.address) or "",
        "user_agent": (own and entry.user_agent) or "",
        "request_id": (own and entry.request_id) or "",
        "detail": detail,
    }
