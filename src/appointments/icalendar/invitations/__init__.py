"""Invitations: the attendees of an appointment get mail about it, and can answer.

The mail is derived from the log of changes, so booking does not know about it and does not become slower. A change of
an appointment with attendees defers one job, half a minute later. The job compares what each attendee was told with how
the appointment is by then. So several changes make one message, and nothing gets lost: what one job misses, the next
one sends.
"""

from appointments.icalendar.invitations.answers import Answers, Invitation
from appointments.icalendar.invitations.following import Follower
from appointments.icalendar.invitations.letters import Letters
from appointments.icalendar.invitations.limits import Limits
from appointments.icalendar.invitations.notifying import Telling
from appointments.icalendar.invitations.receiving import Ignored, Reception
from appointments.icalendar.invitations.series_answers import SeriesAnswers, SeriesInvitation
from appointments.icalendar.invitations.series_letters import SeriesLetters
from appointments.icalendar.invitations.series_notifying import SeriesTelling

__all__ = [
    "Answers",
    "Follower",
    "Ignored",
    "Invitation",
    "Letters",
    "Limits",
    "Reception",
    "SeriesAnswers",
    "SeriesInvitation",
    "SeriesLetters",
    "SeriesTelling",
    "Telling",
]
