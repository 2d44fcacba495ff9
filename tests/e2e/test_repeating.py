"""Appointments that repeat: written in the editor, and changed and deleted one, some or all."""

import re

import pytest
from playwright.async_api import expect

from tests.clients import Person
from tests.e2e.tab import Tab, at


async def weeks(tab: Tab, title: str) -> list[int]:
    """How often a title is shown in this week and in the next two."""
    shown = []
    for week in range(3):
        if week:
            await tab.button("Next").click()
            await tab.settled()
        shown.append(await tab.appointment(title).count())
    for _ in range(2):
        await tab.button("Previous").click()
    await tab.settled()
    return shown


async def repeat(tab: Tab, title: str, starts: str, times: int) -> None:
    """Write something that happens every Thursday so many times."""
    await tab.write(title, starts)
    await tab.field("Repeat").select_option("Every Thursday")
    await tab.field("Repeats until").select_option("A number of times")
    await tab.field("Number of times").fill(str(times))
    await tab.field("Number of times").blur()


async def choose_scope(tab: Tab, scope: str) -> None:
    """Answer which occurrences it is about."""
    await expect(tab.page.get_by_role("group", name=re.compile("This appointment repeats"))).to_be_visible()
    await tab.button(scope).click()
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await tab.settled()


async def test_it_repeats_as_often_as_it_is_told(tab: Tab) -> None:
    """The rule is said in words before it is saved, and the calendar marks what repeats."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await expect(tab.page.get_by_text("Repeats every Thursday, 2 times.")).to_be_visible()
    await tab.save()
    await expect(tab.appointment("Rounds")).to_contain_text("repeats")
    assert [1, 1, 0] == await weeks(tab, "Rounds")
    await tab.open("Rounds")
    await expect(tab.page.get_by_text("Repeats every Thursday, 2 times.")).to_be_visible()


async def test_a_rule_of_ones_own(tab: Tab) -> None:
    """Several days of the week, with an interval and a last day."""
    await tab.write("Training", "2030-05-14T18:00")
    await tab.field("Repeat").select_option("Custom")
    await tab.field("Every").fill("2")
    await tab.field("Every").blur()
    await tab.button("Friday").click()
    await tab.field("Repeats until").select_option("A day")
    await tab.field("Last day").fill("2030-05-31")
    await tab.field("Title").focus()
    expected = "Repeats every 2 weeks on Tuesday and Friday until 31 May 2030."
    await expect(tab.page.get_by_text(expected)).to_be_visible()
    await tab.save()
    await expect(tab.appointment("Training")).to_have_count(2)
    assert [2, 0, 2] == await weeks(tab, "Training")


async def test_what_collides_is_named_and_can_be_skipped(tab: Tab, ada: Person) -> None:
    """Nothing is booked until the person has chosen."""
    await ada.create(at(23, 12), title="In the way")
    await repeat(tab, "Rounds", "2030-05-16T12:00", 3)
    await tab.button("Save").click()
    await expect(tab.alert).to_contain_text("One of these times is taken: Thu 23 May, 12:00. Nothing has been booked.")
    assert 0 == await tab.appointment("Rounds").count()
    await tab.button("Skip it").click()
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await expect(tab.appointment("Rounds")).to_have_count(1)
    assert [1, 0, 1] == await weeks(tab, "Rounds")


async def test_one_or_some_or_all_are_changed(tab: Tab) -> None:
    """Only this one stays as it is when all are changed; the others follow."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 3)
    await tab.save()
    await tab.open("Rounds")
    await tab.field("Title").fill("Special rounds")
    await tab.button("Save").click()
    await choose_scope(tab, "Only this one")
    assert [1, 0, 0] == await weeks(tab, "Special rounds")
    await tab.button("Next").click()
    await tab.open("Rounds")
    await tab.set_time("Start", "2030-05-23T15:00")
    await tab.button("Save").click()
    await choose_scope(tab, "This and following")
    assert "15:00 – 16:00" == await tab.span_of("Rounds")
    await tab.button("Next").click()
    await tab.settled()
    assert "15:00 – 16:00" == await tab.span_of("Rounds")
    await tab.open("Rounds")
    await tab.field("Title").fill("Late rounds")
    await tab.button("Save").click()
    await choose_scope(tab, "All")
    await tab.button("Previous").click()
    await expect(tab.appointment("Late rounds")).to_have_count(1)
    await tab.button("Previous").click()
    await expect(tab.appointment("Special rounds")).to_have_count(1)


async def test_one_is_dragged_and_the_others_stay(tab: Tab) -> None:
    """It asks, says so, marks the exception, and can be undone."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save("Rounds")
    await tab.drag(await tab.point("2030-05-16", 12.25), await tab.point("2030-05-17", 14.25))
    await choose_scope(tab, "Only this one")
    await expect(tab.toast).to_contain_text("Only this one was moved to Fri 17 May, 14:00 – 15:00.")
    await expect(tab.appointment("Rounds")).to_contain_text("repeats, moved")
    await tab.button("Next").click()
    await tab.settled()
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    await tab.button("Previous").click()
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("Only this one was moved to Thu 16 May, 12:00 – 13:00.")
    await expect(tab.appointment("Rounds")).not_to_contain_text("moved")


@pytest.mark.parametrize(("scope", "spans"), [("This and following", ["12", "14"]), ("All", ["14", "14"])])
async def test_more_than_one_are_dragged_and_undone(tab: Tab, scope: str, spans: list[str]) -> None:
    """The others move by as much, and all of them go back."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save("Rounds")
    await tab.button("Next").click()
    await tab.settled()
    await tab.drag(await tab.point("2030-05-23", 12.25), await tab.point("2030-05-23", 14.25))
    await choose_scope(tab, scope)
    await expect(tab.toast).to_contain_text("Saved")
    assert f"{spans[1]}:00 – {int(spans[1]) + 1}:00" == await tab.span_of("Rounds")
    await tab.button("Previous").click()
    await tab.settled()
    assert f"{spans[0]}:00 – {int(spans[0]) + 1}:00" == await tab.span_of("Rounds")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("is as it was before")
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    await tab.button("Next").click()
    await tab.settled()
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    assert [1, 0, 0] == await weeks(tab, "Rounds")


async def test_a_drag_that_was_not_meant_changes_nothing(tab: Tab) -> None:
    """Escape puts the appointment back where it was."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save("Rounds")
    await tab.drag(await tab.point("2030-05-16", 12.25), await tab.point("2030-05-17", 14.25))
    await expect(tab.button("Only this one")).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    await expect(tab.appointment("Rounds")).to_be_focused()
    await tab.reload()
    assert "12:00 – 13:00" == await tab.span_of("Rounds")


async def test_an_end_that_is_pulled_is_asked_about(tab: Tab) -> None:
    """The whole series becomes longer, and shorter again."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save("Rounds")
    x, y = await tab.point("2030-05-16", 13)
    await tab.drag((x, y - 5), await tab.point("2030-05-16", 14.25))
    await choose_scope(tab, "All")
    await expect(tab.toast).to_contain_text("Saved all of “Rounds”")
    await tab.button("Next").click()
    await tab.settled()
    assert "12:00 – 14:30" == await tab.span_of("Rounds")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("Undone: all of “Rounds” is as it was before.")
    assert "12:00 – 13:00" == await tab.span_of("Rounds")


async def test_a_saved_occurrence_can_be_undone(tab: Tab) -> None:
    """It gets back what it had, and the others never noticed."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save()
    await tab.open("Rounds")
    await tab.field("Title").fill("Special rounds")
    await tab.set_time("Start", "2030-05-16T15:00")
    await tab.button("Save").click()
    await choose_scope(tab, "Only this one")
    assert "15:00 – 16:00" == await tab.span_of("Special rounds")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("is as it was before")
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    assert [1, 1, 0] == await weeks(tab, "Rounds")


@pytest.mark.parametrize("scope", ["This and following", "All"])
async def test_a_saved_series_can_be_undone(tab: Tab, scope: str) -> None:
    """What was changed in several fields, the rule among them, comes back for every occurrence, and no more of them."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 3)
    await tab.save()
    await tab.button("Next").click()
    await tab.open("Rounds")
    await tab.field("Title").fill("Late rounds")
    await tab.set_time("Start", "2030-05-23T15:00")
    await tab.field("Number of times").fill("5" if scope == "All" else "4")
    await tab.field("Number of times").blur()
    await tab.button("Save").click()
    await choose_scope(tab, scope)
    await expect(tab.appointment("Late rounds")).to_have_count(1)
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("is as it was before")
    await expect(tab.appointment("Rounds")).to_have_count(1)
    await tab.button("Previous").click()
    await tab.settled()
    assert [1, 1, 1] == await weeks(tab, "Rounds")
    assert "12:00 – 13:00" == await tab.span_of("Rounds")
    for _ in range(3):
        await tab.button("Next").click()
        await tab.settled()
    await expect(tab.appointment("Rounds").or_(tab.appointment("Late rounds"))).to_have_count(0)


async def test_an_undone_split_is_one_series_with_its_exceptions(tab: Tab) -> None:
    """What was moved by itself stays moved, and "all" is about all of them again."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 3)
    await tab.save("Rounds")
    await tab.button("Next").click()
    await expect(tab.appointment("Rounds")).to_be_visible()
    await tab.settled()
    await tab.drag(await tab.point("2030-05-23", 12.25), await tab.point("2030-05-24", 12.25))
    await choose_scope(tab, "Only this one")
    await expect(tab.toast).to_contain_text("Only this one was moved")
    await tab.open("Rounds")
    await tab.field("Title").fill("Late rounds")
    await tab.button("Save").click()
    await choose_scope(tab, "This and following")
    assert [1, 1, 0] == await weeks(tab, "Late rounds")
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("is as it was before")
    await expect(tab.appointment("Rounds")).to_contain_text("repeats, moved")
    await tab.open("Rounds")
    await tab.field("Location").fill("Ward 3")
    await tab.button("Save").click()
    await choose_scope(tab, "All")
    await tab.button("Previous").click()
    await tab.open("Rounds")
    await expect(tab.field("Location")).to_have_value("Ward 3")


async def test_an_undo_of_a_series_says_what_is_in_its_way(tab: Tab, ada: Person) -> None:
    """Its old time may be taken by now: then it stays as it was saved."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 2)
    await tab.save()
    await tab.open("Rounds")
    await tab.set_time("Start", "2030-05-16T15:00")
    await tab.button("Save").click()
    await choose_scope(tab, "All")
    await expect(tab.toast).to_contain_text("Saved")
    await ada.create(at(23, 12), title="Quicker")
    await tab.button("Undo").click()
    await expect(tab.alert).to_contain_text(
        "All of “Rounds” was not changed back. One of these times is taken: Thu 23 May, 12:00."
    )
    assert "15:00 – 16:00" == await tab.span_of("Rounds")


async def test_what_never_ends_is_shown_far_ahead(tab: Tab) -> None:
    """Months beyond what the service has as appointments when the series is saved."""
    await tab.write("Rounds", "2030-05-16T12:00")
    await tab.field("Repeat").select_option("Every Thursday")
    await tab.save()
    await tab.show("Month")
    for _ in range(7):
        await tab.button("Next").click()
        await tab.settled()
    await expect(tab.appointment("Rounds")).to_have_count(6)  # of December 2030, whose grid begins in November


async def test_one_or_some_or_all_are_deleted_and_come_back(tab: Tab) -> None:
    """Each deletion can be undone."""
    await repeat(tab, "Rounds", "2030-05-16T12:00", 3)
    await tab.save()
    for scope, left in (("Only this one", [0, 1, 1]), ("All", [0, 0, 0])):
        await tab.open("Rounds")
        await tab.button("Delete").click()
        await choose_scope(tab, scope)
        await expect(tab.toast).to_contain_text("Deleted")
        assert left == await weeks(tab, "Rounds")
        await tab.button("Undo").click()
        await expect(tab.toast).to_contain_text("Restored")
        assert [1, 1, 1] == await weeks(tab, "Rounds")
    await tab.button("Next").click()
    await tab.open("Rounds")
    await tab.button("Delete").click()
    await choose_scope(tab, "This and following")
    await expect(tab.toast).to_contain_text("from this one on")
    await expect(tab.appointment("Rounds")).to_have_count(0)
    await tab.button("Undo").click()
    await expect(tab.toast).to_contain_text("Restored")
    await expect(tab.appointment("Rounds")).to_have_count(1)
    await tab.button("Previous").click()
    assert [1, 1, 1] == await weeks(tab, "Rounds")
