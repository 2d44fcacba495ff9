"""Calendars that go elsewhere: secret feeds that calendar programs subscribe to, and exports of everything."""

from appointments.icalendar.feeds.feeds import Feed, Feeds

__all__ = ["Feed", "Feeds"]
