"""Off line, or the server away: said plainly, nothing lost, retried."""

import psycopg
from playwright.async_api import Route, expect

from tests import service
from tests.clients import Person
from tests.conftest import database_dsn
from tests.e2e.conftest import BEHIND_A_PROXY, Opener
from tests.e2e.tab import TODAY, Tab, at


async def test_saving_off_line_waits_and_then_saves_once(tab: Tab) -> None:
    """The editor stays open with what was typed, says why, and finishes by itself."""
    await tab.write("Underground", "2030-05-16T10:00")
    await tab.page.context.set_offline(True)
    await tab.button("Save").click()
    await expect(
        tab.page.get_by_role("dialog").get_by_text("You are offline. 1 change is not saved yet")
    ).to_be_visible()
    await expect(tab.field("Title")).to_have_value("Underground")
    await tab.page.context.set_offline(False)
    await expect(tab.page.get_by_role("dialog")).to_have_count(0)
    await tab.reload()
    await expect(tab.appointment("Underground")).to_have_count(1)


async def test_a_move_off_line_stays_and_is_saved_later(tab: Tab, ada: Person) -> None:
    """It is shown where it was put, and marked as not saved yet."""
    await ada.create(at(15, 11), title="Traveller")
    await tab.reload()
    await tab.page.context.set_offline(True)
    await tab.drag(await tab.point(TODAY, 11.25), await tab.point(TODAY, 14.25))
    await expect(tab.page.get_by_text("You are offline. 1 change is not saved yet")).to_be_visible()
    assert "14:00 – 15:00" == await tab.span_of("Traveller")
    await tab.page.context.set_offline(False)
    await expect(tab.toast).to_contain_text("Moved to Wed 15 May, 14:00 – 15:00.")
    await tab.reload()
    assert "14:00 – 15:00" == await tab.span_of("Traveller")


async def test_a_lost_answer_does_not_book_twice_or_look_like_a_conflict(tab: Tab) -> None:
    """The server has booked, the answer is lost: the retry has the same request id and gets the first answer."""
    calls: list[str] = []

    async def lose_the_first(route: Route) -> None:
        calls.append(route.request.url)
        if len(calls) == 1:
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await tab.page.route("**/CreateAppointment", lose_the_first)
    await tab.book("Once")
    await expect(tab.appointment("Once")).to_have_count(1)
    assert 2 == len(calls)


async def test_a_lost_answer_to_a_change_is_recognised(tab: Tab, ada: Person) -> None:
    """The retry finds a new etag, which is its own doing, and not somebody else's edit."""
    await ada.create(at(15, 11), title="Before")
    await tab.reload()
    calls: list[str] = []

    async def lose_the_first(route: Route) -> None:
        calls.append(route.request.url)
        if len(calls) == 1:
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await tab.page.route("**/UpdateAppointment", lose_the_first)
    await tab.open("Before")
    await tab.field("Title").fill("After")
    await tab.save()
    await expect(tab.appointment("After")).to_be_visible()
    assert 2 == len(calls)


async def test_a_server_that_goes_away_and_comes_back(
    open_tab: Opener, built: None, postgres_dsn: str, template: str
) -> None:
    """The page says so, keeps what it shows, and goes on by itself."""
    name = f"{template}_outage"
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    dsn = database_dsn(postgres_dsn, name)
    with service.start(dsn, BEHIND_A_PROXY) as first:
        tab = await open_tab(url=first.url)
        await tab.register("Ada", "ada@example.org")
        await tab.book("Before the outage")
        first.stop()
    await tab.button("Next").click()
    await expect(tab.page.get_by_text("The server can’t be reached. Trying again…")).to_be_visible()
    await tab.button("Previous").click()
    await expect(tab.appointment("Before the outage")).to_be_visible()
    with service.start(dsn, BEHIND_A_PROXY | {"GRPC_BIND": first.grpc, "HTTP_BIND": first.http}):
        await expect(tab.page.get_by_text("can’t be reached")).to_have_count(0, timeout=40_000)
        await tab.book("After the outage")
        await expect(tab.appointment("After the outage")).to_be_visible()
