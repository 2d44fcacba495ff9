"""Looking for a room in the editor: by kind and seats, those that can be had first, and why the others cannot."""

import asyncio
import re
import uuid
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from playwright.async_api import Locator, Route, expect

from appointments.v1 import resources_pb2 as pb
from tests import clients, service
from tests.clients import HOUR, Person
from tests.e2e.conftest import Opener
from tests.e2e.resources import room
from tests.e2e.tab import TODAY, Tab, at
from tests.e2e.test_access import violations

NIGHT = pb.Hours(week=[pb.DayHours(weekday=day, start_minute=20 * 60, end_minute=23 * 60) for day in range(1, 8)])


async def house(ada: Person) -> str:
    """Rooms of all sizes and a projector, for Ada alone; returns the word that is in all of their names."""
    word = f"House{uuid.uuid4().hex[:6]}"
    private = pb.RESOURCE_ROLE_UNSPECIFIED
    rules = pb.BookingRules
    sizes: dict[str, dict[str, Any]] = {
        "Annex": {"seats": 4},
        "Ballroom": {"seats": 100},
        "Cellar": {"seats": 30, "hours": NIGHT, "booking_rules": rules(within_hours=True)},
        "Den": {"seats": 12, "booking_rules": rules(max_duration=Duration(seconds=1800))},
        "Easel": {"kind": pb.RESOURCE_KIND_EQUIPMENT},
        "Foyer": {"seats": 40, "buffer_before": Duration(seconds=1800)},
        "Gym": {"seats": 20},
    }
    for name, decided in sizes.items():
        await room(ada, f"{name} {word}", default_role=private, **decided)
    return word


def choices(tab: Tab) -> Locator:
    """What the list offers."""
    return tab.page.get_by_role("listbox").get_by_role("option")


async def options(tab: Tab, *expected: tuple[str, str]) -> None:
    """Wait until the list offers these, in this order, each with what is said of it."""
    await expect(choices(tab)).to_have_text([re.compile(f"^{name} .*{said}$") for name, said in expected])


def search(tab: Tab) -> Locator:
    """The field."""
    return tab.field("Rooms and equipment")


async def test_rooms_are_found_by_seats_and_kind_those_that_can_be_had_first(
    tab: Tab, ada: Person, running: service.Server
) -> None:
    """All by the keyboard; the others say why not; what is found is booked."""
    word = await house(ada)
    answer = await ada.resources.ListResources(pb.ListResourcesRequest(page_size=1000), metadata=ada.metadata)
    ids = {each.display_name.split()[0]: each.id for each in answer.resources if word in each.display_name}
    await ada.create(at(15, 13), HOUR, title="Before", resource_ids=[ids["Annex"]])
    # It is free for that hour, but not with the half hour that it needs before the one that follows.
    await ada.create(at(15, 12), HOUR, title="Earlier still", resource_ids=[ids["Foyer"]])
    await ada.create(at(15, 15), HOUR, title="After", resource_ids=[ids["Foyer"]])
    await tab.write("Meeting", f"{TODAY}T14:00")
    await search(tab).fill(word)
    await options(
        tab,
        ("Annex", "Free"),
        ("Ballroom", "Free"),
        ("Easel", "Free"),
        ("Gym", "Free"),
        ("Cellar", "Closed then"),
        ("Den", "For 30 min at most"),
        ("Foyer", "Taken"),
    )
    assert [] == await violations(tab.page)
    await search(tab).press("Tab")
    await expect(tab.field("Kind to look for")).to_be_focused()
    await tab.field("Kind to look for").select_option("Rooms")
    await tab.page.keyboard.press("Tab")
    await expect(tab.field("Seats at least")).to_be_focused()
    await tab.page.keyboard.type("20")
    await tab.page.keyboard.press("Enter")
    await expect(search(tab)).to_be_focused()
    await options(tab, ("Ballroom", "Free"), ("Gym", "Free"), ("Cellar", "Closed then"), ("Foyer", "Taken"))
    await tab.page.keyboard.press("ArrowDown")
    await tab.page.keyboard.press("Enter")
    chosen = tab.page.get_by_role("listitem").filter(has_text=f"Gym {word}")
    await expect(chosen).to_contain_text("Free")
    await tab.save()
    async with clients.person(running.grpc) as grace:
        assert ids["Gym"] not in [each.id for each in (await everything(grace)).resources]
    await tab.open("Meeting")
    await expect(chosen).to_contain_text("Free")
    await tab.field("Kind to look for").select_option("Equipment")
    await search(tab).fill(word)
    await options(tab, ("Easel", "Free"))
    await tab.field("Seats at least").fill("1")
    await search(tab).click()
    await expect(tab.page.get_by_role("option", name="Nothing found.")).to_be_visible()
    assert [] == tab.errors


async def everything(person: Person) -> pb.ListResourcesResponse:
    """What somebody sees."""
    answer: pb.ListResourcesResponse = await person.resources.ListResources(
        pb.ListResourcesRequest(page_size=1000), metadata=person.metadata
    )
    return answer


async def test_the_choice_stays_with_its_room_when_the_order_changes(tab: Tab, ada: Person) -> None:
    """What Enter adds is what was under the cursor, not what has come in its place."""
    word = await house(ada)
    annex = next(each for each in (await everything(ada)).resources if each.display_name == f"Annex {word}")
    await ada.create(at(15, 14), HOUR, title="There", resource_ids=[annex.id])
    known = asyncio.Event()

    async def late(route: Route) -> None:
        await known.wait()
        await route.continue_()

    await tab.page.route("**/QueryFreeBusy", late)
    await tab.write("Meeting", f"{TODAY}T16:00")
    await search(tab).fill(word)
    await tab.set_time("Start", f"{TODAY}T14:00")
    await search(tab).click()
    await expect(choices(tab).first).to_contain_text("Annex")
    await search(tab).press("ArrowDown")
    active = choices(tab).and_(tab.page.locator("[aria-selected=true]"))
    await expect(active).to_contain_text("Ballroom")
    known.set()
    await expect(choices(tab).last).to_contain_text("Den")
    await expect(choices(tab).nth(4)).to_contain_text("Annex")
    await expect(active).to_contain_text("Ballroom")
    await search(tab).press("Enter")
    await expect(tab.page.get_by_role("listitem").filter(has_text=f"Ballroom {word}")).to_be_visible()


async def test_hours_and_rules_of_a_room_are_written_and_hold(
    tab: Tab, open_tab: Opener, ada: Person, running: service.Server
) -> None:
    """By whoever manages it, by the keyboard; the day of rooms is shaded, and the editor says what breaks a rule."""
    name = f"0 Vault {uuid.uuid4().hex[:6]}"
    vault = await room(ada, name, default_role=pb.RESOURCE_ROLE_UNSPECIFIED)
    await tab.choose("Rooms and equipment")
    await tab.button(f"Edit {name}").press("Enter")
    hours = tab.page.get_by_role("region", name="Opening hours")
    await hours.get_by_label("Only at certain hours").press("Space")
    await hours.get_by_label("Wednesday").fill("10-12")
    await hours.get_by_label("Wednesday").press("Enter")
    await expect(hours.get_by_text("Saved.")).to_be_visible()
    rules = tab.page.get_by_role("region", name="Rules of booking")
    await rules.get_by_label("Booked ahead at most").select_option("1 day")
    await rules.get_by_label("Booked ahead at least").select_option("2 days")
    await rules.get_by_role("button", name="Save rules").click()
    await expect(rules.get_by_label("Booked ahead at most")).to_have_attribute("aria-invalid", "true")
    assert [] == await violations(tab.page)
    await rules.get_by_label("Booked ahead at most").select_option("No rule")
    await rules.get_by_label("Booked ahead at least").select_option("30 min")
    await rules.get_by_label("Lasts at most").select_option("2 h")
    await rules.get_by_label("Begins at a multiple of").select_option("30 min")
    await rules.get_by_label("Times a day at most").fill("5")
    await rules.get_by_label("Only within the opening hours").press("Space")
    await rules.get_by_label("Nothing that has begun is booked, moved or deleted").press("Space")
    await rules.get_by_role("button", name="Save rules").press("Enter")
    await expect(rules.get_by_text("Saved.")).to_be_visible()
    # The other forms of the dialog go on from what was saved.
    await tab.field("Location").fill("Below")
    await tab.page.get_by_role("button", name="Save", exact=True).click()
    await expect(tab.page.get_by_text("Saved.").first).to_be_visible()
    answer = await ada.resources.GetResource(pb.GetResourceRequest(id=vault.id), metadata=ada.metadata)
    assert (
        pb.BookingRules(
            min_notice=Duration(seconds=1800),
            max_duration=Duration(seconds=7200),
            step=Duration(seconds=1800),
            daily_limit=5,
            within_hours=True,
            past_changes=False,
        )
        == answer.resource.booking_rules
    )
    wednesday = [each for each in answer.resource.hours.week if each.weekday == 3]
    assert [(600, 720)] == [(each.start_minute, each.end_minute) for each in wednesday]
    await tab.reload()
    await tab.choose("Rooms and equipment")
    await tab.button(f"Edit {name}").click()
    await expect(hours.get_by_label("Wednesday")).to_have_value("10:00 – 12:00")
    await expect(rules.get_by_label("Lasts at most")).to_have_value("7200000")
    await tab.page.keyboard.press("Escape")
    await tab.button("Rooms").click()
    await tab.show("Day")
    await expect(tab.page.locator(".closed")).to_have_count(2)
    async with clients.person(running.grpc) as grace:
        request = pb.SetResourceAccessRequest(id=vault.id, email=grace.email, role=pb.RESOURCE_ROLE_BOOKER)
        await ada.resources.SetResourceAccess(request, metadata=ada.metadata)
        other = await open_tab(email=grace.email)
        await other.write("Hers", f"{TODAY}T13:00")
        await search(other).fill(name)
        await expect(other.page.get_by_role("option", name=name)).to_contain_text("Closed then")
        await search(other).press("Enter")
        await expect(other.alert).to_be_visible()
        await other.set_time("Start", f"{TODAY}T11:00")
        await other.field("Title").click()
        await expect(other.alert).to_have_count(0)
        await other.save()
        await expect(other.appointment("Hers")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_rooms_hours_and_rules_violate_nothing_of_axe(open_tab: Opener, ada: Person, scheme: str) -> None:
    """With hours and rules that are set."""
    name = f"0 Vault {uuid.uuid4().hex[:6]}"
    rules = pb.BookingRules(step=Duration(seconds=2700), within_hours=True)
    await room(ada, name, hours=NIGHT, booking_rules=rules, default_role=pb.RESOURCE_ROLE_UNSPECIFIED)
    tab = await open_tab(email=ada.email, color_scheme=scheme)
    await expect(tab.button("New appointment")).to_be_visible()
    await tab.choose("Rooms and equipment")
    await tab.button(f"Edit {name}").click()
    await expect(tab.field("Monday")).to_have_value("20:00 – 23:00")
    await expect(tab.field("Begins at a multiple of")).to_have_value("2700000")
    assert [] == await violations(tab.page)
