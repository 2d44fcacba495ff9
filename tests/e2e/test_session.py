"""The session renews itself, once for all tabs, and is never given up by mistake."""

import asyncio

from playwright.async_api import Browser, BrowserContext, Request, Route, expect

from tests.clients import PASSWORD, Person
from tests.e2e.conftest import Opener
from tests.e2e.desk import HTTP_ERROR, Desk, at


async def sleep_16_minutes(context: BrowserContext) -> None:
    """What is left of the cookies then: the browser drops the access token when its quarter of an hour is over."""
    await context.clear_cookies(name="access_token")


def refreshes(context: BrowserContext) -> list[Request]:
    """The refreshes that the browser sends from now on."""
    sent: list[Request] = []
    context.on("request", lambda request: sent.append(request) if request.url.endswith("/auth/refresh") else None)
    return sent


async def test_four_tabs_wake_up_signed_in_with_one_refresh(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """All four ask at once with an expired token; one of them renews it for all."""
    tabs = [desk] + [await open_desk(beside=desk) for _ in range(3)]
    for tab in tabs:
        await expect(tab.button("New appointment")).to_be_visible()
        await tab.settled()
    await ada.create(at(22, 11), title="Next week")
    await sleep_16_minutes(desk.page.context)
    sent = refreshes(desk.page.context)
    await asyncio.gather(*(tab.page.evaluate("document.querySelector('[aria-label=Next]').click()") for tab in tabs))
    for tab in tabs:
        await expect(tab.appointment("Next week")).to_be_visible()
    assert 1 == len(sent)
    assert [] == [error for tab in tabs for error in tab.errors]


async def test_four_sleeping_tabs_that_reload_are_signed_in(desk: Desk, open_desk: Opener) -> None:
    """The same when the browser discards them: the first call of each finds the token expired."""
    tabs = [desk] + [await open_desk(beside=desk) for _ in range(3)]
    await sleep_16_minutes(desk.page.context)
    await asyncio.gather(*(tab.page.reload() for tab in tabs))
    for tab in tabs:
        await expect(tab.button("New appointment")).to_be_visible()


async def test_a_change_with_an_expired_token_is_made_once(desk: Desk) -> None:
    """The call is repeated after the refresh, and books once."""
    await desk.write("Patience")
    await sleep_16_minutes(desk.page.context)
    await desk.save()
    await expect(desk.appointment("Patience")).to_have_count(1)
    assert [] == desk.errors


async def test_a_refresh_whose_answer_is_lost_is_tried_again_as_the_same_attempt(desk: Desk, chromium: Browser) -> None:
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

    await sleep_16_minutes(desk.page.context)
    await desk.page.route("**/auth/refresh", lose_the_first)
    await desk.button("Next").click()
    await desk.settled()
    await expect(desk.button("New appointment")).to_be_visible()
    assert (2, 1) == (len(ids), len(set(ids)))
    await elsewhere.close()


async def test_a_losing_401_asks_before_it_gives_up(desk: Desk) -> None:
    """A refused refresh while the session lives, because another was answered first, signs nobody out."""
    refused: list[str] = []

    async def lose(route: Route) -> None:
        # Another of this browser's requests renews first; ours is told no.
        headers = {"x-refresh-id": "somebody-else", "origin": desk.page.url.rstrip("/")}
        answer = await desk.page.context.request.post(route.request.url, headers=headers, data={})
        assert answer.ok
        refused.append(route.request.url)
        await route.fulfill(status=401, json={"title": "Unauthorized", "reason": "INVALID_REFRESH_TOKEN"})

    await sleep_16_minutes(desk.page.context)
    await desk.page.route("**/auth/refresh", lose)
    await desk.button("Next").click()
    await desk.settled()
    await expect(desk.button("New appointment")).to_be_visible()
    assert 1 == len(refused)


async def test_a_session_that_ends_while_writing_loses_nothing(desk: Desk, ada: Person) -> None:
    """Signed in again, the editor is open with what was typed."""
    await desk.write("Unfinished symphony", "2030-05-16T10:00")
    await desk.page.context.clear_cookies()
    await desk.button("Save").click()
    await expect(desk.page.get_by_text("Your session has ended. Please sign in again.")).to_be_visible()
    await desk.field("Email").fill(ada.email)
    await desk.field("Password").fill(PASSWORD)
    await desk.button("Sign in").click()
    await expect(desk.field("Title")).to_have_value("Unfinished symphony")
    await desk.save()
    await expect(desk.appointment("Unfinished symphony")).to_be_visible()
    assert {True} == {error.startswith(HTTP_ERROR) for error in desk.errors}
