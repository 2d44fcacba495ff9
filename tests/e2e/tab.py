"""What a person does at the page, by the names that it promises."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from playwright.async_api import ConsoleMessage, Locator, Page, expect

from tests.clients import PASSWORD

# Machines of tests are busy; nothing here says how fast the page is.
expect.set_options(timeout=20_000)

# A Wednesday, 10:20 in Zurich; the week runs from the 13th to the 19th.
NOW = datetime(2030, 5, 15, 8, 20, tzinfo=UTC)
TODAY = "2030-05-15"
# Chromium's own words for an answer that is an error by HTTP: wanted where the test provokes one.
HTTP_ERROR = "Failed to load resource"


def at(day: int, hour: int, minute: int = 0) -> datetime:
    """A time of May 2030 in Zurich, which is two hours ahead of UTC then."""
    return datetime(2030, 5, day, hour - 2, minute, tzinfo=UTC)


@dataclass
class Tab:
    """One tab."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen to the console from the start."""
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def button(self, name: str) -> Locator:
        """A button by its exact name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        """A field by its exact label."""
        return self.page.get_by_label(label, exact=True)

    def appointment(self, title: str) -> Locator:
        """An appointment in the calendar."""
        return self.page.locator("[data-appointment]:visible", has=self.page.get_by_text(title, exact=True))

    @property
    def account_menu(self) -> Locator:
        """The button with the name of whoever is signed in."""
        return self.page.get_by_role("button", name=re.compile("^Account menu of "))

    async def choose(self, item: str) -> None:
        """Choose something in the account menu."""
        await self.account_menu.click()
        await self.page.get_by_role("menuitem", name=item, exact=True).click()

    @property
    def alert(self) -> Locator:
        """What went wrong."""
        return self.page.get_by_role("alert")

    @property
    def toast(self) -> Locator:
        """What is said at the foot of the page."""
        return self.page.locator(".toast")

    async def register(self, name: str, email: str, password: str = PASSWORD) -> None:
        """Create an account."""
        await self.field("Name").fill(name)
        await self.field("Email").fill(email)
        await self.field("Password").fill(password)
        await self.button("Create account").click()
        await expect(self.button("New appointment")).to_be_visible()

    async def sign_in(self, email: str, password: str = PASSWORD) -> None:
        """Sign in."""
        await self.field("Email").fill(email)
        await self.field("Password").fill(password)
        await self.button("Sign in").click()
        await expect(self.button("New appointment")).to_be_visible()
        await self.settled()

    async def reload(self) -> None:
        """Load the page again and wait for the calendar, or for the form of somebody who is signed out."""
        await self.page.reload()
        await expect(self.button("New appointment").or_(self.button("Sign in"))).to_be_visible()
        if await self.button("New appointment").count():
            await self.settled()

    async def settled(self) -> None:
        """Wait until what is shown is what the server has."""
        await expect(self.page.locator("main[aria-busy=false]")).to_be_visible()

    async def show(self, view: str) -> None:
        """Choose a view."""
        await self.button(view).click()
        await expect(self.button(view)).to_have_attribute("aria-pressed", "true")
        await self.settled()

    async def write(self, title: str, starts: str = "", ends: str = "") -> None:
        """Open the editor for something new and fill it."""
        await self.button("New appointment").click()
        await self.field("Title").fill(title)
        if starts:
            await self.set_time("Start", starts)
        if ends:
            await self.set_time("End", ends)

    async def set_time(self, which: str, wall: str) -> None:
        """Type the day and the time of "Start" or "End", given as "2030-05-16T18:00"."""
        day, _, time = wall.partition("T")
        await self.field(f"{which} date").fill(day)
        await self.field(f"{which} time").fill(time)

    async def expect_time(self, which: str, wall: str) -> None:
        """Wait until the editor shows that start or end, in the words of British English."""
        moment = datetime.fromisoformat(wall)
        day = re.compile(f"{moment.day} {moment:%b %Y}$")
        await expect(self.field(f"{which} date")).to_have_value(day)
        await expect(self.field(f"{which} time")).to_have_value(f"{moment:%H:%M}")

    async def save(self, shown: str = "") -> None:
        """Press Save; the editor closes when it is saved. What is `shown` is waited for: a series is asked for then."""
        await self.button("Save").click()
        await expect(self.page.get_by_role("dialog")).to_have_count(0)
        if shown:
            await expect(self.appointment(shown).first).to_be_visible()
            await self.settled()

    async def book(self, title: str, starts: str = "", ends: str = "") -> None:
        """Book a time in the editor."""
        await self.write(title, starts, ends)
        await self.save()

    async def open(self, title: str) -> None:
        """Open an appointment."""
        await self.appointment(title).click()
        await expect(self.field("Title")).to_have_value(title)

    async def point(self, day: str, hour: float) -> tuple[float, float]:
        """Where that time is on the screen, in a view with hours."""
        box = await self.page.evaluate(
            """([day, hour]) => {
                const column = document.querySelector(`[data-day="${day}"]`).closest(".ec-day");
                const main = column.closest(".ec-main");
                const place = () => column.getBoundingClientRect();
                const wanted = place().top + (hour / 24) * place().height;
                const frame = main.getBoundingClientRect();
                // Keep it clear of the edges, where dragging scrolls.
                if (wanted < frame.top + 120 || wanted > frame.bottom - 120) {
                    main.scrollTop += wanted - (frame.top + frame.height / 2);
                }
                const { left, top, width, height } = place();
                return { x: left + width / 2, y: top + (hour / 24) * height + 3 };
            }""",
            [day, hour],
        )
        return box["x"], box["y"]

    async def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag with the mouse."""
        mouse = self.page.mouse
        await mouse.move(*start)
        await mouse.down()
        await mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=6)
        await mouse.move(*end, steps=6)
        await mouse.up()

    async def span_of(self, title: str) -> str:
        """The time that an appointment shows."""
        return (await self.appointment(title).locator(".when").inner_text()).strip()
