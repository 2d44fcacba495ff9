"""Invitations: whoever is to come to an appointment is told, and answers.

What is to be mailed follows from the log of changes, so that booking knows nothing of it and costs nothing more. A
change of an appointment with attendees defers one job for it, half a minute later; the job compares what each of them
was told with what is so by then. So several changes are one message, and nothing can be forgotten: what was not told is
told the next time that anybody looks.
"""

from appointments.icalendar.invitations.answers import Answers, Invitation
from appointments.icalendar.invitations.following import Follower
from appointments.icalendar.invitations.letters import Letters
from appointments.icalendar.invitations.limits import Limits
from appointments.icalendar.invitations.telling import Telling

__all__ = ["Answers", "Follower", "Invitation", "Letters", "Limits", "Telling"]
