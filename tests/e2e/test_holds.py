"""The rooms of a new appointment are kept while it is written: nobody else gets them, and nothing is seen of it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import grpc
import psycopg
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from playwright.async_api import Route, expect

from appointments.v1 import appointments_pb2 as pb
from appointments.v1 import resources_pb2
from tests import clients, service
from tests.clients import Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import TODAY, Tab, at
from tests.e2e.test_access import violations

KEPT = "Kept for you while you write."


@pytest_asyncio.fixture(loop_scope="session")
async def grace(running: service.Server) -> AsyncIterator[Person]:
    """Somebody else."""
    async with clients.person(running.grpc) as person:
        yield person


async def studio(manager: Person) -> resources_pb2.Resource:
    """A room with a name of its own, that everybody may book."""
    return await room(manager, f"Studio {uuid.uuid4().hex[:6]}")


async def add(tab: Tab, name: str) -> None:
    """Pick a room in the editor, by the keyboard."""
    await tab.field("Rooms and equipment").fill(name)
    await expect(tab.page.get_by_role("option", name=name)).to_be_visible()
    await tab.field("Rooms and equipment").press("Enter")


async def kept(tab: Tab) -> None:
    """Wait until the page says that the room is kept."""
    await expect(tab.page.get_by_text(KEPT)).to_be_visible()


async def listed(person: Person) -> list[pb.Appointment]:
    """What the server has of somebody's."""
    answer = await person.appointments.ListAppointments(pb.ListAppointmentsRequest(), metadata=person.metadata)
    return list(answer.appointments)


async def places(person: Person) -> list[tuple[list[str], datetime]]:
    """Which rooms somebody has when."""
    return [(list(each.resource_ids), each.start_time.ToDatetime(UTC)) for each in await listed(person)]


async def until(person: Person, wanted: Callable[[list[tuple[list[str], datetime]]], bool]) -> None:
    """Wait until the server has it so."""
    async with asyncio.timeout(20):
        while not wanted(await places(person)):  # noqa: ASYNC110 - the page cannot tell us
            await asyncio.sleep(0.1)


async def test_a_room_is_kept_while_the_editor_is_open_and_the_hold_becomes_the_appointment(
    tab: Tab, ada: Person, grace: Person
) -> None:
    """Nobody else gets it; its own page does not show it; Save confirms the very hold, with all that was typed."""
    place = await studio(grace)
    await tab.write("Rehearsal", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    (hold,) = await listed(ada)
    assert ([place.id], at(15, 14), True) == (
        list(hold.resource_ids),
        hold.start_time.ToDatetime(UTC),
        hold.HasField("expire_time"),
    )
    assert ("Held", []) == (hold.title, list(hold.attendees))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await grace.create(at(15, 14, 30), resource_ids=[place.id])
    assert grpc.StatusCode.ALREADY_EXISTS == refused.value.code()
    await expect(tab.page.locator("[data-appointment]")).to_have_count(0)
    await expect(tab.page.get_by_role("listitem").filter(has_text=place.display_name)).to_contain_text("Free")
    await tab.field("Notes").fill("Bring the drums")
    await tab.field("Attendees").fill("drummer@example.com")
    await tab.field("Title").press("Enter")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await expect(tab.appointment("Rehearsal")).to_have_count(1)
    (booked,) = await listed(ada)
    assert (hold.id, False, "Rehearsal", "Bring the drums", ["drummer@example.com"]) == (
        booked.id,
        booked.HasField("expire_time"),
        booked.title,
        booked.description,
        [each.email for each in booked.attendees],
    )
    assert [] == tab.errors


async def test_of_two_editors_on_one_room_the_second_is_told_before_it_saves(
    open_tab: Opener, tab: Tab, ada: Person, grace: Person
) -> None:
    """The first saves; the second sees what a save would have said, takes the time that is offered, and books it."""
    place = await studio(ada)
    other = await open_tab(email=grace.email)
    for each in (tab, other):
        await each.write("Mine", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    await add(other, place.display_name)
    await expect(other.alert).to_contain_text(f"“{place.display_name}” is taken at this time.")
    await expect(other.page.get_by_text(KEPT)).to_have_count(0)
    assert [] == await violations(other.page)
    await other.button("Use 15:00 – 16:00").press("Enter")
    await expect(other.alert).to_have_count(0)
    await kept(other)
    for each in (tab, other):
        await each.save()
    assert [[("Mine", at(15, hour), False)] for hour in (14, 15)] == [
        [(mine.title, mine.start_time.ToDatetime(UTC), mine.HasField("expire_time")) for mine in await listed(person)]
        for person in (ada, grace)
    ]


async def test_a_race_of_two_editors_has_one_winner(open_tab: Opener, tab: Tab, ada: Person, grace: Person) -> None:
    """Whoever is second is told, at once and not at the end."""
    place = await studio(ada)
    other = await open_tab(email=grace.email)
    for each in (tab, other):
        await each.write("Race", f"{TODAY}T14:00")
        await each.field("Rooms and equipment").fill(place.display_name)
        await expect(each.page.get_by_role("option", name=place.display_name)).to_be_visible()
    await asyncio.gather(*(each.field("Rooms and equipment").press("Enter") for each in (tab, other)))
    told = [
        each.page.get_by_text(KEPT).or_(each.alert.filter(has_text="is taken at this time")) for each in (tab, other)
    ]
    for one in told:
        await expect(one).to_be_visible()
    assert [KEPT, True] == sorted(
        [KEPT if text == KEPT else place.display_name in text for text in [await one.inner_text() for one in told]],
        key=str,
    )


@pytest.mark.parametrize("how", ["Escape", "Cancel", "without the room", "Show as free", "closing the tab"])
async def test_whoever_gives_up_lets_the_room_go_at_once(tab: Tab, ada: Person, grace: Person, how: str) -> None:
    """However it is given up; there is nothing to undo, and nothing is left in the calendar."""
    place = await studio(grace)
    await tab.write("Perhaps", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    if how == "Escape":
        await tab.page.keyboard.press("Escape")
        await expect(tab.toast).to_contain_text("Closed without saving.")
    elif how == "Cancel":
        await tab.button("Cancel").click()
    elif how == "without the room":
        await tab.button(f"Remove {place.display_name}").press("Enter")
    elif how == "Show as free":
        await tab.field("Show as").select_option("Free")
    else:
        await tab.page.close()
    await until(ada, lambda found: found == [])
    await grace.create(at(15, 14), resource_ids=[place.id])
    if how == "Escape":
        await expect(tab.page.locator("[data-appointment]")).to_have_count(0)
        assert [] == tab.errors


async def test_the_hold_goes_along_with_another_time_and_another_room(tab: Tab, ada: Person, grace: Person) -> None:
    """One at a time; a save that comes at once moves it too."""
    first, second = await studio(grace), await studio(grace)
    await tab.write("Wandering", f"{TODAY}T14:00")
    await add(tab, first.display_name)
    await kept(tab)
    await tab.set_time("Start", f"{TODAY}T14:30")
    await tab.field("Title").click()

    await until(ada, lambda found: found == [([first.id], at(15, 14, 30))])
    await kept(tab)
    await tab.button(f"Remove {first.display_name}").click()
    await add(tab, second.display_name)
    await tab.set_time("Start", f"{TODAY}T15:00")
    await tab.save()
    assert [([second.id], at(15, 15))] == await places(ada)
    assert [False] == [each.HasField("expire_time") for each in await listed(ada)]


async def test_a_series_is_booked_where_its_first_occurrence_was_held(tab: Tab, ada: Person, grace: Person) -> None:
    """What repeats has no hold; the one of before is not in its way, however fast the save comes."""
    place = await studio(grace)
    await tab.write("Weekly", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    await tab.field("Repeat").select_option(index=1)
    await tab.save()
    await expect(tab.appointment("Weekly").first).to_be_visible()
    assert {"Weekly"} == {each.title for each in await listed(ada)}


async def test_ones_own_holds_are_never_in_the_way(open_tab: Opener, tab: Tab, ada: Person, grace: Person) -> None:
    """Of a second editor of the same person, and of a browser that has crashed."""
    place = await studio(grace)
    await tab.write("Left open", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    elsewhere = await open_tab(email=ada.email)
    await elsewhere.settled()
    await expect(elsewhere.page.locator("[data-appointment]")).to_have_count(0)
    await elsewhere.write("Saved", f"{TODAY}T14:00")
    await add(elsewhere, place.display_name)
    await elsewhere.save()
    assert ["Saved"] == [each.title for each in await listed(ada)]
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("This time overlaps “Saved”")


async def test_without_a_hold_the_editor_works_as_ever(tab: Tab, ada: Person, grace: Person) -> None:
    """Whoever has too many open holds, or none because the network lost it, books all the same."""
    place = await studio(grace)
    for day in range(20, 23):
        await ada.create(at(day, 9), ttl=Duration(seconds=600), resource_ids=[place.id])
    await tab.write("Without", f"{TODAY}T14:00")
    async with tab.page.expect_response("**/CreateAppointment") as refused:
        await add(tab, place.display_name)
    assert (await refused.value).status == 200  # what failed is said in the trailers
    await expect(tab.page.get_by_role("listitem").filter(has_text=place.display_name)).to_contain_text("Free")
    await expect(tab.alert).to_have_count(0)
    await tab.save()
    await expect(tab.appointment("Without")).to_have_count(1)


async def test_a_hold_whose_answer_was_lost_is_not_in_the_way_of_the_save(tab: Tab, ada: Person, grace: Person) -> None:
    """The server has it, the page does not know: the save finds it and takes its place."""
    place = await studio(grace)
    lost = 0

    async def lose(route: Route) -> None:
        nonlocal lost
        lost += 1
        await route.fetch()
        await route.abort()

    await tab.page.route("**/CreateAppointment", lose, times=1)
    await tab.write("All the same", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await until(ada, bool)
    await expect(tab.page.get_by_role("listitem").filter(has_text=place.display_name)).to_contain_text("Free")
    await tab.save()
    assert (["All the same"], 1) == ([each.title for each in await listed(ada)], lost)


async def test_a_hold_that_has_expired_is_booked_as_if_it_had_never_been(
    tab: Tab, ada: Person, grace: Person, database: str
) -> None:
    """Such as that of a laptop that was shut for a while."""
    place = await studio(grace)
    await tab.write("Late", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await kept(tab)
    with psycopg.connect(database) as connection:
        for table, of in (("appointments", "id"), ("bookings", "appointment_id")):
            connection.execute(
                f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE {of} = %s",
                [(await listed(ada))[0].id],
            )
    await tab.save()
    await expect(tab.appointment("Late")).to_have_count(1)
    assert [("Late", False)] == [(each.title, each.HasField("expire_time")) for each in await listed(ada)]


async def test_a_hold_is_renewed_before_it_expires_and_not_for_ever(tab: Tab, ada: Person, grace: Person) -> None:
    """Whoever writes for long keeps the room by the same hold; whoever went away loses it after half an hour."""
    place = await studio(grace)
    await tab.page.clock.install(time=at(15, 10, 20))
    await tab.reload()
    await tab.write("Slow", f"{TODAY}T14:00")
    await add(tab, place.display_name)
    await tab.page.clock.run_for(1_000)
    await kept(tab)
    (hold,) = await listed(ada)
    for _ in range(6):
        async with tab.page.expect_response("**/UpdateAppointment"):
            await tab.page.clock.run_for("04:01")
        await kept(tab)
        (renewed,) = await listed(ada)
        assert (hold.id, True) == (renewed.id, renewed.expire_time.ToDatetime() > hold.expire_time.ToDatetime())
        hold = renewed
    await tab.page.clock.run_for("06:00")
    await expect(tab.page.get_by_text(KEPT)).to_have_count(0)
    await tab.save()
    await expect(tab.appointment("Slow")).to_have_count(1)


async def test_what_the_rules_of_a_room_refuse_is_said_early(tab: Tab, ada: Person, grace: Person) -> None:
    """As soon as the room is picked; another time clears it."""
    place = await room(
        grace,
        f"Studio {uuid.uuid4().hex[:6]}",
        booking_rules=resources_pb2.BookingRules(max_duration=Duration(seconds=3600)),
    )
    await tab.write("Too long", f"{TODAY}T14:00", f"{TODAY}T16:00")
    await add(tab, place.display_name)
    await expect(tab.alert).to_be_visible()
    await tab.set_time("End", f"{TODAY}T15:00")
    await tab.field("Title").click()
    await kept(tab)
    await expect(tab.alert).to_have_count(0)


async def test_a_manager_books_against_a_rule(tab: Tab, ada: Person) -> None:
    """The editor names the room and the rule; a tick is for that time only; it is recorded, as is a later change."""
    limit = resources_pb2.BookingRules(max_duration=Duration(seconds=3600))
    place = await room(ada, f"Studio {uuid.uuid4().hex[:6]}", booking_rules=limit)
    anyway = tab.page.get_by_label("Book anyway")
    await tab.write("Long talk", f"{TODAY}T14:00", f"{TODAY}T16:00")
    await add(tab, place.display_name)
    await expect(tab.alert).to_contain_text(place.display_name)
    await expect(tab.alert).not_to_contain_text(place.id)
    await anyway.check()
    await tab.set_time("End", f"{TODAY}T17:00")
    await tab.button("Save").click()
    await expect(anyway).to_be_visible()
    await expect(anyway).not_to_be_checked()
    assert [] == await listed(ada)
    await anyway.check()
    await tab.save()
    await expect(tab.appointment("Long talk")).to_have_count(1)
    (booked,) = await listed(ada)
    assert (["max_duration"], False) == (list(booked.overridden_rules), booked.HasField("expire_time"))
    await tab.open("Long talk")
    await tab.set_time("End", f"{TODAY}T18:00")
    await tab.button("Save").click()
    await anyway.check()
    await tab.save()
    (booked,) = await listed(ada)
    assert (at(15, 18), ["max_duration"]) == (booked.end_time.ToDatetime(UTC), list(booked.overridden_rules))


async def test_who_does_not_manage_the_room_is_not_asked(tab: Tab, ada: Person, grace: Person) -> None:
    """They read which rule it is, and nothing is booked."""
    limit = resources_pb2.BookingRules(max_duration=Duration(seconds=3600))
    place = await room(grace, f"Studio {uuid.uuid4().hex[:6]}", booking_rules=limit)
    await tab.write("Too long", f"{TODAY}T14:00", f"{TODAY}T16:00")
    await add(tab, place.display_name)
    await expect(tab.alert).to_contain_text(place.display_name)
    await expect(tab.page.get_by_label("Book anyway")).to_have_count(0)
    assert [] == await listed(ada)
