"""Return addresses, and reports of mail servers about what they could not deliver."""

from email import message_from_string
from uuid import UUID

import pytest

from appointments.mail import Links
from appointments.mail.returns import Returns, read

LETTER = UUID("0190f5fe-7c00-7a00-8000-0123456789ab")
SECRET, OTHER = "a secret of at least thirty-two bytes", "another secret of at least thirty-two"


def returns(secret: str = SECRET, *, previous: str | None = None, reply_to: str = "Answers@Example.com") -> Returns:
    """Those of a server."""
    return Returns(Links(secret, previous=previous), reply_to)


def test_an_address_names_its_letter() -> None:
    """In whatever case a mail server writes it, among others, and after the secret was rotated."""
    address = returns().address(LETTER)
    assert address is not None
    local, _, domain = address.partition("@")
    assert ("Answers+", "Example.com", 48) == (local[:8], domain, len(local))
    for found in ([address], [address.upper()], ["bob@example.org", address.lower()]):
        assert LETTER == returns().letter(found)
    assert LETTER == returns(OTHER, previous=SECRET).letter([address])


def test_a_forged_address_names_none() -> None:
    """Neither another's signature, nor one that is cut, nor an answer's token, nor another domain."""
    address = returns().address(LETTER) or ""
    wrong = [
        address.replace("@Example.com", "@example.net"), returns(OTHER).address(LETTER) or "", "answers@example.com",
        "answers+@example.com", f"answers+{'a' * 32}@example.com", f"answers+{'a' * 40}@example.com",
        address.replace("+", "+a"), f"answers+{'1' * 40}@example.com", "answers+\u00fc@example.com", "",
    ]  # fmt: skip
    token = address.partition("+")[2]
    wrong += [f"answers+{token[:-15]}@example.com", f"answers+{'b' if token[0] == 'a' else 'a'}{token[1:]}"]
    for each in wrong:
        assert returns().letter([each]) is None, each


def test_where_there_can_be_none_there_is_none() -> None:
    """Without INVITATION_REPLY_TO, and where the local part would be longer than SMTP has it."""
    assert returns(reply_to="").address(LETTER) is None
    assert returns(reply_to="").letter(["+a@", "x@example.com"]) is None
    assert returns(reply_to=f"{'x' * 24}@example.com").address(LETTER) is None


REPORT = """\
From: MAILER-DAEMON@mx.example.com (Mail Delivery System)
To: answers+token@example.com
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

<bob@example.org>: host mx.example.org said: 550 5.1.1 no such user

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
Arrival-Date: Mon, 25 Nov 2030 10:00:00 +0000

Final-Recipient: rfc822; bob@example.org
Original-Recipient: rfc822;bob@example.org
Action: {action}
Status: {status}
Remote-MTA: dns; mx.example.org
Diagnostic-Code: smtp; {status} no
    such user

--b
Content-Type: message/rfc822

From: calendar@example.com
Subject: Invitation: Chess

Hello.

--b--
"""


@pytest.mark.parametrize(
    ("action", "status", "expected"),
    [
        ("failed", "5.1.1", True),
        ("Failed", "5.0.0", True),
        ("failed", "5.4.4", True),
        ("failed", "5.2.2", False),
        ("failed", "5.7.1", False),
        ("failed", "4.4.7", False),
        ("delayed", "4.4.1", None),
        ("delivered", "2.0.0", None),
        ("relayed", "2.0.0", None),
    ],
)
def test_a_report_says_whether_the_address_is_bad(action: str, status: str, expected: bool | None) -> None:
    """A full mailbox, a refused text and a server that cannot be reached say nothing of the address for good."""
    found = read(message_from_string(REPORT.format(action=action, status=status)))
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (expected, f"reported: {status} {status} no such user") == (found.address_is_bad, found.reason)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Subject: Out of office\n\nI am away.",
        REPORT.replace("message/delivery-status", "text/plain"),
        "Content-Type: message/delivery-status\n\n",
        "Content-Type: message/delivery-status\n\nAction",
        "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n!!!!",
        "".join(f"Content-Type: multipart/mixed; boundary={n}\n\n--{n}\n" for n in range(300)),
    ],
)
def test_what_is_no_report_is_none(text: str) -> None:
    """Whatever is sent there."""
    assert read(message_from_string(text)) is None
