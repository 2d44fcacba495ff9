"""FeedService: convert, call the feature, convert."""

from appointments.api.caller import Caller
from appointments.api.convert import identifier, timestamp
from appointments.icalendar.feeds import Feed, Feeds
from appointments.v1 import feeds_pb2 as pb


class FeedService:
    """The caller's feeds. Statuses are in proto/appointments/v1/feeds.proto."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    async def CreateFeed(self, request: pb.CreateFeedRequest, caller: Caller) -> pb.CreateFeedResponse:
        """Make a feed."""
        feed, url = await self._feeds.create(
            caller.user_id, request.feed.display_name, is_busy_only=request.feed.busy_only
        )
        return pb.CreateFeedResponse(feed=_message(feed), url=url)

    async def ListFeeds(self, request: pb.ListFeedsRequest, caller: Caller) -> pb.ListFeedsResponse:  # noqa: ARG002
        """List feeds."""
        return pb.ListFeedsResponse(feeds=map(_message, await self._feeds.list(caller.user_id)))

    async def DeleteFeed(self, request: pb.DeleteFeedRequest, caller: Caller) -> pb.DeleteFeedResponse:
        """End a feed."""
        await self._feeds.delete(caller.user_id, identifier(request.id, "id"))
        return pb.DeleteFeedResponse()


def _message(feed: Feed) -> pb.Feed:
    return pb.Feed(
        id=str(feed.id),
        display_name=feed.display_name,
        busy_only=feed.is_busy_only,
        create_time=timestamp(feed.created_at),
        last_use_time=timestamp(feed.last_used_at) if feed.last_used_at else None,
    )
