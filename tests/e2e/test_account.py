"""Signing up, in and out, and everything that a person can do to the account."""

from playwright.async_api import expect

from tests.clients import PASSWORD, Person, new_email
from tests.e2e.conftest import Opener
from tests.e2e.tab import HTTP_ERROR, Tab


async def test_a_newcomer_signs_up_drags_a_slot_and_finds_it_after_a_reload(open_tab: Opener) -> None:
    """The first minute, without a single message in the console."""
    tab = await open_tab()
    await tab.register("Ada", new_email())
    await tab.drag(await tab.point("2030-05-16", 13), await tab.point("2030-05-16", 14.5))
    await tab.field("Title").fill("First of many")
    await tab.save()
    await tab.reload()
    await expect(tab.appointment("First of many")).to_be_visible()
    assert "13:00 – 14:45" == await tab.span_of("First of many")
    assert [] == tab.errors


async def test_sign_out_and_in_again(tab: Tab, ada: Person) -> None:
    """Signing out leads to the form, also in the other tabs; the way back needs the password."""
    await tab.book("Kept")
    await tab.choose("Sign out")
    await expect(tab.button("Sign in")).to_be_visible()
    await expect(tab.page.get_by_text("Kept")).to_have_count(0)
    await tab.reload()
    await tab.sign_in(ada.email)
    await expect(tab.appointment("Kept")).to_be_visible()
    assert [] == tab.errors


async def test_whoever_has_signed_in_here_is_asked_for_the_password_only(open_tab: Opener, ada: Person) -> None:
    """A first visit offers an account; later ones sign in, with the last address filled in."""
    tab = await open_tab()
    await expect(tab.page.locator("form").get_by_role("button")).to_have_text("Create account")
    await tab.sign_in(ada.email)
    await tab.choose("Sign out")
    await tab.reload()
    await expect(tab.page.locator("form").get_by_role("button")).to_have_text("Sign in")
    await expect(tab.field("Email")).to_have_value(ada.email)
    await expect(tab.field("Password")).to_be_focused()
    await tab.button("Not you?").click()
    await expect(tab.field("Email")).to_be_focused()
    await expect(tab.field("Email")).to_have_value("")
    await tab.reload()
    await expect(tab.page.locator("form").get_by_role("button")).to_have_text("Sign in")
    await expect(tab.field("Email")).to_have_value("")


async def test_a_forgotten_password_is_reset_by_mail(open_tab: Opener, ada: Person) -> None:
    """The form asks for the address, and its answer does not tell whether there is such an account."""
    tab = await open_tab()
    await tab.sign_in(ada.email)
    await tab.choose("Sign out")
    await tab.field("Email").fill("")
    await tab.button("Forgot your password?").click()
    await expect(tab.field("Email")).to_have_accessible_description("Please enter your email address.")
    for email in (ada.email, "nobody.at.all@example.com"):
        await tab.field("Email").fill(email)
        await tab.button("Forgot your password?").click()
        await expect(tab.page.get_by_role("status")).to_have_text(
            f"If {email} has an account, a link that sets a new password is on its way."
        )
    assert [] == tab.errors


async def test_an_empty_calendar_says_once_what_can_be_done(open_tab: Opener, ada: Person) -> None:
    """Until it was read or something is booked; the times below can be clicked all the while."""
    tab = await open_tab()
    await tab.sign_in(ada.email)
    hint = tab.page.get_by_role("complementary", name="First steps")
    await expect(hint).to_contain_text("Click a time to book it")
    await tab.button("Got it").click()
    await expect(hint).to_have_count(0)
    await tab.reload()
    await expect(hint).to_have_count(0)
    other = await open_tab()
    await other.sign_in(ada.email)
    await expect(other.page.get_by_role("complementary", name="First steps")).to_be_visible()
    await other.book("First")
    await expect(other.page.get_by_role("complementary")).to_have_count(0)
    await other.button("Next").click()
    await other.settled()
    await expect(other.page.get_by_role("complementary")).to_have_count(0)


async def test_signing_out_in_one_tab_signs_out_the_other(tab: Tab, open_tab: Opener) -> None:
    """No tab stays behind with somebody's calendar in it."""
    other = await open_tab(beside=tab)
    await expect(other.button("New appointment")).to_be_visible()
    await tab.choose("Sign out")
    await expect(other.button("Sign in")).to_be_visible()
    await expect(other.page.get_by_text("You signed out in another tab.")).to_be_visible()


async def test_a_wrong_password_is_said_and_what_was_typed_stays(open_tab: Opener, ada: Person) -> None:
    """One sentence that does not tell which of the two was wrong."""
    tab = await open_tab()
    await tab.field("Email").fill(ada.email)
    await tab.field("Password").fill("not the password")
    await tab.button("Sign in").click()
    await expect(tab.alert).to_have_text("The email address or the password is wrong.")
    assert ada.email == await tab.field("Email").input_value()
    assert [] == [error for error in tab.errors if not error.startswith(HTTP_ERROR)]


async def test_a_faulty_sign_up_names_each_field(open_tab: Opener, ada: Person) -> None:
    """Missing, too short, not an address, taken: each beside its field or in an alert, and announced."""
    tab = await open_tab()
    await tab.button("Create account").click()
    await expect(tab.field("Email")).to_be_focused()
    await expect(tab.field("Email")).to_have_attribute("aria-invalid", "true")
    await tab.field("Email").fill("nobody")
    await tab.field("Password").fill("short")
    await tab.button("Create account").click()
    await expect(tab.field("Password")).to_have_accessible_description("The password needs at least 8 characters.")
    await tab.field("Password").fill(PASSWORD)
    await tab.button("Create account").click()
    await expect(tab.field("Email")).to_have_attribute("aria-invalid", "true")
    await tab.field("Email").fill(ada.email)
    await tab.button("Create account").click()
    await expect(tab.alert).to_be_visible()


async def test_the_account_keeps_a_new_name_and_zone(tab: Tab) -> None:
    """Both are seen at once and after a reload."""
    await tab.choose("Account")
    await tab.field("Name").fill("Ada King")
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_label("Time zone").select_option("Asia/Tokyo")
    await dialog.get_by_role("button", name="Save", exact=True).click()
    await expect(dialog.get_by_text("Saved.")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await tab.reload()
    await expect(tab.page.get_by_text("Ada King")).to_be_visible()
    await expect(tab.field("Time zone of the calendar")).to_have_value("Asia/Tokyo")


async def test_other_sessions_are_listed_and_can_be_revoked(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """The revoked browser is shown the door at its next step."""
    other = await open_tab(user_agent="Mozilla/5.0 (iPhone) Version/19.0 Safari/605.1")
    await other.sign_in(ada.email)
    await tab.choose("Account")
    row = tab.page.get_by_role("listitem").filter(has_text="Safari on iOS")
    await expect(tab.page.get_by_text("This session")).to_have_count(1)
    await row.get_by_role("button", name="Sign out").click()
    await expect(row).to_have_count(0)
    await other.page.wait_for_timeout(5_500)  # the contract gives a revoked session's access tokens five seconds
    await other.button("Next").click()
    await expect(other.button("Sign in")).to_be_visible()
    await expect(other.page.get_by_text("Your session has ended.")).to_be_visible()


async def test_a_password_is_changed_with_the_old_one(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """A wrong old one is refused beside the form; the new one signs in."""
    await tab.choose("Account")
    await tab.field("Current password").fill("not the password")
    await tab.field("New password").fill("a new and better one")
    await tab.button("Change password").click()
    await expect(tab.alert).to_have_text("The password is wrong.")
    await tab.field("Current password").fill(PASSWORD)
    await tab.button("Change password").click()
    await expect(tab.page.get_by_text("Password changed.")).to_be_visible()
    other = await open_tab()
    await other.sign_in(ada.email, "a new and better one")


async def test_deleting_the_account_needs_the_password(tab: Tab, open_tab: Opener, ada: Person) -> None:
    """Afterwards nobody can sign in as that person."""
    await tab.choose("Account")
    await tab.button("Delete account").click()
    await tab.field("Confirm with your password").fill("not the password")
    await tab.button("Delete everything").click()
    await expect(tab.alert).to_have_text("The password is wrong.")
    await tab.field("Confirm with your password").fill(PASSWORD)
    await tab.button("Delete everything").click()
    await expect(tab.page.get_by_text("Your account and all its data have been deleted.")).to_be_visible()
    other = await open_tab()
    await other.field("Email").fill(ada.email)
    await other.field("Password").fill(PASSWORD)
    await other.button("Sign in").click()
    await expect(other.alert).to_be_visible()


async def test_what_happened_to_the_account_is_shown(open_tab: Opener, ada: Person) -> None:
    """Sign-ins with device and address, when they are asked for."""
    tab = await open_tab()
    await tab.sign_in(ada.email)
    await tab.choose("Account")
    history = tab.page.get_by_role("region", name="Recent activity")
    await history.get_by_role("button", name="Show activity").click()
    entries = history.get_by_role("listitem")
    await expect(entries.first).to_contain_text("Signed in")
    await expect(entries.first).to_contain_text("Chrome")
    await expect(entries.last).to_contain_text("Account created")
    await expect(history.get_by_role("button")).to_have_count(0)
    assert [] == tab.errors


async def test_the_calls_of_one_click_are_one_trace(tab: Tab) -> None:
    """An operator follows a click by its traceparent; the next click is another trace."""
    traces: list[str] = []
    for _ in range(2):
        async with tab.page.expect_request("**/ListSessions") as sent:
            await tab.choose("Account")
        _, trace, _, flags = (await (await sent.value).all_headers())["traceparent"].split("-")
        assert (32, "01") == (len(trace), flags)
        traces.append(trace)
        await tab.button("Close").click()
    assert 2 == len(set(traces))
