"""Feeds with a secret address, to which calendar programs subscribe, and exports of all appointments."""

from appointments.icalendar.feeds.feeds import Feed, Feeds

__all__ = ["Feed", "Feeds"]
