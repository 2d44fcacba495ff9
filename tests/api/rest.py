"""A client for the tests of REST that behaves like a browser: it keeps cookies and has an address of its own."""

import itertools
from typing import Any

import httpx

from tests.clients import PASSWORD, new_email

_numbers = itertools.count(1)


def browser(url: str, **headers: str) -> httpx.AsyncClient:
    """A client with an address that nobody else has: the limiter counts by address."""
    number = next(_numbers)
    address = f"198.18.{number // 250}.{number % 250 + 1}"
    # verify=False: there is no TLS here, and reading the certificates takes longer than a test.
    return httpx.AsyncClient(base_url=url, headers={"X-Forwarded-For": address} | headers, timeout=30, verify=False)


async def sign_up(client: httpx.AsyncClient, **fields: Any) -> str:
    """Create an account; returns its address."""
    account = {"email": new_email(), "password": PASSWORD, "display_name": "Ada"} | fields
    response = await client.post("/auth/register", json=account)
    assert response.status_code == 201, response.text
    return str(account["email"])


def problem(response: httpx.Response) -> tuple[int, str]:
    """Status and reason of an answer that must be a well-formed problem."""
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert content["status"] == response.status_code
    assert content["request_id"] == response.headers["x-request-id"]
    assert {"type", "title", "detail", "reason"} <= content.keys()
    return response.status_code, content["reason"]


def fields(response: httpx.Response) -> list[str]:
    """The fields that a problem names."""
    return [error["field"] for error in response.json()["errors"]]
