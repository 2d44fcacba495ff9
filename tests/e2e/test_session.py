"""The session renews itself, once for all tabs, and is never given up by mistake."""

import asyncio

from playwright.async_api import Browser, BrowserContext, Request, Route, expect

from tests.clients import PASSWORD, Person
from tests.e2e.conftest import Opener
from tests.e2e.tab import HTTP_ERROR, Tab, at


async def sleep_16_minutes(context: BrowserContext) -> None:
    """What is left of the cookies then: the browser drops the access token when its quarter of an hour is over."""
    await context.clear_cookies(name="access_token")


def refreshes(context: BrowserContext) -> list[Request]:
    """The refreshes that the browser sends from now on."""
    sent: list[Request] = []
    context.on("request", lambda request: sent.append(request) if request.url.endswith("/auth/refresh") else None)
    return sent


async def test_four_tabs_wake_up_signed_in_with_one_refresh(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """All four ask at once with an expired token; one of them renews it for all."""
    tabs = [tab] + [await open_tab(beside=tab) for _ in range(3)]
    for each in tabs:
        await expect(each.button("New appointment")).to_be_visible()
        await each.settled()
    await ada.create(at(22, 11), title="Next week")
    await sleep_16_minutes(tab.page.context)
    sent = refreshes(tab.page.context)
    await asyncio.gather(*(each.page.evaluate("document.querySelector('[aria-label=Next]').click()") for each in tabs))
    for each in tabs:
        await expect(each.appointment("Next week")).to_be_visible()
    assert 1 == len(sent)
    assert [] == [error for each in tabs for error in each.errors]


async def test_four_sleeping_tabs_that_reload_are_signed_in(tab: Tab, open_tab: Opener) -> None:
    """The same when the browser discards them: the first call of each finds the token expired."""
    tabs = [tab] + [await open_tab(beside=tab) for _ in range(3)]
    await sleep_16_minutes(tab.page.context)
    await asyncio.gather(*(each.page.reload() for each in tabs))
    for each in tabs:
        await expect(each.button("New appointment")).to_be_visible()


async def test_a_change_with_an_expired_token_is_made_once(tab: Tab) -> None:
    """The call is repeated after the refresh, and books once."""
    await tab.write("Patience")
    await sleep_16_minutes(tab.page.context)
    await tab.save()
    await expect(tab.appointment("Patience")).to_have_count(1)
    assert [] == tab.errors


async def test_a_refresh_whose_answer_is_lost_is_tried_again_as_the_same_attempt(tab: Tab, chromium: Browser) -> None:
    """The server has rotated, the browser has not heard: the same X-Refresh-Id brings the same successor."""
    ids: list[str] = []
    elsewhere = await chromium.new_context()

    async def lose_the_first(route: Route) -> None:
        headers = await route.request.all_headers()
        ids.append(headers["x-refresh-id"])
        if len(ids) > 1:
            await route.continue_()
            return
        # With the browser's cookies, but the answer's cookies go elsewhere.
        answer = await elsewhere.request.post(route.request.url, headers=headers, data="{}")
        assert answer.ok
        await route.abort()

    await sleep_16_minutes(tab.page.context)
    await tab.page.route("**/auth/refresh", lose_the_first)
    await tab.button("Next").click()
    await tab.settled()
    await expect(tab.button("New appointment")).to_be_visible()
    assert (2, 1) == (len(ids), len(set(ids)))
    await elsewhere.close()


async def test_a_losing_401_asks_before_it_gives_up(tab: Tab) -> None:
    """A refused refresh while the session lives, because another was answered first, signs nobody out."""
    refused: list[str] = []

    async def lose(route: Route) -> None:
        # Another of this browser's requests renews first; ours is told no.
        headers = {"x-refresh-id": "somebody-else", "origin": tab.page.url.rstrip("/")}
        answer = await tab.page.context.request.post(route.request.url, headers=headers, data={})
        assert answer.ok
        refused.append(route.request.url)
        await route.fulfill(status=401, json={"title": "Unauthorized", "reason": "INVALID_REFRESH_TOKEN"})

    await sleep_16_minutes(tab.page.context)
    await tab.page.route("**/auth/refresh", lose)
    await tab.button("Next").click()
    await tab.settled()
    await expect(tab.button("New appointment")).to_be_visible()
    assert 1 == len(refused)


async def test_a_session_that_ends_while_writing_loses_nothing(tab: Tab, ada: Person) -> None:
    """Signed in again, the editor is open with what was typed."""
    await tab.write("Unfinished symphony", "2030-05-16T10:00")
    await tab.page.context.clear_cookies()
    await tab.button("Save").click()
    await expect(tab.page.get_by_text("Your session has ended. Please sign in again.")).to_be_visible()
    await tab.field("Email").fill(ada.email)
    await tab.field("Password").fill(PASSWORD)
    await tab.button("Sign in").click()
    await expect(tab.field("Title")).to_have_value("Unfinished symphony")
    await tab.save()
    await expect(tab.appointment("Unfinished symphony")).to_be_visible()
    assert [] == [error for error in tab.errors if not error.startswith(HTTP_ERROR)]
