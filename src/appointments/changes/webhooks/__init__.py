"""Webhooks: each change is posted to a URL at least once, signed, and in order for each item (docs/changes.md)."""
