"""GET /auth/audit: a person sees what happened to their own account, and nothing of anybody else."""

import grpc

from appointments.v1 import feeds_pb2, feeds_pb2_grpc, webhooks_pb2, webhooks_pb2_grpc
from tests.api.rest import browser, problem, sign_up
from tests.clients import person
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


async def test_what_shows_a_calendar_to_others_is_recorded(server: Server) -> None:
    """Feeds and webhooks: made, changed and ended, with what was changed but not where it leads."""
    hooks_pb = webhooks_pb2
    async with person(server.grpc) as ada, grpc.aio.insecure_channel(server.grpc) as channel:
        feeds, hooks = feeds_pb2_grpc.FeedServiceStub(channel), webhooks_pb2_grpc.WebhookServiceStub(channel)
        wanted = feeds_pb2.CreateFeedRequest(feed=feeds_pb2.Feed(display_name="Phone", busy_only=True))
        feed = (await feeds.CreateFeed(wanted, metadata=ada.metadata)).feed.id
        await feeds.DeleteFeed(feeds_pb2.DeleteFeedRequest(id=feed), metadata=ada.metadata)
        hook = hooks_pb.Webhook(url="http://93.184.216.34/hook")
        hook.id = (
            await hooks.CreateWebhook(hooks_pb.CreateWebhookRequest(webhook=hook), metadata=ada.metadata)
        ).webhook.id
        hook.url = "http://93.184.216.34/elsewhere"
        await hooks.UpdateWebhook(hooks_pb.UpdateWebhookRequest(webhook=hook), metadata=ada.metadata)
        await hooks.RotateSecret(hooks_pb.RotateSecretRequest(id=hook.id), metadata=ada.metadata)
        await hooks.DeleteWebhook(hooks_pb.DeleteWebhookRequest(id=hook.id), metadata=ada.metadata)
    async with browser(server.url, Authorization=ada.metadata[0][1]) as client:
        found = (await client.get("/auth/audit", params={"page_size": "6"})).json()["events"][::-1]
    assert {"you"} == {each["by"] for each in found}
    assert [
        ("feed.created", {"feed": feed, "busy_only": True}),
        ("feed.deleted", {"feed": feed}),
        ("webhook.created", {"webhook": hook.id}),
        ("webhook.changed", {"webhook": hook.id, "fields": ["url"]}),
        ("webhook.secret_changed", {"webhook": hook.id}),
        ("webhook.deleted", {"webhook": hook.id}),
    ] == [(each["event"], each["detail"]) for each in found]
