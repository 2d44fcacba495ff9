"""Letters that say what they are told to, for tests and for the processes that they kill."""

from appointments.db import Connection
from appointments.mail import Letter, Mail, Sender
from appointments.mail.postman import Writer

SENDER = Sender("calendar@example.com", "Appointments", "example.com")


async def write(connection: Connection, letter: Letter) -> Mail | None:
    """Whatever the letter says."""
    return Mail(letter.about["subject"], ("Hello.",)) if letter.about.get("subject") else None


WRITERS = {"test": Writer(write), "own": Writer(write, is_own=True)}
