"""A native gRPC client with an account of its own, for the tests that go through the ports."""

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from appointments.v1 import (
    account_pb2_grpc,
    admin_pb2,
    admin_pb2_grpc,
    appointments_pb2_grpc,
    auth_pb2,
    auth_pb2_grpc,
    keys_pb2,
    resources_pb2_grpc,
    series_pb2,
)
from appointments.v1 import appointments_pb2 as pb

PASSWORD = "correct horse battery staple"
TEN = datetime(2030, 5, 1, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
DETAILS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        error_details_pb2.BadRequest,
        error_details_pb2.ErrorInfo,
        error_details_pb2.RequestInfo,
        error_details_pb2.RetryInfo,
        pb.ConflictInfo,
        series_pb2.SeriesConflictInfo,
    )
}
_numbers = itertools.count(1)


def new_email() -> str:
    """An address that nobody has yet; later ones sort behind earlier ones."""
    return f"person-{os.getpid()}-{next(_numbers):06}@example.com"


def new_address() -> tuple[tuple[str, str], ...]:
    """Metadata as of a proxy that speaks for an address that nobody else has."""
    return (("x-forwarded-for", f"2001:db8:{next(_numbers):x}::1"),)


@dataclass
class Person:
    """Somebody with an account, signed in on the native port."""

    email: str
    user_id: str
    tokens: auth_pb2.Tokens
    channel: grpc.aio.Channel
    appointments: "appointments_pb2_grpc.AppointmentServiceAsyncStub"
    account: "account_pb2_grpc.AccountServiceAsyncStub"
    auth: "auth_pb2_grpc.AuthServiceAsyncStub"  # only their type stubs know these names
    resources: "resources_pb2_grpc.ResourceServiceAsyncStub"

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What proves who calls."""
        return (("authorization", f"Bearer {self.tokens.access_token}"),)

    async def create(self, start: datetime = TEN, length: timedelta = HOUR, **fields: object) -> pb.Appointment:
        """Book a time."""
        request = pb.CreateAppointmentRequest(appointment=appointment(start, length, **fields))
        response = await self.appointments.CreateAppointment(request, metadata=self.metadata)
        return response.appointment


@dataclass
class Program:
    """A service account with a key, on the channel of the admin who made it."""

    user_id: str
    secret: str
    channel: grpc.aio.Channel

    def metadata(self, act_as: str = "") -> tuple[tuple[str, str], ...]:
        """What proves who calls, and for whom."""
        acting = (("x-act-as", act_as),) if act_as else ()
        return (("authorization", f"Bearer {self.secret}"), *acting)


async def program(admin: Person, *scopes: str) -> Program:
    """Make a service account."""
    key = keys_pb2.Key(display_name="First", scopes=scopes)
    request = admin_pb2.CreateServiceAccountRequest(display_name="Backend", key=key)
    service = admin_pb2_grpc.AdminServiceStub(admin.channel)
    made: admin_pb2.CreateServiceAccountResponse = await service.CreateServiceAccount(request, metadata=admin.metadata)
    return Program(made.user.id, made.secret, admin.channel)


def appointment(start: datetime = TEN, length: timedelta = HOUR, **fields: object) -> pb.Appointment:
    """An appointment that breaks no rule."""
    good = {
        "title": "Haircut",
        "time_zone": "Europe/Zurich",
        "start_time": timestamp(start),
        "end_time": timestamp(start + length),
    }
    return pb.Appointment(**(good | fields))  # type: ignore[arg-type]


def timestamp(value: datetime) -> Timestamp:
    """A Timestamp."""
    message = Timestamp()
    message.FromDatetime(value)
    return message


async def register(channel: grpc.aio.Channel) -> Person:
    """Create an account and sign in, from an address of its own: the limiter counts by address."""
    auth = auth_pb2_grpc.AuthServiceStub(channel)
    email = new_email()
    answer = await auth.Register(
        auth_pb2.RegisterRequest(email=email, password=PASSWORD, display_name="Ada"),
        metadata=new_address(),
        wait_for_ready=True,
    )
    return Person(
        email,
        answer.user.id,
        answer.tokens,
        channel,
        appointments_pb2_grpc.AppointmentServiceStub(channel),
        account_pb2_grpc.AccountServiceStub(channel),
        auth,
        resources_pb2_grpc.ResourceServiceStub(channel),
    )


@asynccontextmanager
async def person(address: str) -> AsyncIterator[Person]:
    """A person on a channel of their own."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield await register(channel)


def status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The ``google.rpc.Status`` of a failed call."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            assert isinstance(value, bytes)
            return status_pb2.Status.FromString(value)
    raise AssertionError(f"{error!r} has no details")


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The details of a failed call, by the name of their type."""
    found = {}
    for packed in status(error).details:
        kind = DETAILS[packed.type_url.rpartition("/")[2]]
        found[kind.DESCRIPTOR.name] = kind.FromString(packed.value)
    return found
