"""docs/performance.md keeps the book of statements per RPC; this is the audit."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from google.protobuf.message import Message

from appointments.api.account import AccountService
from appointments.api.admin import AdminService
from appointments.api.appointments import AppointmentService
from appointments.api.auth import AuthService
from appointments.api.availability import AvailabilityService
from appointments.api.caller import Caller
from appointments.api.changes import ChangeService
from appointments.api.feeds import FeedService
from appointments.api.invitations import InvitationService
from appointments.api.keys import KeyService
from appointments.api.resources import ResourceService
from appointments.api.series import SeriesService
from appointments.api.webhooks import WebhookService
from appointments.auth.identity import Identity
from appointments.auth.ratelimit import Limiter
from appointments.calendar import booking, updating
from appointments.calendar.appointment import Attendee
from appointments.changes.hub import Hub
from appointments.changes.sequencer import Sequencer
from appointments.changes.webhooks.target import Target
from appointments.db import Connection, Database
from appointments.icalendar.feeds.feeds import Feeds
from appointments.mail import Links
from appointments.v1 import (
    account_pb2,
    admin_pb2,
    auth_pb2,
    availability_pb2,
    changes_pb2,
    feeds_pb2,
    invitations_pb2,
    keys_pb2,
    resources_pb2,
    series_pb2,
    webhooks_pb2,
)
from appointments.v1 import appointments_pb2 as pb
from tests.auth.signing_in import EMAIL, LAPTOP, PASSWORD, process
from tests.clients import HOUR, TEN, appointment, timestamp
from tests.contract import METHODS
from tests.people import add_user, spec
from tests.service import ROOT


class Book:
    """Counts what goes to PostgreSQL."""

    statements = 0


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> Book:
    """Every statement, by either way to libpq; BEGIN and COMMIT are two of them."""
    kept, fetch, execute = Book(), Connection.fetch, psycopg.AsyncCursor.execute

    async def counted_fetch(self: Connection, *arguments: Any, **options: Any) -> Any:
        kept.statements += 1
        return await fetch(self, *arguments, **options)

    async def counted_execute(self: Any, *arguments: Any, **options: Any) -> Any:
        # What a new connection is told: when the pool makes one is its own affair.
        kept.statements += "statement_timeout" not in str(arguments[0])
        return await execute(self, *arguments, **options)

    monkeypatch.setattr(Connection, "fetch", counted_fetch)
    monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted_execute)
    return kept


async def test_the_book_is_true(db: Database, book: Book) -> None:
    """Each RPC as most calls are: everything is free, nobody else is faster."""
    house = process(db)
    ada = await house.accounts.register(EMAIL, PASSWORD, "Ada", LAPTOP)
    identity = await house.authenticator.identify(ada.tokens.access_token)
    caller = Caller("request", "192.0.2.1", "", None, Identity(identity.user_id, identity.user_id, identity.session_id))
    limiter = Limiter()
    servicers: list[Any] = [
        AppointmentService(db),
        AvailabilityService(db),
        ResourceService(db),
        AccountService(house.accounts, house.sessions, house.mailed_links, limiter),
        KeyService(house.keys),
        AdminService(house.directory),
        SeriesService(db),
        FeedService(Feeds(db, Links("s" * 32))),
        WebhookService(db, Target()),
        InvitationService(db, limiter),
        AuthService(house.accounts, house.sessions, house.rotation, limiter),
        ChangeService(db, Hub(db, Sequencer(db))),
    ]
    counted: dict[str, int] = {}

    async def do(request: Message, kind: str = "") -> Any:
        name = request.DESCRIPTOR.name.removesuffix("Request")
        handler = next(getattr(each, name) for each in servicers if hasattr(each, name))
        before = book.statements
        response = await handler(request, caller)
        counted[f"{name} {kind}".strip()] = book.statements - before
        return response

    room = resources_pb2.Resource(display_name="Room", kind=resources_pb2.RESOURCE_KIND_ROOM, time_zone="UTC")
    rooms = [(await do(resources_pb2.CreateResourceRequest(resource=room))).resource.id for _ in range(3)]
    await _appointments(do, rooms)
    await _free_time(do, rooms, str(identity.user_id))
    await _resources(do, rooms)
    await _people(do)
    await _series(do)
    await _followers(do)
    await _invitations(do, db, identity.user_id)
    await _signing_in(do)
    assert counted == documented(), "edit the rows of docs/performance.md, Statements per RPC, that differ"
    await limiter.close()


async def _appointments(do: Any, rooms: list[str]) -> None:
    for kind, taken in (("", []), ("with rooms", rooms)):
        wanted = appointment(TEN, resource_ids=taken)
        booked = (await do(pb.CreateAppointmentRequest(appointment=wanted), kind)).appointment
        await do(pb.GetAppointmentRequest(id=booked.id), kind)
        title = pb.Appointment(id=booked.id, title="Another")
        await do(pb.UpdateAppointmentRequest(appointment=title), kind)
        later = appointment(TEN + HOUR)
        later.id = booked.id
        await do(pb.UpdateAppointmentRequest(appointment=later), f"to another time {kind}".strip())
        if not taken:
            moved = pb.Appointment(id=booked.id, start_time=wanted.start_time, end_time=wanted.end_time)
            await do(pb.UpdateAppointmentRequest(appointment=moved), "of the times alone")
        await do(pb.DeleteAppointmentRequest(id=booked.id), kind)
        await do(pb.UndeleteAppointmentRequest(id=booked.id), kind)
        await do(pb.DeleteAppointmentRequest(id=booked.id), kind)
    free = appointment(TEN, transparency=pb.TRANSPARENCY_TRANSPARENT)
    await do(pb.CreateAppointmentRequest(appointment=free), "that takes no time")
    await do(pb.ListAppointmentsRequest())
    day: dict[str, Any] = {"start_time": timestamp(TEN), "end_time": timestamp(TEN + 24 * HOUR)}
    await do(pb.ListAppointmentsRequest(**day), "far ahead")
    await do(pb.ListAppointmentsRequest(resource_id=rooms[0]), "of a resource")
    held = pb.CreateAppointmentRequest(appointment=appointment(TEN + 5 * HOUR))
    held.appointment.ttl.FromTimedelta(timedelta(minutes=5))
    hold = (await do(held, "that is a hold")).appointment
    await do(pb.ConfirmAppointmentRequest(id=hold.id))


async def _free_time(do: Any, rooms: list[str], user_id: str) -> None:
    window: dict[str, Any] = {"start_time": timestamp(TEN), "end_time": timestamp(TEN + 300 * HOUR)}
    await do(availability_pb2.QueryFreeBusyRequest(subject_ids=[user_id, *rooms], **window))
    search = availability_pb2.SearchSlotsRequest(**window)
    search.duration.FromTimedelta(HOUR)
    search.requirements.add(any_of_subject_ids=[user_id])
    search.requirements.add(any_of_subject_ids=rooms)
    await do(search)
    rules = resources_pb2.Resource(id=rooms[1], booking_rules=resources_pb2.BookingRules(daily_limit=5))
    await do(resources_pb2.UpdateResourceRequest(resource=rules))
    ruled = pb.CreateAppointmentRequest(appointment=appointment(TEN + 9 * HOUR, resource_ids=[rooms[1]]))
    await do(ruled, "with a room that has rules")


async def _resources(do: Any, rooms: list[str]) -> None:
    await do(resources_pb2.GetResourceRequest(id=rooms[0]))
    await do(resources_pb2.ListResourcesRequest())
    await do(resources_pb2.UpdateResourceRequest(resource=resources_pb2.Resource(id=rooms[0], seats=4)))
    await do(resources_pb2.SetResourceAccessRequest(id=rooms[0], email=EMAIL, role=resources_pb2.RESOURCE_ROLE_MANAGER))
    await do(resources_pb2.ListResourceAccessRequest(id=rooms[0]))
    await do(resources_pb2.DeleteResourceRequest(id=rooms[0]))
    await do(resources_pb2.UndeleteResourceRequest(id=rooms[0]))


async def _people(do: Any) -> None:
    await do(account_pb2.GetCurrentUserRequest())
    await do(account_pb2.UpdateCurrentUserRequest(user=account_pb2.User(display_name="Ada L.")))
    [session] = (await do(account_pb2.ListSessionsRequest())).sessions
    await do(account_pb2.RevokeSessionRequest(id=session.id))
    key = keys_pb2.Key(display_name="Backend", scopes=["appointments.read"])
    made = await do(keys_pb2.CreateKeyRequest(key=key))
    await do(keys_pb2.ListKeysRequest())
    await do(keys_pb2.RevokeKeyRequest(id=made.key.id))
    await do(admin_pb2.CreateServiceAccountRequest(display_name="Backend", key=key))
    user = (await do(admin_pb2.CreateUserRequest(user=account_pb2.User(external_id="crm-1")))).user
    await do(admin_pb2.GetUserRequest(external_id="crm-1"))
    await do(admin_pb2.ListUsersRequest())
    user.display_name = "Bob"
    await do(admin_pb2.UpdateUserRequest(user=user))
    await do(admin_pb2.DeleteUserRequest(id=str(UUID(user.id))))


async def _series(do: Any) -> None:
    times: dict[str, Any] = {"start_time": timestamp(TEN + 2000 * HOUR), "end_time": timestamp(TEN + 2001 * HOUR)}
    wanted = series_pb2.Series(title="Weekly", time_zone="UTC", recurrence_rule="FREQ=WEEKLY;COUNT=10", **times)
    made = (await do(series_pb2.CreateSeriesRequest(series=wanted))).series
    await do(series_pb2.GetSeriesRequest(id=made.id))
    await do(series_pb2.ListSeriesRequest())
    await do(series_pb2.UpdateSeriesRequest(series=series_pb2.Series(id=made.id, title="Another")))
    await do(series_pb2.DeleteSeriesRequest(id=made.id))
    await do(series_pb2.UndeleteSeriesRequest(id=made.id))


async def _followers(do: Any) -> None:
    feed = (await do(feeds_pb2.CreateFeedRequest(feed=feeds_pb2.Feed(display_name="Phone")))).feed
    await do(feeds_pb2.ListFeedsRequest())
    await do(feeds_pb2.DeleteFeedRequest(id=feed.id))
    hook = webhooks_pb2.Webhook(url="https://example.com/hook")
    hook = (await do(webhooks_pb2.CreateWebhookRequest(webhook=hook))).webhook
    await do(webhooks_pb2.ListWebhooksRequest())
    await do(webhooks_pb2.GetWebhookRequest(id=hook.id))
    await do(webhooks_pb2.PingRequest(id=hook.id))
    hook.disabled = True
    await do(webhooks_pb2.UpdateWebhookRequest(webhook=hook))
    await do(webhooks_pb2.ListDeliveriesRequest(webhook_id=hook.id))
    await do(webhooks_pb2.RotateSecretRequest(id=hook.id))
    await do(webhooks_pb2.DeleteWebhookRequest(id=hook.id))
    await do(invitations_pb2.ListOpenInvitationsRequest())
    await do(changes_pb2.ListChangesRequest())


async def _invitations(do: Any, db: Database, user_id: UUID) -> None:
    organizer = await add_user(db)
    async with db.connection() as connection:
        await connection.execute("UPDATE users SET email_verified_at = now() WHERE id = %s", (user_id,))
    met = await booking.create(db, organizer, replace(spec(TEN + 1000 * HOUR), attendees=(Attendee(EMAIL),)))
    await do(pb.ListAppointmentsRequest(), "of somebody who is invited")
    await do(pb.ListAppointmentsRequest(page_size=1), "of somebody who is invited after the page")
    await updating.delete(db, organizer, met.id)


async def _signing_in(do: Any) -> None:
    registered = auth_pb2.RegisterRequest(email="bob@example.com", password=PASSWORD, display_name="Bob")
    await do(registered)
    signed_in = await do(auth_pb2.LoginRequest(email="bob@example.com", password=PASSWORD))
    renewed = await do(auth_pb2.RefreshRequest(refresh_token=signed_in.tokens.refresh_token))
    await do(auth_pb2.LogoutRequest(refresh_token=renewed.tokens.refresh_token))
    changed = account_pb2.ChangePasswordRequest(current_password=PASSWORD, new_password=PASSWORD + "!")
    await do(changed)
    await do(account_pb2.DeleteAccountRequest(password=changed.new_password))


def test_every_rpc_is_in_the_book() -> None:
    """But for those whose statements depend on what they are given, or that last."""
    depends = {
        "ChangeEmail",
        "ImportAppointments",
        "Redeliver",
        "RequestEmailVerification",
        "RespondToInvitation",
        "WatchChanges",
    }
    assert {method.name for method in METHODS} - depends == {name.partition(" ")[0] for name in documented()}


def documented() -> dict[str, int]:
    """The table: an RPC, what is special about the call, statements."""
    section = (ROOT / "docs/performance.md").read_text().partition("## Statements per RPC")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)`([^|]*)\| (\d+) \|", section, re.MULTILINE)
    return {f"{name} {kind.strip()}".strip(): int(count) for name, kind, count in rows}
