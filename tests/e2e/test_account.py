"""Signing up, in and out, and everything that a person can do to the account."""

from playwright.async_api import expect

from tests.clients import PASSWORD, Person, new_email
from tests.e2e.conftest import Opener
from tests.e2e.desk import HTTP_ERROR, Desk


async def test_a_newcomer_signs_up_drags_a_slot_and_finds_it_after_a_reload(open_desk: Opener) -> None:
    """The first minute, without a single message in the console."""
    desk = await open_desk()
    await desk.register("Ada", new_email())
    await desk.drag(await desk.point("2030-05-16", 13), await desk.point("2030-05-16", 14.5))
    await desk.field("Title").fill("First of many")
    await desk.save()
    await desk.reload()
    await expect(desk.appointment("First of many")).to_be_visible()
    assert "13:00 – 14:45" == await desk.span_of("First of many")
    assert [] == desk.errors


async def test_sign_out_and_in_again(desk: Desk, ada: Person) -> None:
    """Signing out leads to the form, also in the other tabs; the way back needs the password."""
    await desk.book("Kept")
    await desk.button("Sign out").click()
    await expect(desk.button("Sign in")).to_be_visible()
    await expect(desk.page.get_by_text("Kept")).to_have_count(0)
    await desk.reload()
    await desk.sign_in(ada.email)
    await expect(desk.appointment("Kept")).to_be_visible()
    assert [] == desk.errors


async def test_signing_out_in_one_tab_signs_out_the_other(desk: Desk, open_desk: Opener) -> None:
    """No tab stays behind with somebody's calendar in it."""
    other = await open_desk(beside=desk)
    await expect(other.button("New appointment")).to_be_visible()
    await desk.button("Sign out").click()
    await expect(other.button("Sign in")).to_be_visible()
    await expect(other.page.get_by_text("You signed out in another tab.")).to_be_visible()


async def test_a_wrong_password_is_said_and_what_was_typed_stays(open_desk: Opener, ada: Person) -> None:
    """One sentence that does not tell which of the two was wrong."""
    desk = await open_desk()
    await desk.field("Email").fill(ada.email)
    await desk.field("Password").fill("not the password")
    await desk.button("Sign in").click()
    await expect(desk.alert).to_have_text("That e-mail address and password don’t match an account.")
    assert ada.email == await desk.field("Email").input_value()
    assert {True} == {error.startswith(HTTP_ERROR) for error in desk.errors}


async def test_a_faulty_sign_up_names_each_field(open_desk: Opener, ada: Person) -> None:
    """Missing, too short, not an address, taken: each beside its field or in an alert, and announced."""
    desk = await open_desk()
    await desk.button("Create account").click()
    await expect(desk.field("Email")).to_be_focused()
    await expect(desk.field("Email")).to_have_attribute("aria-invalid", "true")
    await desk.field("Email").fill("nobody")
    await desk.field("Password").fill("short")
    await desk.button("Create account").click()
    await expect(desk.field("Password")).to_have_accessible_description("At least 8 characters, please.")
    await desk.field("Password").fill(PASSWORD)
    await desk.button("Create account").click()
    await expect(desk.field("Email")).to_have_attribute("aria-invalid", "true")
    await desk.field("Email").fill(ada.email)
    await desk.button("Create account").click()
    await expect(desk.alert).to_be_visible()


async def test_the_account_keeps_a_new_name_and_zone(desk: Desk) -> None:
    """Both are seen at once and after a reload."""
    await desk.button("Account").click()
    await desk.field("Name").fill("Ada King")
    dialog = desk.page.get_by_role("dialog")
    await dialog.get_by_label("Time zone").select_option("Asia/Tokyo")
    await dialog.get_by_role("button", name="Save", exact=True).click()
    await expect(dialog.get_by_text("Saved.")).to_be_visible()
    await desk.page.keyboard.press("Escape")
    await desk.reload()
    await expect(desk.page.get_by_text("Ada King")).to_be_visible()
    await expect(desk.field("Times shown in")).to_have_value("Asia/Tokyo")


async def test_other_sessions_are_listed_and_can_be_revoked(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """The revoked browser is shown the door at its next step."""
    other = await open_desk(user_agent="Mozilla/5.0 (iPhone) Version/19.0 Safari/605.1")
    await other.sign_in(ada.email)
    await desk.button("Account").click()
    row = desk.page.get_by_role("listitem").filter(has_text="Safari on iOS")
    await expect(desk.page.get_by_text("This one")).to_have_count(1)
    await row.get_by_role("button", name="Revoke").click()
    await expect(row).to_have_count(0)
    await other.page.wait_for_timeout(5_500)  # the contract gives a revoked session's access tokens five seconds
    await other.button("Next").click()
    await expect(other.button("Sign in")).to_be_visible()
    await expect(other.page.get_by_text("Your session has ended.")).to_be_visible()


async def test_a_password_is_changed_with_the_old_one(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """A wrong old one is refused beside the form; the new one signs in."""
    await desk.button("Account").click()
    await desk.field("Current password").fill("not the password")
    await desk.field("New password").fill("a new and better one")
    await desk.button("Change password").click()
    await expect(desk.alert).to_have_text("That is not your password.")
    await desk.field("Current password").fill(PASSWORD)
    await desk.button("Change password").click()
    await expect(desk.page.get_by_text("Your password is changed")).to_be_visible()
    other = await open_desk()
    await other.sign_in(ada.email, "a new and better one")


async def test_deleting_the_account_needs_the_password(desk: Desk, open_desk: Opener, ada: Person) -> None:
    """Afterwards nobody can sign in as that person."""
    await desk.button("Account").click()
    await desk.button("Delete account").click()
    await desk.field("Your password, to be sure").fill("not the password")
    await desk.button("Delete everything").click()
    await expect(desk.alert).to_have_text("That is not your password.")
    await desk.field("Your password, to be sure").fill(PASSWORD)
    await desk.button("Delete everything").click()
    await expect(desk.page.get_by_text("Your account and everything in it is deleted.")).to_be_visible()
    other = await open_desk()
    await other.field("Email").fill(ada.email)
    await other.field("Password").fill(PASSWORD)
    await other.button("Sign in").click()
    await expect(other.alert).to_be_visible()
