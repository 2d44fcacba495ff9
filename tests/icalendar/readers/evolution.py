"""Subscribes Evolution's calendar backend to a feed, and writes every occurrence between two moments as JSON.

``python3 evolution.py URL SINCE UNTIL NEWEST``, times in seconds of Unix time: once something has the title NEWEST.
It is for Debian's own Python, which has the bindings (python3-gi, gir1.2-ecal-2.0), in a D-Bus session of its own. In a
home in which it was run before it goes on with that subscription.
"""

import json
import sys
import time
from typing import Any

import gi

gi.require_version("ECal", "2.0")
gi.require_version("EDataServer", "1.2")
from gi.repository import ECal, EDataServer, GLib  # noqa: E402

NAME = "feed"
NO_WAIT = 0xFFFFFFFF


def subscription(url: str) -> Any:
    """The source that Evolution's "New calendar, on the web" makes."""
    registry = EDataServer.SourceRegistry.new_sync(None)
    if known := registry.ref_source(NAME):
        return known
    uri = GLib.Uri.parse(url, GLib.UriFlags.NONE)
    source = EDataServer.Source.new_with_uid(NAME, None)
    source.set_display_name(NAME)
    source.set_parent("webcal-stub")
    source.get_extension(EDataServer.SOURCE_EXTENSION_CALENDAR).set_backend_name("webcal")
    source.get_extension(EDataServer.SOURCE_EXTENSION_WEBDAV_BACKEND).set_uri(uri)
    source.get_extension(EDataServer.SOURCE_EXTENSION_SECURITY).set_secure(uri.get_scheme() == "https")
    address = source.get_extension(EDataServer.SOURCE_EXTENSION_AUTHENTICATION)
    address.set_host(uri.get_host())
    address.set_port(uri.get_port())
    registry.commit_source_sync(source, None)
    return registry.ref_source(NAME)


def said(moment: Any) -> str | int:
    """A day, or seconds of Unix time."""
    if moment.is_date():
        return f"{moment.get_year()}-{moment.get_month():02}-{moment.get_day():02}"
    return int(moment.as_timet_with_zone(moment.get_timezone()))


def read(client: Any, since: int, until: int) -> list[dict[str, str | int | None]]:
    """Every occurrence that it has in that time."""
    found: list[dict[str, str | int | None]] = []

    def add(component: Any, start: Any, end: Any, *_: object) -> bool:
        is_off = "STATUS:CANCELLED" in component.as_ical_string()
        found.append({"title": component.get_summary(), "start": said(start), "end": said(end), "is_off": is_off})
        return True

    client.generate_instances_sync(since, until, None, add)
    return found


def main(url: str, since: int, until: int, newest: str) -> None:
    """Read it, and write what there is as soon as something with this title is there, and nothing else comes."""
    client = ECal.Client.connect_sync(subscription(url), ECal.ClientSourceType.EVENTS, NO_WAIT, None)
    client.refresh_sync(None)
    for _ in range(100):
        time.sleep(0.2)
        found = read(client, since, until)
        if any(each["title"] == newest for each in found) and found == read(client, since, until):
            break
    json.dump(found, sys.stdout)


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
