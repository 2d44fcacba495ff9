-- Bounces that came as reports: a relay takes every message at first, so its taking one says nothing about the address.

-- Locks the table for a moment: a column with a constant default rewrites nothing.
ALTER TABLE mail_addresses ADD COLUMN reported_bounces integer NOT NULL DEFAULT 0;
