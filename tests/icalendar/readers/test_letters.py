"""Each kind of letter, as four libraries read it: icalendar, vobject, ical.js and, where it is installed, libical."""

import asyncio
import ctypes
import ctypes.util
import json
from dataclasses import replace
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from typing import Any, TypeAlias

import icalendar
import pytest
import vobject

from appointments.calendar import booking, series_updating, updating
from appointments.calendar.appointment import Attendee
from tests.icalendar.invitations.test_invitations import BOB, EVE, TWO, House, house
from tests.icalendar.invitations.test_series import ZOE, Club, club
from tests.icalendar.readers.test_icaljs import reader, run
from tests.people import HOUR, TEN, spec

__all__ = ["club", "house", "reader"]

Event: TypeAlias = tuple[str, int, object, object, object, str | None, list[str]]
"""UID, SEQUENCE, RECURRENCE-ID, start, end (days as text, instants in seconds), STATUS, and the attendees."""

WEEK = timedelta(weeks=1)


def content(message: EmailMessage) -> bytes:
    """The calendar of a letter."""
    (part,) = [part for part in message.walk() if part.get_content_type() == "text/calendar"]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    return data


async def of_appointments(house: House) -> dict[str, EmailMessage]:
    """A letter of each kind about one appointment."""
    one = await house.invite(location="Café", description="Two lines,\nand; a comma")
    letters = {"invitation": (await house.told())[BOB]}
    one = await house.change(one, start_at=TEN + HOUR, end_at=TEN + 2 * HOUR)
    letters["change"] = (await house.told())[BOB]
    one = await house.change(one, attendees=(TWO[0], Attendee(ZOE, "Zoë")))
    told = await house.told()
    letters |= {"attendee added": told[ZOE], "attendee removed": told[EVE]}
    await updating.delete(house.db, house.owner, one.id)
    letters["cancellation"] = (await house.told())[BOB]
    await updating.undelete(house.db, house.owner, one.id)
    letters["undelete"] = (await house.told())[BOB]
    days = replace(spec(title="Fair"), start_at=TEN.replace(hour=0), end_at=TEN.replace(hour=0) + 2 * 24 * HOUR)
    days = replace(days, time_zone="UTC", all_day=True, transparent=True, attendees=TWO)
    await booking.create(house.db, house.owner, days)
    letters["whole days"] = (await house.told())[BOB]
    return letters


async def of_series(club: Club) -> dict[str, EmailMessage]:
    """A letter of each kind about a series and about one of its occurrences."""
    series = await club.invite()
    letters = {"series": (await club.told())[BOB]}
    rows = await club.rows(series)
    moved = TEN + WEEK + 3 * HOUR
    await club.change_one(rows[1], start_at=moved, end_at=moved + HOUR)
    letters["occurrence override"] = (await club.told())[BOB]
    await updating.delete(club.db, club.house.owner, rows[2].id)
    letters["occurrence cancelled"] = (await club.told())[BOB]
    await updating.undelete(club.db, club.house.owner, rows[2].id)
    letters["occurrence undeleted"] = (await club.told())[BOB]
    await club.change_one(rows[4], location="Park")
    await updating.delete(club.db, club.house.owner, rows[3].id)
    letters["series with overrides"] = (await club.told())[BOB]
    await club.change(series, attendees=(TWO[0], Attendee(ZOE)))
    told = await club.told()
    letters |= {"series, attendee added": told[ZOE], "series, attendee removed": told[EVE]}
    await club.change(series, title="Go")
    letters["series changed"] = (await club.told())[BOB]
    await series_updating.delete(club.db, club.house.owner, series.id)
    letters["series cancelled"] = (await club.told())[BOB]
    await series_updating.undelete(club.db, club.house.owner, series.id)
    letters["series undeleted"] = (await club.told())[BOB]
    return letters


METHODS = {
    "invitation": "REQUEST",
    "change": "REQUEST",
    "attendee added": "REQUEST",
    "attendee removed": "CANCEL",
    "cancellation": "CANCEL",
    "undelete": "REQUEST",
    "whole days": "REQUEST",
    "series": "REQUEST",
    "occurrence override": "REQUEST",
    "occurrence cancelled": "CANCEL",
    "occurrence undeleted": "REQUEST",
    "series with overrides": "REQUEST",
    "series, attendee added": "REQUEST",
    "series, attendee removed": "CANCEL",
    "series changed": "REQUEST",
    "series cancelled": "CANCEL",
    "series undeleted": "REQUEST",
}


@pytest.fixture
async def letters(house: House, club: Club) -> dict[str, bytes]:
    """The calendar of a letter of each kind, by what it is about."""
    found = await of_appointments(house) | await of_series(club)
    return {kind: content(message) for kind, message in found.items()}


def told(value: Any) -> object:
    """A time as ical.js is asked for it too."""
    if value is None:
        return None
    moment = value.dt
    if isinstance(moment, datetime):
        return int(moment.timestamp())
    assert isinstance(moment, date)
    return moment.isoformat()


def by_icalendar(data: bytes) -> tuple[str, list[Event]]:
    """What icalendar reads; nothing in it may be an error to it."""
    calendar: Any = icalendar.Calendar.from_ical(data)
    assert [] == [each.errors for each in calendar.walk() if each.errors]
    events = []
    for each in calendar.walk("VEVENT"):
        guests = each.get("attendee", [])
        addresses = [str(one) for one in (guests if isinstance(guests, list) else [guests])]
        times = told(each.get("recurrence-id")), told(each["dtstart"]), told(each["dtend"])
        events.append((str(each["uid"]), int(each["sequence"]), *times, each.get("status"), addresses))
    return str(calendar["method"]), events


async def test_each_kind_opens_and_validates_in_icalendar_vobject_and_icaljs(
    letters: dict[str, bytes], reader: None
) -> None:
    """They read the same from it: method, UID, SEQUENCE, which occurrence, when, the status and for whom."""
    expected = {kind: by_icalendar(data) for kind, data in letters.items()}
    assert METHODS == {kind: method for kind, (method, _) in expected.items()}
    texts = json.dumps([data.decode() for data in letters.values()]).encode()
    read = json.loads(await asyncio.to_thread(run, "letters.mjs", data=texts))
    by_icaljs = [(method, [tuple(event) for event in events]) for method, events in read]
    assert expected == dict(zip(letters, by_icaljs, strict=True))
    for kind, data in letters.items():
        calendar = vobject.readOne(data.decode())
        assert calendar.validate(raiseException=True), kind
        assert expected[kind][0] == calendar.method.value
        assert [uid for uid, *_ in expected[kind][1]] == [each.uid.value for each in calendar.contents["vevent"]]


async def test_each_kind_opens_and_validates_in_libical(letters: dict[str, bytes]) -> None:
    """No component or property that it cannot read, and nothing that RFC 5546 forbids in a message of that method."""
    name = ctypes.util.find_library("ical")
    if name is None:
        pytest.skip("libical is not asked: it is not installed (Debian's libical3)")
    library = ctypes.CDLL(name)
    for function, answer in (("icalparser_parse_string", ctypes.c_void_p), ("icalcomponent_free", None)):
        getattr(library, function).restype = answer
    library.icalparser_parse_string.argtypes = [ctypes.c_char_p]
    for function in ("icalcomponent_free", "icalcomponent_count_errors", "icalrestriction_check"):
        getattr(library, function).argtypes = [ctypes.c_void_p]
    found = {}
    for kind, data in letters.items():
        component = library.icalparser_parse_string(data)
        assert component, kind
        found[kind] = (library.icalcomponent_count_errors(component), bool(library.icalrestriction_check(component)))
        library.icalcomponent_free(component)
    assert dict.fromkeys(letters, (0, True)) == found
