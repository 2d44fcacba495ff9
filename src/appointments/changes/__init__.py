"""Reading the log of changes: entries get positions, are followed from a cursor, fanned out and pruned.

Entries are written by whatever makes a change (:mod:`appointments.calendar.log`). Here they get their positions. From
then on everybody reads them in the same order. docs/changes.md tells clients how to follow, docs/adr/0020 the reasons.
"""
