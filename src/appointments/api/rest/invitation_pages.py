"""Where the links in an invitation lead: /invitation/<token> to answer it, /unsubscribe/<token> to end it."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from appointments.api.rest import plain
from appointments.api.rest.client import address_of
from appointments.auth.ratelimit import Limiter, network
from appointments.db import instant
from appointments.icalendar.invitations import Answers, Invitation
from appointments.icalendar.invitations.answers import MAX_COMMENT, RESPONSES
from appointments.icalendar.invitations.letters import facts, name_of
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
        self._limiter = limiter
        self._hops = trusted_proxy_hops

    def routes(self) -> list[Route]:
        """The routes."""
        pages = (("/invitation/{token}", self._invitation), ("/unsubscribe/{token}", self._unsubscribe))
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

    def _page(self, invitation: Invitation, wanted: str, *, has_answered: bool = False) -> Response:
        appointment, organizer = invitation.appointment, name_of(invitation.organizer)
        note = ""
        if appointment.deleted_at is not None:
            note = "This appointment has been cancelled."
        elif invitation.attendee is None:
            note = "You are not invited to this appointment any more."
        answer = invitation.attendee.response if invitation.attendee else ""
        # What was clicked in the mail comes first; nothing is answered by following the link.
        order = sorted(RESPONSES, key=lambda each: each != wanted) if wanted in RESPONSES else RESPONSES
        return plain.render(
            "invitation.html",
            title=appointment.title,
            address=invitation.address,
            facts=facts(facts_of(appointment), {}, appointment.time_zone, organizer),
            start=instant(appointment.start_at).isoformat(),
            end=instant(appointment.end_at).isoformat(),
            all_day=bool(appointment.all_day),
            note=note,
            answer=_SAID.get(answer, "") if not note else "",
            has_answered=has_answered,
            comment=invitation.attendee.comment if invitation.attendee else "",
            buttons=[(each, _LABELS[each], each == answer) for each in order] if invitation.is_open else [],
            most=MAX_COMMENT,
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


async def _script(request: Request) -> Response:  # noqa: ARG001
    return Response(SCRIPT, media_type="text/javascript", headers={"Cache-Control": "public, max-age=3600"})
