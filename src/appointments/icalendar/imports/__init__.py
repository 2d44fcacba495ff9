"""Calendars that come from elsewhere: an iCalendar file is read, held against what is there, and booked.

Whatever the bytes are, they are only read: nothing in them is run, and no address in them is followed.
"""

from appointments.icalendar.imports.importing import Item, OnConflict, Report, State, run

__all__ = ["Item", "OnConflict", "Report", "State", "run"]
