"""Take the pictures of the README from a running server, with a person's week of pleasant appointments.

    python scripts/pictures.py [--url http://127.0.0.1:8080] [--grpc 127.0.0.1:50051] [--into docs/images]

The person is new each time, the calendar's clock stands still, and the browser is the system's Chromium.
"""

import argparse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import grpc
from playwright.sync_api import Browser, Page, sync_playwright

from appointments.v1 import (
    account_pb2,
    account_pb2_grpc,
    appointments_pb2,
    appointments_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    resources_pb2,
    resources_pb2_grpc,
)

ROOT = Path(__file__).resolve().parent.parent
ZONE = ZoneInfo("Europe/Zurich")
MONDAY = datetime(2027, 3, 8, tzinfo=ZONE)
NOW = MONDAY + timedelta(days=2, hours=10, minutes=20)
PASSWORD = "a calm and pleasant week"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]

# Day of the four weeks, start and length in hours, title, place.
WEEK = [
    (0, 9.0, 0.5, "Stand-up", ""),
    (0, 10.0, 1.5, "Design review", "Studio"),
    (0, 13.0, 1.0, "Lunch with Grace", "Café Noisette"),
    (0, 15.0, 1.0, "Hiring call", "Online"),
    (1, 9.0, 0.5, "Stand-up", ""),
    (1, 11.0, 1.0, "Dentist", "Bahnhofstrasse 12"),
    (1, 14.0, 2.0, "Deep work", "Library"),
    (1, 18.5, 1.5, "Choir", "St. Peter"),
    (2, 9.0, 0.5, "Stand-up", ""),
    (2, 10.0, 1.0, "Roadmap", "Room 4"),
    (2, 12.5, 1.0, "Run along the lake", ""),
    (2, 16.0, 1.0, "Call with Tokyo", "Online"),
    (3, 9.0, 0.5, "Stand-up", ""),
    (3, 10.5, 1.0, "Pairing with Linus", "Desk 7"),
    (3, 13.5, 1.5, "Customer workshop", "Room 2"),
    (3, 17.0, 1.0, "Piano lesson", ""),
    (4, 9.0, 0.5, "Stand-up", ""),
    (4, 11.0, 1.0, "Retrospective", "Studio"),
    (4, 14.0, 2.0, "Deep work", "Library"),
    (5, 10.0, 2.0, "Farmers’ market", "Helvetiaplatz"),
    (6, 11.0, 3.0, "Hike with the family", "Uetliberg"),
]
# Which of them take a room, and what somebody else has booked: room, day, start and length in hours.
ROOMS = {"Studio": 8, "Room 2": 12, "Room 4": 6, "Library": 4}
TAKEN = [
    ("Studio", 2, 9.0, 1.5, "Rehearsal"),
    ("Studio", 2, 13.0, 2.0, "Photo session"),
    ("Room 2", 2, 11.0, 2.0, "Interviews"),
    ("Room 2", 2, 14.5, 1.5, "Budget"),
    ("Room 4", 2, 13.0, 1.0, "Board"),
    ("Library", 2, 9.5, 3.0, "Reading circle"),
    ("Projector", 2, 10.0, 1.0, "Roadshow"),
    ("Projector", 2, 15.0, 1.5, "Screening"),
]
OTHER_WEEKS = ["Stand-up", "Design review", "Deep work", "Choir", "Retrospective", "Customer workshop"]


def appointment(days: float, hour: float, length: float, title: str, place: str) -> appointments_pb2.Appointment:
    """One appointment; the call with Tokyo is planned in Tokyo's time."""
    start = MONDAY + timedelta(days=days, hours=hour)
    zone = "Asia/Tokyo" if "Tokyo" in title else ZONE.key
    message = appointments_pb2.Appointment(title=title, location=place, time_zone=zone)
    message.start_time.FromDatetime(start.astimezone(UTC))
    message.end_time.FromDatetime((start + timedelta(hours=length)).astimezone(UTC))
    return message


Identity = tuple[tuple[str, str], ...]


def register(channel: grpc.Channel, name: str) -> tuple[str, Identity]:
    """Create an account; returns its address and what proves who calls."""
    email = f"{name.split(maxsplit=1)[0].lower()}.{uuid.uuid4().hex[:8]}@example.org"
    request = auth_pb2.RegisterRequest(email=email, password=PASSWORD, display_name=name)
    tokens = auth_pb2_grpc.AuthServiceStub(channel).Register(request).tokens
    return email, (("authorization", f"Bearer {tokens.access_token}"),)


def furnish(channel: grpc.Channel, email: str) -> dict[str, str]:
    """Create somebody's rooms that the person may book, with what takes them on the day of the picture; their ids."""
    _, identity = register(channel, "Grace Hopper")
    service = resources_pb2_grpc.ResourceServiceStub(channel)
    bookings = appointments_pb2_grpc.AppointmentServiceStub(channel)
    ids: dict[str, str] = {}
    for name, seats in (ROOMS | {"Projector": 0}).items():
        kind = resources_pb2.RESOURCE_KIND_ROOM if seats else resources_pb2.RESOURCE_KIND_EQUIPMENT
        room = resources_pb2.Resource(kind=kind, display_name=name, time_zone=ZONE.key, seats=seats)
        made = service.CreateResource(resources_pb2.CreateResourceRequest(resource=room), metadata=identity)
        ids[name] = made.resource.id
        role = resources_pb2.RESOURCE_ROLE_MANAGER if name == "Studio" else resources_pb2.RESOURCE_ROLE_BOOKER
        access = resources_pb2.SetResourceAccessRequest(id=ids[name], email=email, role=role)
        service.SetResourceAccess(access, metadata=identity)
    for number, (name, day, hour, length, title) in enumerate(TAKEN):
        booking = appointment(day, hour, length, title, "")
        booking.resource_ids.append(ids[name])
        # Somebody else each time: nobody is in two rooms at once, and a guest who may book is needed for each.
        guest_email, guest = register(channel, f"Guest{number} Guest")
        grant = resources_pb2.SetResourceAccessRequest(
            id=ids[name], email=guest_email, role=resources_pb2.RESOURCE_ROLE_BOOKER
        )
        service.SetResourceAccess(grant, metadata=identity)
        bookings.CreateAppointment(appointments_pb2.CreateAppointmentRequest(appointment=booking), metadata=guest)
    return ids


def settle(address: str) -> str:
    """Create a person with three weeks of appointments; returns the address that signs in."""
    with grpc.insecure_channel(address) as channel:
        email, identity = register(channel, "Ada Lovelace")
        rooms = furnish(channel, email)
        user = account_pb2.UpdateCurrentUserRequest(user=account_pb2.User(time_zone=ZONE.key))
        account_pb2_grpc.AccountServiceStub(channel).UpdateCurrentUser(user, metadata=identity)
        service = appointments_pb2_grpc.AppointmentServiceStub(channel)
        usual = [entry for entry in WEEK if entry[3] in OTHER_WEEKS]
        weeks = [(0, WEEK), (-7, usual), (7, usual), (14, usual), (21, usual)]
        for shift, entries in weeks:
            for day, hour, length, title, place in entries:
                booking = appointment(day + shift, hour, length, title, place)
                if shift == 0 and place in rooms:
                    booking.resource_ids.append(rooms[place])
                request = appointments_pb2.CreateAppointmentRequest(appointment=booking)
                service.CreateAppointment(request, metadata=identity)
    return email


@contextmanager
def calendar(browser: Browser, url: str, email: str, scheme: str) -> Iterator[Page]:
    """The page of that person, at a moment that does not pass."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        locale="en-GB",
        timezone_id=ZONE.key,
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.clock.set_fixed_time(NOW)
    page.goto(url)
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Roadmap").wait_for()
    yield page
    context.close()


def take(page: Page, into: Path, suffix: str) -> None:
    """Week, month, rooms of a day, editor and conflict."""

    def picture(name: str) -> None:
        page.evaluate("document.activeElement?.blur()")
        page.evaluate("document.fonts.ready")
        page.screenshot(path=into / f"{name}{suffix}.png")

    picture("week")
    page.get_by_role("button", name="Month", exact=True).click()
    page.get_by_text("Roadmap").wait_for()
    picture("month")
    page.get_by_role("button", name="Day", exact=True).click()
    page.get_by_role("button", name="Rooms", exact=True).click()
    page.get_by_text("Taken").first.wait_for()
    picture("rooms")
    page.get_by_role("button", name="Rooms", exact=True).click()
    page.get_by_role("button", name="Week", exact=True).click()
    page.get_by_text("Call with Tokyo").click()
    page.get_by_label("Title").wait_for()
    page.get_by_label("Notes").fill("The new booking flow: what is left before the spring release?")
    page.get_by_label("Attendees").fill("Yuki Tanaka <yuki@example.com>\ngrace@example.org")
    picture("editor")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Dismiss").click()
    page.get_by_role("button", name="New appointment").click()
    page.get_by_label("Title").fill("Coffee with Emmy")
    page.get_by_label("Start date").fill("2027-03-11")
    page.get_by_label("Start time").fill("14:00")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("alert").wait_for()
    picture("conflict")


def main() -> None:
    """Take them in light and dark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--grpc", default="127.0.0.1:50051")
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    email = settle(options.grpc)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=ARGUMENTS)
        for scheme, suffix in (("light", ""), ("dark", "-dark")):
            with calendar(browser, options.url, email, scheme) as page:
                take(page, options.into, suffix)
        browser.close()
    print(f"Ten pictures are in {options.into}.")


if __name__ == "__main__":
    main()
