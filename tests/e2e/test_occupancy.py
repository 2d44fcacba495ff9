"""What an appointment takes besides its owner's hours: rooms, buffers, whole days, or no time at all."""

import uuid
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from playwright.async_api import expect

from appointments.v1 import appointments_pb2
from tests import clients, service
from tests.clients import HOUR, Person
from tests.e2e.resources import room
from tests.e2e.tab import TODAY, Tab, at


async def stored(person: Person, title: str) -> appointments_pb2.Appointment:
    """What the server has under that title."""
    request = appointments_pb2.ListAppointmentsRequest()
    response = await person.appointments.ListAppointments(request, metadata=person.metadata)
    (found,) = [each for each in response.appointments if each.title == title]
    return found


async def test_a_room_is_found_by_its_name_says_whether_it_is_free_and_is_booked(
    tab: Tab, ada: Person, running: service.Server
) -> None:
    """The list tells before anything is chosen; a taken room is named when it is wanted all the same."""
    suffix = uuid.uuid4().hex[:6]
    studio = await room(ada, f"Studio {suffix}", seats=4, location="First floor")
    cellar = await room(ada, f"Cellar {suffix}")
    async with clients.person(running.grpc) as grace:
        await grace.create(at(16, 10), title="Hers", resource_ids=[studio.id])
    await tab.write("With a room", "2030-05-16T10:30")
    await tab.field("Rooms and equipment").fill(suffix)
    options = tab.page.locator("#resource-choices [role=option]")
    await expect(options.filter(has_text="Studio")).to_contain_text("First floor, 4 seats")
    await expect(options.filter(has_text="Studio")).to_contain_text("Taken")
    await expect(options.filter(has_text="Cellar")).to_contain_text("Free")
    await options.filter(has_text="Studio").click()
    chosen = tab.page.get_by_role("listitem").filter(has_text="Studio")
    await expect(chosen).to_contain_text("Taken")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text(f"“Studio {suffix}” is taken at this time.")
    await expect(tab.button("Use 11:00 – 12:00")).to_be_visible()
    await tab.button("Use 11:00 – 12:00").click()
    await expect(chosen).to_contain_text("Free")
    await tab.field("Rooms and equipment").press("ArrowDown")
    await tab.field("Rooms and equipment").press_sequentially(f"cellar {suffix}")
    await expect(options).to_have_count(1)
    await tab.page.keyboard.press("Enter")
    await tab.save()
    assert [studio.id, cellar.id] == list((await stored(ada, "With a room")).resource_ids)
    await tab.open("With a room")
    await tab.button(f"Remove Studio {suffix}").click()
    await tab.save()
    assert [cellar.id] == list((await stored(ada, "With a room")).resource_ids)


async def test_a_room_with_buffers_of_its_own_is_offered_behind_them(
    tab: Tab, ada: Person, running: service.Server
) -> None:
    """The nearest time that is offered can be booked: it keeps clear of the room's and the appointment's buffers."""
    suffix = uuid.uuid4().hex[:6]
    theatre = await room(ada, f"Theatre {suffix}", buffer_after=Duration(seconds=1800))
    async with clients.person(running.grpc) as grace:
        await grace.create(at(16, 10), title="Hers", resource_ids=[theatre.id])
    await tab.write("Behind", "2030-05-16T11:00")
    await tab.field("Buffer before").select_option("15 min")
    await tab.field("Rooms and equipment").fill(suffix)
    await tab.page.get_by_role("option").filter(has_text="Theatre").click()
    await tab.button("Save").click()
    await tab.button("Use 11:45 – 12:45").click()
    await tab.save()
    booked = await stored(ada, "Behind")
    assert (at(16, 11, 45).timestamp(), 900) == (booked.start_time.seconds, booked.buffer_before.seconds)


async def test_a_free_appointment_may_overlap_and_says_that_it_is_free(tab: Tab, ada: Person) -> None:
    """It takes no time; busy again it is refused."""
    await ada.create(at(16, 10), title="Solid")
    await tab.write("Ghost", "2030-05-16T10:00")
    await tab.field("Show as").select_option("Free")
    await expect(tab.field("Rooms and equipment")).to_have_count(0)
    await tab.save()
    await expect(tab.appointment("Ghost")).to_contain_text("free")
    assert appointments_pb2.TRANSPARENCY_TRANSPARENT == (await stored(ada, "Ghost")).transparency
    await tab.open("Ghost")
    await tab.field("Show as").select_option("Busy")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("This time overlaps “Solid” (10:00 – 11:00).")


async def test_whole_days_have_a_lane_of_their_own(tab: Tab, ada: Person) -> None:
    """A click on the lane books a day, the editor shows the last day, and a drag moves it by days."""
    lane = tab.page.locator(".ec-all-day .ec-day")
    await lane.nth(3).click()
    await expect(tab.field("All day")).to_be_checked()
    await expect(tab.field("Start time")).to_have_count(0)
    await tab.field("Title").fill("Fair")
    await tab.field("End date").fill("17 May 2030")
    await tab.save()
    fair = await stored(ada, "Fair")
    assert (True, at(16, 2) - 2 * HOUR, at(18, 2) - 2 * HOUR) == (
        fair.all_day,
        fair.start_time.ToDatetime(at(1, 2).tzinfo),
        fair.end_time.ToDatetime(at(1, 2).tzinfo),
    )
    await expect(tab.page.locator(".ec-all-day [data-appointment]")).to_contain_text("Fair")
    box = await tab.page.locator(".ec-all-day [data-appointment]").bounding_box()
    target = await lane.nth(1).bounding_box()
    assert box is not None
    assert target is not None
    await tab.drag((box["x"] + 20, box["y"] + 8), (target["x"] + 40, target["y"] + 8))
    await expect(tab.toast).to_contain_text("Moved to Tue 14 May")
    fair = await stored(ada, "Fair")
    assert at(14, 2) - 2 * HOUR == fair.start_time.ToDatetime(at(1, 2).tzinfo)
    await tab.open("Fair")
    await tab.field("All day").uncheck()
    await tab.expect_time("Start", "2030-05-14T09:00")
    await tab.save()
    assert "09:00 – 10:00" == await tab.span_of("Fair")


async def test_buffers_are_drawn_and_in_the_way(tab: Tab, ada: Person) -> None:
    """A band before and after; what overlaps the band only is refused."""
    await ada.create(
        at(15, 11), title="Buffered", buffer_before=Duration(seconds=1800), buffer_after=Duration(seconds=900)
    )
    await tab.reload()
    await expect(tab.page.locator(".buffer")).to_have_count(2)
    await tab.write("Too near", f"{TODAY}T12:10")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("This time overlaps “Buffered” (11:00 – 12:00).")
    await expect(tab.button("Use 12:15 – 13:15")).to_be_visible()


async def test_a_change_somewhere_else_of_rooms_and_buffers_is_shown(tab: Tab, ada: Person) -> None:
    """Beside what was typed here, by their names."""
    suffix = uuid.uuid4().hex[:6]
    attic = await room(ada, f"Attic {suffix}")
    booked = await ada.create(at(15, 11), title="Contested")
    await tab.reload()
    await tab.open("Contested")
    await ada.appointments.UpdateAppointment(
        appointments_pb2.UpdateAppointmentRequest(
            appointment=appointments_pb2.Appointment(
                id=booked.id, resource_ids=[attic.id], buffer_after=Duration(seconds=600)
            )
        ),
        metadata=ada.metadata,
    )
    await tab.field("Title").fill("Mine")
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text(f"Rooms and equipment: theirs is “Attic {suffix}”")
    await expect(tab.alert).to_contain_text("Buffer after: theirs is “10 min”")
    await tab.button("Keep my changes").click()
    await expect(tab.appointment("Mine")).to_be_visible()
    now = await stored(ada, "Mine")
    assert ([attic.id], timedelta(minutes=10)) == (list(now.resource_ids), now.buffer_after.ToTimedelta())
