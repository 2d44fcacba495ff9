"""The page, the headers and the cookies of production, without a port: what depends on how the application is built."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from appointments.api.origin import Origins
from appointments.api.rest import site
from appointments.auth import Auth
from appointments.auth.ratelimit import Limiter
from appointments.db import Database
from tests.api.rest import problem, sign_up
from tests.auth.signing_in import process

ORIGIN = "https://calendar.example.com"


@pytest.fixture
def house(db: Database) -> Auth:
    """Accounts on a database of their own."""
    return process(db)


async def yes() -> bool:
    """Ready."""
    return True


@asynccontextmanager
async def client(house: Auth, page: Path = Path("/nowhere"), **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that is built so."""
    origins = Origins(options.pop("allowed", ()))
    app = site.build(house, Limiter(), origins, options.pop("ready", yes), page_folder=page, **options)
    transport = httpx.ASGITransport(app=app, client=("192.0.2.1", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="https://appointments.example") as client:
        yield client


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page as the build leaves it, with something beside it that is nobody's business."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>Appointments</title>")
    (folder / "assets" / "index-d1g357.js").write_text("const calendar = 1;" * 100)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    return folder


async def test_production_cookies_are_bound_to_the_host(house: Auth) -> None:
    """Names with prefixes, Secure, no Domain; and they are what production reads."""
    async with client(house, production=True) as browser:
        await sign_up(browser)
        assert {cookie.name for cookie in browser.cookies.jar} == {"__Host-access_token", "__Secure-refresh_token"}
        assert all(cookie.secure and not cookie.domain_specified for cookie in browser.cookies.jar)
        refreshed = await browser.post("/auth/refresh")
        assert refreshed.status_code == 200
        assert all("Secure" in line and "HttpOnly" in line for line in refreshed.headers.get_list("set-cookie"))
        assert (await browser.post("/auth/logout")).status_code == 204
        assert not browser.cookies


async def test_a_cookie_under_the_name_of_development_is_nothing_in_production(house: Auth) -> None:
    """It has no prefix, so anybody could have planted it."""
    async with client(house, production=True) as browser:
        await sign_up(browser)
        token = browser.cookies["__Secure-refresh_token"]
    async with client(house, production=True) as thief:
        response = await thief.post("/auth/refresh", headers={"Cookie": f"refresh_token={token}"})
        assert problem(response) == (401, "INVALID_REFRESH_TOKEN")


@pytest.mark.parametrize("path", ["/", "/assets/index-d1g357.js", "/healthz", "/unknown", "/auth/login"])
async def test_every_answer_has_the_security_headers(house: Auth, page: Path, path: str) -> None:
    """Whatever it is; only production insists on TLS."""
    for production in (False, True):
        async with client(house, page, production=production) as browser:
            headers = (await browser.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cross-origin-opener-policy"] == "same-origin"
            assert "camera=()" in headers["permissions-policy"]
            assert ("strict-transport-security" in headers) == production


async def test_the_page_is_revalidated_and_its_assets_kept(house: Auth, page: Path) -> None:
    """A new version shows at once, and costs only what has changed."""
    async with client(house, page) as browser:
        index = await browser.get("/")
        assert (index.status_code, index.headers["cache-control"]) == (200, "no-cache")
        again = await browser.get("/", headers={"If-None-Match": index.headers["etag"]})
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache")
        asset = await browser.get("/assets/index-d1g357.js")
        assert "immutable" in asset.headers["cache-control"]
        assert asset.headers["content-type"].startswith("text/javascript")
        assert asset.headers["content-encoding"] == "gzip"
        assert (await browser.head("/")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/link.txt",
        "/index.html%00.js",
        "/assets/",
        "/assets",
        "/%2e",
        "//evil.example/%2e%2e",
        "/index.html/",
        "/" + "x" * 5000,
    ],
)
async def test_nothing_outside_of_the_page_is_served(house: Auth, page: Path, path: str) -> None:
    """By no spelling of the way out."""
    async with client(house, page) as browser:
        request = browser.build_request("GET", "https://appointments.example")
        request.url = request.url.copy_with(raw_path=path.encode())
        assert problem(await browser.send(request)) == (404, "NOT_FOUND")


async def test_a_page_that_was_not_built_is_said_to_be_missing(house: Auth) -> None:
    """A checkout without a build serves everything else."""
    async with client(house) as browser:
        response = await browser.get("/")
        assert problem(response) == (404, "NOT_FOUND")
        assert response.json()["detail"] == "The page is not built."


async def test_readiness_tells_the_truth(house: Auth) -> None:
    """503 while it is not ready; it is alive all the same."""

    async def no() -> bool:
        return False

    async with client(house, ready=no) as browser:
        assert (await browser.get("/readyz")).status_code == 503
        assert (await browser.get("/healthz")).status_code == 200


async def test_a_defect_is_an_opaque_answer(house: Auth) -> None:
    """Not a word of it but the request id."""

    async def broken() -> bool:
        raise LookupError("the colour of the database")

    async with client(house, ready=broken) as browser:
        response = await browser.get("/readyz", headers={"X-Request-Id": "my-request"})
        assert problem(response) == (500, "INTERNAL")
        assert "colour" not in response.text
        assert response.headers["x-request-id"] == "my-request"
        assert response.headers["x-content-type-options"] == "nosniff"


async def test_an_allowed_origin_may_read_the_answers(house: Auth) -> None:
    """With credentials, by name; others get no permission."""
    async with client(house, allowed={ORIGIN}) as browser:
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        preflight = await browser.options("/auth/login", headers={"Origin": ORIGIN} | asks)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == ORIGIN
        assert preflight.headers["access-control-allow-credentials"] == "true"
        await sign_up(browser)
        refreshed = await browser.post("/auth/refresh", headers={"Origin": ORIGIN})
        assert refreshed.status_code == 200
        assert refreshed.headers["access-control-allow-origin"] == ORIGIN
        assert "x-request-id" in refreshed.headers["access-control-expose-headers"].lower()
        stranger = await browser.options("/auth/login", headers={"Origin": "https://evil.example"} | asks)
        assert problem(stranger) == (405, "METHOD_NOT_ALLOWED")
        assert "access-control-allow-origin" not in stranger.headers


async def test_forwarded_addresses_count_only_behind_trusted_proxies(house: Auth) -> None:
    """Without one, a client that invents addresses stays one client; behind one, each address counts for itself."""
    for hops, refused in ((0, True), (1, False)):
        async with client(house, trusted_proxy_hops=hops) as browser:
            statuses = [
                (await browser.post("/auth/login", json={}, headers={"X-Forwarded-For": f"203.0.113.{n}"})).status_code
                for n in range(30)
            ]
            assert (429 in statuses) == refused
