"""InvitationService: convert, call the feature, convert."""

from appointments.api import convert
from appointments.api.caller import Caller, cause
from appointments.auth.ratelimit import Limiter
from appointments.calendar import booking, invited, series_guests
from appointments.calendar.invited import Answer
from appointments.db import Database
from appointments.shared.errors import Invalid, NotFound, Unmet
from appointments.v1 import appointments_pb2
from appointments.v1 import invitations_pb2 as pb

_RESPONSES = {
    appointments_pb2.ATTENDEE_RESPONSE_ACCEPTED: "ACCEPTED",
    appointments_pb2.ATTENDEE_RESPONSE_TENTATIVE: "TENTATIVE",
    appointments_pb2.ATTENDEE_RESPONSE_DECLINED: "DECLINED",
}


class InvitationService:
    """What others invite the caller to. Statuses are in proto/appointments/v1/invitations.proto."""

    def __init__(self, db: Database, limiter: Limiter) -> None:
        self._db = db
        self._limiter = limiter

    async def RespondToInvitation(
        self, request: pb.RespondToInvitationRequest, caller: Caller
    ) -> pb.RespondToInvitationResponse:
        """Answer an invitation."""
        answer = Answer(_RESPONSES.get(request.response, ""), request.comment, request.follow)
        bad = answer.violations()
        try:
            appointment_id = convert.identifier(request.appointment_id, "appointment_id")
        except Invalid as named:
            bad = [*named.violations, *bad]
        if bad:
            raise Invalid(bad)
        await self._limiter.admit("respond", str(caller.user_id))
        try:
            respond = series_guests.respond if request.whole_series else invited.respond
            answered = await respond(self._db, caller.user_id, appointment_id, answer, cause=cause(caller))
        except NotFound:
            # Whoever may see it all the same is told why it is not theirs to answer.
            await booking.get(self._db, caller.user_id, appointment_id)
            raise Unmet("You are not invited to this appointment.", reason="NOT_INVITED") from None
        return pb.RespondToInvitationResponse(appointment=convert.appointment(answered))

    async def ListOpenInvitations(
        self,
        request: pb.ListOpenInvitationsRequest,  # noqa: ARG002
        caller: Caller,
    ) -> pb.ListOpenInvitationsResponse:
        """List what is not answered."""
        found = await invited.unanswered(self._db, caller.user_id)
        response = pb.ListOpenInvitationsResponse(total_size=found.total)
        for each in found.nearest:
            entry = response.invitations.add(whole_series=each.whole_series, occurrence_count=each.occurrences)
            convert.appointment(each.appointment, lambda entry=entry: entry.appointment)
        return response
