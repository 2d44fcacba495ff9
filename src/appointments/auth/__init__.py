"""Accounts, passwords, sessions and their tokens, keys.

`build` wires the parts together. They share one `Authenticator`, so a session that this process ends stops working in
this process at once.
"""

from dataclasses import dataclass

from appointments.auth.account_mail import Post
from appointments.auth.accounts import Accounts
from appointments.auth.directory import Directory
from appointments.auth.identity import Authenticator, Identity
from appointments.auth.keys import Keys
from appointments.auth.mailed_links import MailedLinks
from appointments.auth.passwords import Passwords
from appointments.auth.rotation import Rotation
from appointments.auth.sessions import Device, Sessions
from appointments.auth.tokens import AccessTokens, Clock, RefreshTokens, utc_now
from appointments.db import Database

__all__ = [
    "Accounts",
    "Auth",
    "Authenticator",
    "Device",
    "Directory",
    "Identity",
    "Keys",
    "MailedLinks",
    "Passwords",
    "Post",
    "Rotation",
    "Sessions",
    "build",
]


@dataclass(frozen=True, slots=True)
class Auth:
    """The parts."""

    accounts: Accounts
    sessions: Sessions
    rotation: Rotation
    keys: Keys
    directory: Directory
    mailed_links: MailedLinks
    authenticator: Authenticator


def build(
    db: Database,
    passwords: Passwords,
    *,
    secret: str,
    previous: str | None = None,
    post: Post | None = None,
    now: Clock = utc_now,
) -> Auth:
    """Wire the parts together. ``secret`` signs tokens; those signed with ``previous`` are still accepted.

    ``post`` writes to people about their accounts; None: nobody is written to.
    """
    post = post or Post()
    access = AccessTokens(secret, previous=previous, now=now)
    authenticator = Authenticator(db, access, now=now)
    sessions = Sessions(db, access, authenticator, now=now)
    return Auth(
        accounts=Accounts(db, passwords, sessions, authenticator, post=post, now=now),
        sessions=sessions,
        keys=Keys(db, authenticator, now=now),
        directory=Directory(db, authenticator, mail_is_on=post.is_on, now=now),
        rotation=Rotation(db, access, RefreshTokens(secret, previous=previous), authenticator, post=post, now=now),
        mailed_links=MailedLinks(db, passwords, authenticator, post, now=now),
        authenticator=authenticator,
    )
