"""Mail in development, without a mail server: messages are kept as files, which /dev/mail shows."""

import asyncio
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from uuid import UUID

KEPT = 500
"""How many messages are kept. The oldest are deleted."""


class Folder:
    """A folder of messages, one file each, named by the id of its message."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def deliver(self, message: EmailMessage, sender: str, recipient: str) -> str:  # noqa: ARG002
        """Keep a message."""
        name = message["Message-ID"].strip("<>").partition("@")[0]
        await asyncio.to_thread(self._keep, name, message.as_bytes())
        return "kept in the development folder"

    def messages(self) -> list[tuple[UUID, EmailMessage]]:
        """The messages, the newest first."""
        return [(UUID(path.stem), self._read(path)) for path in reversed(self._files())]

    def get(self, id: UUID) -> EmailMessage | None:  # noqa: A002
        """One message."""
        path = self._path / f"{id}.eml"
        return self._read(path) if path.is_file() else None

    def _keep(self, name: str, content: bytes) -> None:
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._path / f"{name}.part"
        draft.write_bytes(content)
        draft.replace(self._path / f"{name}.eml")
        for old in self._files()[:-KEPT]:
            old.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        # The ids are UUIDs of version 7, so their order is that of the messages.
        return sorted(self._path.glob("*.eml"))

    def _read(self, path: Path) -> EmailMessage:
        return BytesParser(EmailMessage, policy=policy.default).parsebytes(path.read_bytes())
