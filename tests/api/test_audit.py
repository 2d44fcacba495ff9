"""GET /auth/audit: a person sees what happened to their own account, and nothing of anybody else."""

from tests.api.rest import browser, problem, sign_up
from tests.service import Server


async def test_a_person_sees_their_own(server: Server) -> None:
    """Sign-ins and failures with address and device, the latest first, page by page."""
    async with browser(server.url, **{"User-Agent": "Laptop"}) as client, browser(server.url) as other:
        email = await sign_up(client)
        await sign_up(other)
        wrong = await other.post("/auth/login", json={"email": email, "password": "wrong horse"})
        first = (await client.get("/auth/audit", params={"page_size": "2"})).json()
        assert ["sign_in.failed", "sign_in"] == [each["event"] for each in first["events"]]
        failed, signed_in = first["events"]
        assert ("nobody signed in", other.headers["x-forwarded-for"]) == (failed["by"], failed["address"])
        assert wrong.headers["x-request-id"] == failed["request_id"]
        assert ("you", "Laptop") == (signed_in["by"], signed_in["user_agent"])
        rest = (await client.get("/auth/audit", params={"page_token": first["next_page_token"]})).json()
        assert (["account.created"], "") == ([each["event"] for each in rest["events"]], rest["next_page_token"])
        foreign = await other.get("/auth/audit", params={"page_token": first["next_page_token"]})
        assert 400 == problem(foreign)[0]


async def test_it_is_for_whoever_has_signed_in(server: Server) -> None:
    """Nobody else, and no page of another site."""
    async with browser(server.url) as client:
        assert 401 == (await client.get("/auth/audit")).status_code
        await sign_up(client)
        assert 400 == (await client.get("/auth/audit", params={"page_size": "-1"})).status_code
        elsewhere = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        assert 403 == (await client.get("/auth/audit", headers=elsewhere)).status_code
        assert 200 == (await client.get("/auth/audit")).status_code


async def test_exports_are_recorded(server: Server) -> None:
    """Everything that an account holds has left by one request."""
    async with browser(server.url) as client:
        await sign_up(client)
        assert 200 == (await client.get("/calendar.ics")).status_code
        newest = (await client.get("/auth/audit")).json()["events"][0]
        assert ("data.exported", {"form": "ics"}, "you") == (newest["event"], newest["detail"], newest["by"])
