"""Mail that is kept in a folder, for tests of what is written to whom."""

import re
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from appointments.auth import Auth, Post
from appointments.db import Database
from appointments.jobs import Kind, Runner
from appointments.mail import Links, Outbox, Sender
from appointments.mail.folder import Folder
from appointments.mail.postman import Postman, Writer

PUBLIC_URL = "https://calendar.example.com"
_LINK = re.compile(rf"{re.escape(PUBLIC_URL)}/[^\s<>\"]+")


@dataclass
class Mailroom:
    """Takes what is put into the outbox of a database to a folder."""

    db: Database
    path: Path
    secret: str = "a secret of at least thirty-two bytes"
    previous: str | None = None
    seen: set[str] = field(default_factory=set)

    @property
    def links(self) -> Links:
        """What makes links."""
        return Links(self.secret, previous=self.previous, public_url=PUBLIC_URL)

    @property
    def post(self) -> Post:
        """What writes about accounts."""
        return Post(Outbox(), self.links)

    async def new(self, auth: Auth, *kinds: Kind, writers: dict[str, Writer] | None = None) -> list[EmailMessage]:
        """Do what is due, and return the messages that came of it, in their order."""
        folder = Folder(self.path)
        sender = Sender.of("Appointments <calendar@example.com>", PUBLIC_URL)
        postman = Postman(self.db, folder, sender, self.post.writers() | (writers or {}))
        await Runner(self.db, [*auth.mailed_links.kinds(), *postman.kinds(), *kinds]).run_due()
        fresh = [message for _, message in reversed(folder.messages()) if message["Message-ID"] not in self.seen]
        self.seen.update(message["Message-ID"] for message in fresh)
        return fresh


def text(message: EmailMessage) -> str:
    """The plain text of a message."""
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def link(message: EmailMessage) -> str:
    """The first link in a message; the same stands in its HTML."""
    html = message.get_body(("html",))
    found = _LINK.findall(text(message))
    assert html is not None
    assert found[0] in html.get_content()
    return str(found[0])


def token(message: EmailMessage) -> str:
    """The token of that link."""
    return link(message).rpartition("/")[2]
