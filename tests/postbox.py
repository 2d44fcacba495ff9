"""A real mail server (aiosmtpd) that refuses, stalls and drops as a test asks, and keeps what it took."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import policy
from email.parser import BytesParser
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.service import free_ports

Outcome = Literal["take", "4xx at RCPT", "5xx at RCPT", "4xx at DATA", "5xx at DATA", "drop", "stall", "take and drop"]


@dataclass
class Postbox:
    """What the server does with the n-th attempt for a recipient, and what it has taken."""

    decide: Callable[[str, int], Outcome] = lambda recipient, attempt: "take"
    stall_seconds: float = 5.0
    taken: list[tuple[str, Any]] = field(default_factory=list)
    senders: list[str] = field(default_factory=list)
    """The senders of what was taken (MAIL FROM), in the same order."""
    accepts: Callable[[str], bool] = lambda sender: True
    """Whether the server takes messages from a sender."""
    attempts: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    """Message ids that were taken without an answer: their sender cannot know."""
    port: int = 0

    @property
    def url(self) -> str:
        """For SMTP_URL."""
        return f"smtp://127.0.0.1:{self.port}"

    def to(self, recipient: str) -> list[Any]:
        """The messages (:class:`EmailMessage`) that were taken for somebody."""
        return [message for known, message in self.taken if known == recipient]

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        if not self.accepts(address):
            return "553 5.7.1 not your address"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        self.attempts[address] += 1
        outcome = self.decide(address, self.attempts[address])
        if outcome == "4xx at RCPT":
            return "450 4.2.1 not now"
        if outcome == "5xx at RCPT":
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The end of DATA."""
        (recipient,) = envelope.rcpt_tos
        outcome = self.decide(recipient, self.attempts[recipient])
        if outcome == "drop":
            return self._drop(server)
        if outcome == "stall":
            await asyncio.sleep(self.stall_seconds)
            return self._drop(server)
        if outcome == "4xx at DATA":
            return "451 4.3.0 try again"
        if outcome == "5xx at DATA":
            return "554 5.6.0 this looks like spam"
        content: Any = envelope.content
        message: Any = BytesParser(policy=policy.default).parsebytes(content)
        self.taken.append((recipient, message))
        self.senders.append(str(envelope.mail_from))
        if outcome == "take and drop":
            self.unanswered[message["Message-ID"]] += 1
            return self._drop(server)
        return "250 2.0.0 queued as 1"

    @staticmethod
    def _drop(server: SMTP) -> str:
        transport: Any = server.transport
        transport.abort()
        return "421 gone"


@contextmanager
def postbox(box: Postbox | None = None, *, tls: ssl.SSLContext | None = None, **decided: Any) -> Iterator[Postbox]:
    """A server on a free port of loopback. ``tls`` is what it offers by STARTTLS."""
    box = box or Postbox()
    (box.port,) = free_ports(1)
    controller = Controller(
        box, hostname="127.0.0.1", port=box.port, enable_SMTPUTF8=True, tls_context=tls, ready_timeout=30, **decided
    )
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
