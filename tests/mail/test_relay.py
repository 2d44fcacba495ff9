"""Handing mail to a real server: what it takes, refuses, stalls at and drops; TLS or nothing."""

import asyncio
import socket
import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from appointments.mail.message import Action, Calendar, Mail, Sender, compose, on_the_wire
from appointments.mail.relay import Never, NotNow, Relay, Server
from tests.certificates import self_signed
from tests.postbox import Outcome, Postbox, postbox
from tests.service import free_ports

SENDER = Sender("calendar@example.com", "Appointments", "example.com")
ID = UUID("01900000-0000-7000-8000-000000000001")
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)
ADA = "ada@example.org"


def mail(**decided: object) -> Mail:
    """A message that says little."""
    return Mail(**({"subject": "Hello", "paragraphs": ("How are you?",)} | decided))  # type: ignore[arg-type]


async def deliver(box: Postbox | Server, recipient: str = ADA, message: Mail | None = None, **relay: object) -> str:
    """Deliver one message."""
    server = box if isinstance(box, Server) else Server.of(box.url)
    wire = on_the_wire(recipient)
    content = compose(message or mail(), SENDER, id=ID, recipient=wire, date=NOON)
    return await Relay(server, **({"step_seconds": 5.0} | relay)).deliver(content, SENDER.address, wire)  # type: ignore[arg-type]


async def test_a_message_arrives_as_it_was_put_together() -> None:
    """Plain text, HTML, the calendar part twice, and every header."""
    calendar = Calendar("REQUEST", b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nEND:VCALENDAR\r\n")
    wanted = mail(
        facts=(("When", "Monday"),),
        actions=(Action("Accept", "https://calendar.example.com/invitation/x"),),
        calendar=calendar,
        from_name="Ada Lovelace",
        unsubscribe_url="https://calendar.example.com/unsubscribe/x",
    )
    with postbox() as box:
        assert "2.0.0 queued as 1" in await deliver(box, message=wanted)
        (got,) = box.to(ADA)
    assert "Ada Lovelace (Appointments) <calendar@example.com>" == str(got["From"]).replace('"', "")
    assert (ADA, "Hello", f"<{ID}@example.com>") == (got["To"], got["Subject"], got["Message-ID"])
    assert NOON == got["Date"].datetime
    assert "<https://calendar.example.com/unsubscribe/x>" == got["List-Unsubscribe"]
    assert "List-Unsubscribe=One-Click" == got["List-Unsubscribe-Post"]
    mixed = got.get_payload()
    assert "multipart/mixed" == got.get_content_type()
    assert ["multipart/alternative", "application/ics"] == [part.get_content_type() for part in mixed]
    plain, html, invitation = mixed[0].get_payload()
    assert ["text/plain", "text/html", "text/calendar"] == [
        each.get_content_type() for each in (plain, html, invitation)
    ]
    assert ("REQUEST", "base64") == (invitation.get_param("method"), invitation["Content-Transfer-Encoding"])
    assert {calendar.content} == {invitation.get_payload(decode=True), mixed[1].get_payload(decode=True)}
    assert "https://calendar.example.com/invitation/x" in plain.get_content()
    assert "When: Monday" in plain.get_content()


HOSTILE = "Hi\r\nBcc: eve@example.com\r\n\r\n<script>alert(1)</script>\u202e\x00\u2028&"


async def test_what_people_write_is_data() -> None:
    """No header more, no recipient more, no markup, whatever stands in a name or a title."""
    hostile = mail(
        subject=HOSTILE,
        paragraphs=(HOSTILE,),
        facts=((HOSTILE, HOSTILE),),
        from_name=HOSTILE + '"<eve@example.com>',
        footer=HOSTILE,
    )
    with postbox() as box:
        await deliver(box, message=hostile)
        (got,) = box.to(ADA)
    assert [ADA] == list(box.attempts)
    assert {
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "MIME-Version",
    } | {"Content-Type", "X-Peer", "X-MailFrom", "X-RcptTo"} >= set(got.keys())
    assert ["calendar@example.com"] == [each.addr_spec for each in got["From"].addresses]
    html = got.get_body(("html",))
    assert html is not None
    assert "<script" not in html.get_content()
    assert "Hi Bcc: eve@example.com <script>alert(1)</script> &" == got["Subject"]


@pytest.mark.parametrize(
    "name", ["Zoë Müller", "山田太郎", "Ольга", "محمد", "🎉 Party", 'O\'Brien, "Pat" <x@y>', "a" * 300]
)
async def test_names_of_all_scripts_arrive(name: str) -> None:
    """RFC 2047 and the quoting of RFC 5322, in the subject and in a name."""
    with postbox() as box:
        await deliver(box, message=mail(subject=name, from_name=name))
        (got,) = box.to(ADA)
    expected = name if len(name) <= 150 else name[:149] + "…"
    assert expected == got["Subject"]
    assert got["From"].addresses[0].display_name.startswith(name[:59])


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("zoë@exämple.org", "zoë@xn--exmple-cua.org"),
        ("ada@exämple.org", "ada@xn--exmple-cua.org"),
        ("山@例え.test", "山@xn--r8jz45g.test"),
    ],
)
async def test_addresses_of_all_scripts_are_written_to(address: str, wire: str) -> None:
    """Domains as RFC 5891 has them, the rest by SMTPUTF8 where the server knows it."""
    with postbox() as box:
        await deliver(box, address)
        assert [wire] == list(box.attempts)
    (port,) = free_ports(1)
    old = Postbox(port=port)
    controller = Controller(old, hostname="127.0.0.1", port=port, enable_SMTPUTF8=False, ready_timeout=30)
    controller.start()
    try:
        if wire.isascii():
            await deliver(old, address)
        else:
            with pytest.raises(Never) as refused:
                await deliver(old, address)
            assert refused.value.address_is_bad is False
    finally:
        controller.stop()


@pytest.mark.parametrize(
    ("outcome", "error", "address_is_bad"),
    [
        ("4xx at RCPT", NotNow, None),
        ("4xx at DATA", NotNow, None),
        ("drop", NotNow, None),
        ("take and drop", NotNow, None),
        ("stall", NotNow, None),
        ("5xx at RCPT", Never, True),
        ("5xx at DATA", Never, False),
    ],
)
async def test_what_a_server_may_say(outcome: Outcome, error: type[Exception], address_is_bad: bool | None) -> None:
    """4xx, a stall and a lost connection are for later; 5xx is for good, and only at RCPT the address' fault."""
    with postbox(Postbox(decide=lambda *_: outcome, stall_seconds=1.0)) as box:
        with pytest.raises(error) as refused:
            await deliver(box, step_seconds=0.5)
        assert address_is_bad == getattr(refused.value, "address_is_bad", None)


async def test_a_server_that_is_not_there_or_says_nothing_is_for_later() -> None:
    """Nobody listens; somebody accepts and keeps silent; somebody speaks another protocol."""
    (port,) = free_ports(1)
    with pytest.raises(NotNow):
        await deliver(Server.of(f"smtp://127.0.0.1:{port}"))
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(NotNow):
        await deliver(Server.of(f"smtp://127.0.0.1:{silent.getsockname()[1]}"), step_seconds=0.3)
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            connection, _ = other.accept()
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotNow):
            await deliver(Server.of(f"smtp://127.0.0.1:{other.getsockname()[1]}"))
        await asyncio.to_thread(thread.join)


class Far(Server):
    """A server that counts as one of another machine."""

    @property
    def is_loopback(self) -> bool:
        """It is not."""
        return False


async def test_beyond_loopback_nothing_is_said_without_tls(tmp_path: Path) -> None:
    """STARTTLS or nothing, and only with a certificate that is trusted; a password never goes in the clear."""
    cert, key = self_signed(tmp_path)
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    with postbox(tls=offered, require_starttls=True) as box:
        far = Far("localhost", box.port, None, None, implicit_tls=False)
        await deliver(far, tls=trusting)
        with pytest.raises(NotNow):
            await deliver(far)  # nobody vouches for the certificate
    with postbox() as plain, pytest.raises(NotNow):
        await deliver(Far("localhost", plain.port, "user", "password", implicit_tls=False), tls=trusting)
    assert ([ADA], []) == ([recipient for recipient, _ in box.taken], plain.taken)


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # implicit TLS, which the server does not count
async def test_submission_with_a_password_over_implicit_tls(tmp_path: Path) -> None:
    """smtps:// with an account; a wrong password is an operator's fault, so it is for later."""
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    box = Postbox()
    (box.port,) = free_ports(1)

    def check(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        known = getattr(data, "login", b"") == b"us:er" and getattr(data, "password", b"") == b"p@ss/word"
        return AuthResult(success=known, handled=False)

    controller = Controller(
        box, hostname="127.0.0.1", port=box.port, ssl_context=context, auth_required=True, auth_require_tls=False,
        authenticator=check, ready_timeout=30,
    )  # fmt: skip
    controller.start()
    try:
        await deliver(Server.of(f"smtps://us%3Aer:p%40ss%2Fword@localhost:{box.port}"), tls=trusting)
        with pytest.raises(NotNow) as refused:
            await deliver(Server.of(f"smtps://us%3Aer:wrong@localhost:{box.port}"), tls=trusting)
    finally:
        controller.stop()
    assert "535" in str(refused.value)
    assert "wrong" not in str(refused.value)
    assert 1 == len(box.taken)


@pytest.mark.parametrize(
    "url", ["http://mail.example.com", "smtp://", "smtp://h/path", "smtp://h?x=1", "mail.example.com"]
)
def test_what_is_no_smtp_url(url: str) -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="smtp"):
        Server.of(url)
