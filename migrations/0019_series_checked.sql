-- Outside a transaction.
-- The indexes of series, and a look at the rows that were there before the checks. Reading and writing go on.

-- Each occurrence once, and those of a series in order.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS appointments_by_series ON appointments (series_id, occurs_wall)
    WHERE series_id IS NOT NULL;

-- The tails: what the extending task looks for.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bookings_tails ON bookings (lower(during)) WHERE appointment_id IS NULL;

ALTER TABLE appointments VALIDATE CONSTRAINT appointments_series;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_occurrence;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_skipped;
