"""Reminders in the editor, and their default in the account."""

from playwright.async_api import Locator, expect

from appointments.v1 import account_pb2, appointments_pb2
from tests.clients import Person
from tests.e2e.tab import Tab, at
from tests.e2e.test_access import violations


async def default_of(person: Person) -> list[int]:
    """What the server has."""
    answer = await person.account.GetCurrentUser(account_pb2.GetCurrentUserRequest(), metadata=person.metadata)
    return list(answer.user.default_reminders)


async def reminders_of(person: Person, title: str) -> tuple[list[int], bool]:
    """The reminders of an appointment, and whether there are none on purpose."""
    request = appointments_pb2.ListAppointmentsRequest(page_size=1000)
    answer = await person.appointments.ListAppointments(request, metadata=person.metadata)
    (found,) = [each for each in answer.appointments if each.title == title]
    return list(found.reminders), found.no_reminders


def chips(inside: Locator) -> Locator:
    """The reminders that are listed."""
    return inside.get_by_role("list", name="Reminders").get_by_role("listitem")


async def test_reminders_are_chosen_by_the_keyboard_and_kept(tab: Tab, ada: Person) -> None:
    """As many as there may be, in the units that people think in; removed, and given back to the account."""
    await tab.write("Reminded", "2030-05-16T18:00")
    dialog = tab.page.get_by_role("dialog", name="New appointment")
    await expect(dialog.get_by_label("Reminders by mail").locator("option:checked")).to_have_text(
        "As in your account (none)"
    )
    await dialog.get_by_label("Reminders by mail").select_option("For this appointment")
    count, unit = dialog.get_by_label("Remind how long before"), dialog.get_by_label("Unit")
    await count.fill("30")
    await count.press("Enter")
    await expect(chips(dialog)).to_have_text(["30 minutes before"])
    await count.press("Enter")
    await expect(dialog.get_by_text("There is one already.")).to_be_visible()
    await count.fill("2")
    await unit.select_option("days")
    await dialog.get_by_role("button", name="Add reminder").press("Enter")
    await expect(chips(dialog)).to_have_text(["2 days before", "30 minutes before"])
    await expect(dialog.get_by_text("There is one already.")).to_have_count(0)
    assert [] == await violations(tab.page)
    await tab.button("Save").press("Enter")
    await expect(tab.appointment("Reminded")).to_be_visible()
    assert ([2880, 30], False) == await reminders_of(ada, "Reminded")

    await tab.appointment("Reminded").click()
    dialog = tab.page.get_by_role("dialog", name="Edit appointment")
    await expect(chips(dialog)).to_have_count(2)
    await dialog.get_by_role("button", name="Remove reminder 2 days before").press("Enter")
    await expect(dialog.get_by_role("button", name="Remove reminder 30 minutes before")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(chips(dialog)).to_have_count(0)
    await expect(dialog.get_by_label("Remind how long before")).to_be_focused()
    await tab.button("Save").click()
    await expect(dialog).to_have_count(0)
    assert ([], True) == await reminders_of(ada, "Reminded")

    await tab.appointment("Reminded").click()
    choice = tab.page.get_by_label("Reminders by mail")
    await expect(choice.locator("option:checked")).to_have_text("None")
    await choice.select_option("usual")
    await tab.button("Save").click()
    await expect(dialog).to_have_count(0)
    assert ([], False) == await reminders_of(ada, "Reminded")
    assert [] == tab.errors


async def test_the_default_is_kept_in_the_account(tab: Tab, ada: Person) -> None:
    """And the editor says what it is."""
    await tab.choose("Account")
    part = tab.page.get_by_role("region", name="Reminders")
    await part.get_by_label("Remind how long before").fill("1")
    await part.get_by_label("Unit").select_option("hours")
    await part.get_by_role("button", name="Add reminder").press("Enter")
    await part.get_by_label("Remind how long before").fill("1.5")
    await part.get_by_role("button", name="Add reminder").press("Enter")
    await expect(chips(part)).to_have_text(["1 hour 30 minutes before", "1 hour before"])
    await part.get_by_label("Unit").select_option("weeks")
    await part.get_by_label("Remind how long before").fill("9")
    await part.get_by_role("button", name="Add reminder").press("Enter")
    await expect(part.get_by_text("At most four weeks before.")).to_be_visible()
    assert [] == await violations(tab.page)
    await part.get_by_role("button", name="Save reminders").press("Enter")
    await expect(part.get_by_text("Saved.")).to_be_visible()
    assert [90, 60] == await default_of(ada)
    await tab.page.keyboard.press("Escape")
    await tab.write("By default")
    choice = tab.page.get_by_label("Reminders by mail")
    await expect(choice.locator("option:checked")).to_have_text(
        "As in your account (1 hour 30 minutes before, 1 hour before)"
    )
    await choice.select_option("own")
    await expect(chips(tab.page.get_by_role("dialog"))).to_have_count(2)
    assert [] == tab.errors


async def test_reminders_of_a_series_and_of_one_occurrence(tab: Tab, ada: Person) -> None:
    """All of them have those that were chosen, until they are changed for one alone, or for all."""
    await tab.write("Daily", "2030-05-16T18:00")
    await tab.field("Repeat").select_option("Every day")
    await tab.page.get_by_label("Reminders by mail").select_option("own")
    await tab.button("Add reminder").click()
    await tab.save()
    await expect(tab.appointment("Daily")).to_have_count(4)
    assert [(10,)] * 4 == await reminders_of_week(ada)

    await change_reminders(tab, "Remove reminder 10 minutes before", "Only this one")
    assert [(), (10,), (10,), (10,)] == await reminders_of_week(ada)
    await tab.appointment("Daily").nth(1).click()
    await tab.field("Remind how long before").fill("20")
    await tab.button("Add reminder").click()
    await save_for(tab, "All")
    assert [(), (20, 10), (20, 10), (20, 10)] == await reminders_of_week(ada)
    assert [] == tab.errors


async def change_reminders(tab: Tab, button: str, scope: str) -> None:
    """Press a button in the editor of the first one."""
    await tab.appointment("Daily").first.click()
    await tab.button(button).click()
    await save_for(tab, scope)


async def save_for(tab: Tab, scope: str) -> None:
    """Save for some occurrences."""
    await tab.button("Save").click()
    await tab.button(scope).click()
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)


async def reminders_of_week(person: Person) -> list[tuple[int, ...]]:
    """What the server has, in the order of the days."""
    request = appointments_pb2.ListAppointmentsRequest()
    request.start_time.FromDatetime(at(13, 12))
    request.end_time.FromDatetime(at(19, 23))
    answer = await person.appointments.ListAppointments(request, metadata=person.metadata)
    return [tuple(each.reminders) for each in answer.appointments]
