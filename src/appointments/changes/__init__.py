"""The log of changes, as those who read it see it: numbered, followed from a cursor, fanned out, forgotten in time.

Who changes something writes what has changed (:mod:`appointments.calendar.log`); here it gets its position, and from
then on everybody reads the same order. docs/changes.md tells clients how to follow, docs/adr/0020 why it is so.
"""
