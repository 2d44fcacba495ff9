"""Two replicas behind one port behave as one service."""

import asyncio
from collections import Counter
from uuid import uuid4

import httpx

from appointments.v1 import appointments_pb2 as pb
from tests.clients import PASSWORD, Person, new_email
from tests.service import Target


async def test_a_session_of_one_replica_holds_at_the_other(ada: Person) -> None:
    """The proxy spreads these calls; each replica knows the token and what the other has written."""
    booked = await ada.create()
    request = pb.GetAppointmentRequest(id=booked.id)
    answers = [await ada.appointments.GetAppointment(request, metadata=ada.metadata) for _ in range(10)]
    assert [booked] * 10 == [answer.appointment for answer in answers]


async def test_a_refresh_race_over_both_replicas_keeps_the_user_signed_in(target: Target) -> None:
    """Eight requests of one attempt, each on its own connection: all succeed, with one successor, which is good."""
    async with httpx.AsyncClient(base_url=target.url, timeout=30) as client:
        account = {"email": new_email(), "password": PASSWORD, "display_name": "Ada"}
        assert (await client.post("/auth/register", json=account)).status_code == 201
        old = client.cookies["refresh_token"]
    headers = {"X-Refresh-Id": str(uuid4())}

    async def refresh(token: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=target.url, timeout=30, cookies={"refresh_token": token}) as tab:
            return await tab.post("/auth/refresh", headers=headers)

    answers = await asyncio.gather(*(refresh(old) for _ in range(8)))
    assert Counter({200: 8}) == Counter(answer.status_code for answer in answers)
    (successor,) = {answer.cookies["refresh_token"] for answer in answers}
    headers = {"X-Refresh-Id": str(uuid4())}
    assert (await refresh(successor)).status_code == 200


async def test_the_limit_is_one_for_both_replicas(target: Target) -> None:
    """Of twenty logins at once ten pass the limiter, though each replica would let ten in by itself."""
    await asyncio.sleep(3)  # what the tests before have used up is back
    body = {"email": new_email(), "password": "not the right one"}
    async with httpx.AsyncClient(base_url=target.url, timeout=30) as client:
        answers = await asyncio.gather(*(client.post("/auth/login", json=body) for _ in range(20)))
    statuses = Counter(answer.status_code for answer in answers)
    assert {401, 429} == set(statuses)
    assert 10 <= statuses[401] <= 13  # five more a second
