-- Outside a transaction.
-- Endless series that take no time have no tail that says when their rows end, so a task looks for them: among few now,
-- not among all series. A far list looks for those of its owner.
CREATE INDEX CONCURRENTLY IF NOT EXISTS series_unbooked ON series (owner_id) WHERE endless AND transparent;
