"""An iCalendar file as components of content lines (RFC 5545 §3.1), each with the number of the line where it begins.

The library that writes invitations reads without line numbers, and takes a millisecond for an event. So the little that
is needed is read here: bytes to lines, lines to names, parameters and values. Only what is no calendar is refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from appointments.shared.errors import Invalid

MOST_BYTES = 5 * 1024 * 1024
MOST_COMPONENTS = 5_000
DEEPEST = 8

# A value that is no quoted string has no comma, so that there is one way to read a parameter and no more.
_VALUE = r'(?:"[^"]*"|[^";:,]*)'
_LINE = re.compile(rf"([A-Za-z0-9-]+)((?:;[A-Za-z0-9-]+={_VALUE}(?:,{_VALUE})*)*):(.*)", re.DOTALL)
_PARAMETER = re.compile(rf";([A-Za-z0-9-]+)=({_VALUE}(?:,{_VALUE})*)")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """A property: where it stands, and what. Names are in capitals."""

    number: int
    name: str
    parameters: dict[str, str]
    value: str

    @property
    def text(self) -> str:
        """The value as a text (RFC 5545 §3.3.11)."""
        return _ESCAPED.sub(lambda found: "\n" if found[1] in "nN" else found[1], self.value)


@dataclass(slots=True)
class Component:
    """What stands between a BEGIN and its END."""

    name: str
    number: int
    lines: list[Line] = field(default_factory=list)
    parts: list["Component"] = field(default_factory=list)
    bad_line: int | None = None
    """The first line in it that is no property."""

    def all(self, name: str) -> list[Line]:
        """Its properties of a name."""
        return [line for line in self.lines if line.name == name]

    def first(self, name: str) -> Line | None:
        """The first of them."""
        return next((line for line in self.lines if line.name == name), None)


def read(content: bytes) -> Component:
    """Read a file. Several calendars in one (RFC 5545 §3.4) are one.

    Raises:
        Invalid: it is no calendar, or too large; ``ics`` is named, with the line where there is one.
    """
    if len(content) > MOST_BYTES:
        raise Invalid.field("ics", f"must have at most {MOST_BYTES:,} bytes, has {len(content):,}")
    file = Component("", 0)
    stack = [file]
    for number, text in _unfolded(content):
        found = _LINE.fullmatch(text)
        name = found[1].upper() if found else ""
        if found and name == "BEGIN":
            stack.append(_begun(stack, number, found[3].strip().upper()[:100]))
        elif len(stack) == 1:
            if text.strip():
                raise Invalid.field("ics", f"line {number}: a calendar begins with BEGIN:VCALENDAR")
        elif found and name == "END":
            _end(stack, number, found[3].strip().upper())
        elif found:
            stack[-1].lines.append(Line(number, name, _parameters(found[2]), found[3]))
        elif text.strip() and stack[-1].bad_line is None:
            stack[-1].bad_line = number
    if len(stack) > 1:
        raise Invalid.field("ics", f"ends before END:{stack[-1].name}, which began on line {stack[-1].number}")
    if not file.parts:
        raise Invalid.field("ics", "is no iCalendar object (RFC 5545)" if content.strip() else "is required")
    return file.parts[0]


def _begun(stack: list[Component], number: int, kind: str) -> Component:
    if len(stack) == 1:
        if kind != "VCALENDAR":
            raise Invalid.field("ics", f"line {number}: a calendar begins with BEGIN:VCALENDAR")
        if stack[0].parts:
            return stack[0].parts[0]
    if len(stack) > DEEPEST:
        raise Invalid.field("ics", f"line {number}: components are nested too deeply")
    begun = Component(kind, number)
    stack[-1].parts.append(begun)
    if len(stack) == 2 and len(stack[-1].parts) > MOST_COMPONENTS:
        raise Invalid.field("ics", f"must have at most {MOST_COMPONENTS:,} components, has more")
    return begun


def _end(stack: list[Component], number: int, kind: str) -> None:
    if kind != stack[-1].name:
        raise Invalid.field("ics", f"line {number}: END:{stack[-1].name} was expected")
    stack.pop()


def _unfolded(content: bytes) -> Iterator[tuple[int, str]]:
    """Content lines and where each begins. Folds are undone before bytes are text: they may be inside a character."""
    encoding = "utf-8"
    try:
        content.decode()
    except UnicodeDecodeError:
        if _is_latin(content):
            encoding = "cp1252"
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    parts: list[bytes] = []
    begun = 1
    for number, line in enumerate(lines, 1):
        if line[:1] in (b" ", b"\t") and parts:
            parts.append(line[1:])
            continue
        if parts:
            yield begun, b"".join(parts).decode(encoding, errors="replace")
        parts, begun = [line], number
    yield begun, b"".join(parts).decode(encoding, errors="replace")


def _is_latin(content: bytes) -> bool:
    # A fold may tear a character of UTF-8 apart (older Outlook did), so what remains without folds decides.
    try:
        re.sub(rb"\r?\n[ \t]", b"", content).decode()
    except UnicodeDecodeError:
        return True
    return False


def _parameters(text: str) -> dict[str, str]:
    return {found[1].upper(): found[2].strip('"') for found in _PARAMETER.finditer(text)} if text else {}
