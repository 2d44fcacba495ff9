"""Webhooks: changes that are posted to a URL, signed, in order, at least once (docs/changes.md)."""
