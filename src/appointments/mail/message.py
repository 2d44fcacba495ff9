"""The content of a message, and how it is encoded (RFC 5322, RFC 2045, RFC 6047 for its calendar part).

Names, titles and addresses are data. Whatever they contain, they can neither inject a header nor become markup.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import parseaddr
from urllib.parse import urlsplit
from uuid import UUID

import idna
import jinja2

_CONTROLS = re.compile(r"[\x00-\x20\x7f-\xa0\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]+")
"""Characters that are removed from headers: line ends, controls, and those that hide or reverse text."""

MAX_SUBJECT = 150

_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("appointments.mail"),
    autoescape=jinja2.select_autoescape(["html"]),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


@dataclass(frozen=True, slots=True)
class Action:
    """A link that is shown as a button."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """The calendar part of a message: an iTIP method (RFC 5546) and an iCalendar object."""

    method: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    """The content of a message: paragraphs, facts (pairs of a label and a text), and links.

    ``from_name`` is the person on whose behalf it is sent. ``footer`` says why the recipient gets it. With an
    ``unsubscribe_url`` mail programs offer to unsubscribe (RFC 8058).
    """

    subject: str
    paragraphs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...] = ()
    actions: tuple[Action, ...] = ()
    closing: tuple[str, ...] = ()
    footer: str = ""
    from_name: str = ""
    reply_to: str = ""
    calendar: Calendar | None = None
    unsubscribe_url: str = ""
    """Mail programs POST to this address. Opened in a browser it shows a page with a button."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends: an address, the service's name, and the domain of its message ids."""

    address: str
    name: str
    domain: str

    @classmethod
    def of(cls, mail_from: str, public_url: str) -> "Sender":
        """Read MAIL_FROM (``Name <address>`` or an address alone)."""
        name, address = parseaddr(mail_from)
        return cls(address, name or "Appointments", urlsplit(public_url).hostname or address.rpartition("@")[2])


def one_line(text: str, most: int = MAX_SUBJECT) -> str:
    """A text fit for a header: one line, without controls, cut to so many characters."""
    line = _CONTROLS.sub(" ", text).strip()
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def on_the_wire(address: str) -> str:
    """An address as SMTP has it: domains of other scripts have a form in ASCII (RFC 5891), the local part has none."""
    local, _, domain = address.rpartition("@")
    return address if domain.isascii() else f"{local}@{idna.encode(domain, uts46=True).decode()}"


def compose(mail: Mail, sender: Sender, *, id: UUID, recipient: str, date: datetime) -> EmailMessage:  # noqa: A002
    """Put a message together. The same arguments make the same message, so that a repeated one can be told."""
    message = EmailMessage(SMTP if recipient.isascii() else SMTPUTF8)
    name = f"{one_line(mail.from_name, 60)} ({sender.name})" if mail.from_name else sender.name
    message["From"] = _address(one_line(name), sender.address)
    message["To"] = _address("", recipient)
    message["Subject"] = one_line(mail.subject)
    message["Date"] = date.replace(microsecond=0)
    message["Message-ID"] = f"<{id}@{sender.domain}>"
    if mail.reply_to:
        message["Reply-To"] = _address("", mail.reply_to)
    if mail.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    # Vacation notices and the like must not answer (RFC 3834, and what Exchange heeds).
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"
    # Quoted-printable: relays may break lines of more than 998 bytes (RFC 5322 §2.1.1), and people write such lines.
    message.set_content(_render("letter.txt", mail), cte="quoted-printable")
    message.add_alternative(_render("letter.html", mail), subtype="html", cte="quoted-printable")
    if mail.calendar:
        _attach(message, mail.calendar)
    return message


def _attach(message: EmailMessage, calendar: Calendar) -> None:
    # As an alternative for programs that know invitations, and as a file for those that know files. Base64, because a
    # relay that breaks lines would break the object.
    method = {"method": calendar.method, "charset": "utf-8"}
    part = EmailMessage(message.policy)
    part.set_content(calendar.content, "text", "calendar", cte="base64", params=method)
    del part["MIME-Version"]
    message.attach(part)
    message.add_attachment(
        calendar.content, "application", "ics", filename="cancel.ics" if calendar.method == "CANCEL" else "invite.ics"
    )


def _render(template: str, mail: Mail) -> str:
    return _templates.get_template(template).render(mail=mail)


def _address(name: str, address: str) -> Address:
    # Not as addr_spec: the library takes letters beyond ASCII in parts only.
    local, _, domain = address.rpartition("@")
    return Address(display_name=name, username=local, domain=domain)
