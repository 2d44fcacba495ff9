"""Rules for input that are the same everywhere: text, e-mail addresses, time zones."""

from uuid import UUID
from zoneinfo import available_timezones

from email_validator import EmailNotValidError, validate_email

ZONES = frozenset(available_timezones() - {"Factory", "localtime"})
"""The IANA zones and their aliases, from the system's database or the ``tzdata`` package."""

MAX_EMAIL = 254
"""RFC 5321 §4.5.3.1.3, less the angle brackets."""


def problem(value: str, *, most: int, least: int = 0) -> str | None:
    """Say what is wrong with a text of ``least`` to ``most`` characters, or None.

    PostgreSQL cannot store NUL, and UTF-8 has no lone surrogates (JSON can spell both).
    """
    if len(value) > most:
        return f"must have at most {most:,} characters, has {len(value):,}"
    if least and not value.strip():
        return "must not be blank" if value else "is required"
    if len(value) < least:
        return f"must have at least {least} characters"
    if "\x00" in value:
        return "must not contain NUL characters"
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        return "must not contain lone surrogates"
    return None


def email_problem(value: str) -> str | None:
    """Say what is wrong with an e-mail address, or None. It is not checked whether mail can be delivered to it."""
    if found := problem(value, most=MAX_EMAIL, least=3):
        return found
    try:
        # test_environment: the domain .test (RFC 6761) is reserved for development, so it must be allowed.
        validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return "is not a valid e-mail address"
    return None


def fold_email(value: str) -> str:
    """The form in which two spellings of one address are equal."""
    return value.strip().lower()


def is_uuid(value: str) -> bool:
    """Whether a text is a UUID in its canonical spelling (RFC 9562 §4), in either case."""
    try:
        return str(UUID(value)) == value.lower()
    except ValueError:
        return False
