"""Handing a message to a mail server: SMTP (RFC 5321), submission with TLS (RFC 8314), SMTPUTF8 (RFC 6531).

Each message has a connection of its own, so a server that stalls or restarts spoils nothing else. Beyond loopback
nothing is sent before TLS has begun, and the server's certificate must be one that this machine trusts.
"""

import asyncio
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from ipaddress import ip_address
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib

STEP_SECONDS = 15.0
"""How long the server may take for each of its answers, and for the connection."""

MOST_SECONDS = 40.0
"""How long a whole conversation may take. The job around it has 50 seconds."""


class NotNow(Exception):
    """The message was not accepted, but may be later: no connection, a temporary refusal (4xx), or wrong settings."""


class Never(Exception):
    """The message was refused permanently (5xx). ``address_is_bad``: because of the recipient's address."""

    def __init__(self, reason: str, *, address_is_bad: bool) -> None:
        super().__init__(reason)
        self.address_is_bad = address_is_bad


class SenderRefused(Never):
    """The server does not take messages from this sender."""


class Carrier(Protocol):
    """Accepts messages for delivery."""

    async def deliver(self, message: EmailMessage, sender: str, recipient: str) -> str:
        """Accept a message, and return what there is to record about it. Raises NotNow, Never."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where SMTP_URL leads: ``smtp://`` begins TLS by STARTTLS, which only loopback may do without; ``smtps://`` has it
    from the start.
    """

    host: str
    port: int
    user: str | None
    password: str | None
    implicit_tls: bool

    @classmethod
    def of(cls, url: str) -> "Server":
        """Read SMTP_URL.

        Raises:
            ValueError: it is no such URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError("must be smtp://HOST:PORT or smtps://HOST:PORT, with USER:PASSWORD@ if the server asks")
        implicit = parts.scheme == "smtps"
        user, password = (unquote(each) if each else None for each in (parts.username, parts.password))
        return cls(parts.hostname, parts.port or (465 if implicit else 587), user, password, implicit)

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class Relay:
    """The mail server that takes everything."""

    def __init__(
        self, server: Server, *, step_seconds: float = STEP_SECONDS, tls: ssl.SSLContext | None = None
    ) -> None:
        """``tls`` says which certificates to trust. None: those that this machine trusts."""
        self._server = server
        self._tls = tls
        self._step_seconds = step_seconds

    async def deliver(self, message: EmailMessage, sender: str, recipient: str) -> str:
        """Hand a message over; return what the server said when it took it."""
        try:
            async with asyncio.timeout(MOST_SECONDS):
                return await self._converse(message, sender, recipient)
        except (TimeoutError, OSError, aiosmtplib.SMTPException, ValueError) as error:
            raise NotNow(_said(error)) from error

    async def greet(self) -> None:
        """Connect as for a message, TLS and sign-in included, and take leave without one.

        Raises:
            NotNow: the server does not answer, or does not let this service in.
        """
        client = self._client()
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await client.connect()
                await client.quit()
        except (TimeoutError, OSError, aiosmtplib.SMTPException, ValueError) as error:
            client.close()
            raise NotNow(_said(error)) from error

    def _client(self) -> aiosmtplib.SMTP:
        server = self._server
        return aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.implicit_tls,
            # None would mean TLS only if the server offers it, and an attacker in between could suppress the offer.
            start_tls=not server.implicit_tls and not server.is_loopback,
            tls_context=self._tls,
            timeout=self._step_seconds,
            local_hostname="localhost" if server.is_loopback else None,
        )

    async def _converse(self, message: EmailMessage, sender: str, recipient: str) -> str:
        client = self._client()
        await client.connect()
        try:
            said = await self._hand_over(client, message, sender, recipient)
        except BaseException:
            client.close()
            raise
        try:
            await client.quit()
        except (aiosmtplib.SMTPException, OSError):
            client.close()  # the message has been taken all the same
        return said

    async def _hand_over(self, client: aiosmtplib.SMTP, message: EmailMessage, sender: str, recipient: str) -> str:
        options = []
        if recipient.isascii():
            content = message.as_bytes(policy=SMTP)
        else:
            await client.ehlo()
            if not client.supports_extension("smtputf8"):
                raise Never("the relay cannot write to addresses with letters beyond ASCII", address_is_bad=False)
            content, options = message.as_bytes(policy=SMTPUTF8), ["SMTPUTF8", "BODY=8BITMIME"]
        try:
            _, said = await client.sendmail(sender, [recipient], content, mail_options=options)
        except aiosmtplib.SMTPRecipientsRefused as error:
            refusal = error.recipients[0]
            raise _refused(refusal.code, refusal.message, address_is_bad=True) from error
        except aiosmtplib.SMTPSenderRefused as error:
            refused = _refused(error.code, error.message, address_is_bad=False)
            raise (
                SenderRefused(str(refused), address_is_bad=False) if isinstance(refused, Never) else refused
            ) from error
        except aiosmtplib.SMTPDataError as error:
            raise _refused(error.code, error.message, address_is_bad=False) from error
        return said


def _refused(code: int, text: str, *, address_is_bad: bool) -> Exception:
    said = f"{code} {text}"
    # Only 5xx is permanent (RFC 5321 §4.2.1). 4xx includes 421: the server is closing the connection.
    return Never(said, address_is_bad=address_is_bad) if 500 <= code < 600 else NotNow(said)


def _said(error: BaseException) -> str:
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return f"{error.code} {error.message}"
    return f"{type(error).__name__}: {error}".rstrip(": ")
