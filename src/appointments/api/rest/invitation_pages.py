"""Where the links in an invitation lead: /invitation/<token> to answer it, /unsubscribe/<token> to end it.

/invitation/series/<token> answers a whole series.
"""

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appointments.api.rest import plain
from appointments.api.rest.client import address_of
from appointments.auth.ratelimit import Limiter, network
from appointments.db import instant
from appointments.icalendar.invitations import Answers, Invitation, SeriesAnswers, SeriesInvitation, wording
from appointments.icalendar.invitations.answers import MAX_COMMENT, RESPONSES
from appointments.icalendar.invitations.letters import MOST_DESCRIPTION, facts, name_of
from appointments.icalendar.invitations.notifying import facts_of

SCRIPT = (Path(__file__).parent / "templates/times.js").read_bytes()

_LABELS = {"ACCEPTED": "Accept", "TENTATIVE": "Maybe", "DECLINED": "Decline"}
_SAID = {
    "NEEDS-ACTION": "You have not answered yet.",
    "ACCEPTED": "You have accepted.",
    "TENTATIVE": "You have answered: maybe.",
    "DECLINED": "You have declined.",
}


class InvitationPages:
    """The pages."""

    def __init__(self, answers: Answers, limiter: Limiter, *, trusted_proxy_hops: int) -> None:
        self._answers = answers
        self._series = SeriesAnswers.beside(answers)
        self._limiter = limiter
        self._hops = trusted_proxy_hops

    def routes(self) -> list[Route]:
        """The routes."""
        pages = (
            ("/invitation/{token}", self._invitation),
            ("/invitation/series/{token}", self._of_series),
            ("/unsubscribe/{token}", self._unsubscribe),
        )
        return [
            *(Route(path, plain.with_faults(page), methods=["GET", "POST"]) for path, page in pages),
            Route("/times.js", _script, methods=["GET"]),
        ]

    async def _invitation(self, request: Request) -> Response:
        token = request.path_params["token"]
        if request.method == "POST":
            await self._admit(request)
            fields = await plain.form(request)
            invitation = await self._answers.respond(token, fields.get("response", ""), fields.get("comment", ""))
            return self._page(invitation, "", has_answered=True)
        return self._page(await self._answers.look(token), request.query_params.get("answer", ""))

    async def _of_series(self, request: Request) -> Response:
        token = request.path_params["token"]
        if request.method == "POST":
            await self._admit(request)
            fields = await plain.form(request)
            invitation = await self._series.respond(token, fields.get("response", ""), fields.get("comment", ""))
            return self._series_page(invitation, "", has_answered=True)
        return self._series_page(await self._series.look(token), request.query_params.get("answer", ""))

    def _series_page(self, invitation: SeriesInvitation, wanted: str, *, has_answered: bool = False) -> Response:
        series = invitation.series
        listed = [("What", series.title), ("When", wording.when(series.spec))]
        listed += [("Where", series.location)] * bool(series.location)
        listed += [("Organizer", name_of(invitation.organizer))]
        listed += [("Notes", series.description[:MOST_DESCRIPTION])] * bool(series.description)
        return _answering(
            invitation, wanted, has_answered=has_answered, what="series", title=series.title, facts=listed,
            start="", end="", all_day=True,
        )  # fmt: skip

    def _page(self, invitation: Invitation, wanted: str, *, has_answered: bool = False) -> Response:
        appointment, organizer = invitation.appointment, name_of(invitation.organizer)
        return _answering(
            invitation,
            wanted,
            has_answered=has_answered,
            what="appointment",
            title=appointment.title,
            facts=facts(facts_of(appointment), {}, appointment.time_zone, organizer),
            start=instant(appointment.start_at).isoformat(),
            end=instant(appointment.end_at).isoformat(),
            all_day=bool(appointment.all_day),
        )

    async def _unsubscribe(self, request: Request) -> Response:
        token = request.path_params["token"]
        if request.method == "POST":
            await self._admit(request)
            # Mail programs POST "List-Unsubscribe=One-Click" (RFC 8058); our form says what it wants.
            wanted = (await plain.form(request)).get("wanted") == "yes"
            address = await self._answers.subscribe(token, wanted=wanted)
            told = "We write to {} again." if wanted else "We do not write to {} any more."
            return plain.said("Done", told.format(address), home=False)
        address, is_written_to = await self._answers.address_of(token)
        return plain.render(
            "unsubscribe.html", title="Mail from this service", address=address, is_written_to=is_written_to
        )

    async def _admit(self, request: Request) -> None:
        await self._limiter.admit("link", network(address_of(request, self._hops)))


def _answering(
    invitation: Invitation | SeriesInvitation, wanted: str, *, has_answered: bool, what: str, **said: Any
) -> Response:
    note = ""
    if invitation.is_off:
        note = f"This {what} has been cancelled."
    elif invitation.attendee is None:
        note = f"You are not invited to this {what} any more."
    answer = invitation.attendee.response if invitation.attendee else ""
    # What was clicked in the mail comes first; nothing is answered by following the link.
    order = sorted(RESPONSES, key=lambda each: each != wanted) if wanted in RESPONSES else RESPONSES
    return plain.render(
        "invitation.html",
        address=invitation.address,
        note=note,
        answer=_SAID.get(answer, "") if not note else "",
        has_answered=has_answered,
        comment=invitation.attendee.comment if invitation.attendee else "",
        buttons=[(each, _LABELS[each], each == answer) for each in order] if invitation.is_open else [],
        most=MAX_COMMENT,
        **said,
    )


async def _script(request: Request) -> Response:  # noqa: ARG001
    return Response(SCRIPT, media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})
