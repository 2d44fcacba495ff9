-- Outside a transaction.
-- The indexes of holds, and a look at the rows that were there before the checks. Reading and writing go on.

-- How many somebody has open.
CREATE INDEX CONCURRENTLY IF NOT EXISTS appointments_holds_by_owner ON appointments (owner_id, expires_at)
    WHERE expires_at IS NOT NULL AND deleted_at IS NULL;

-- Those that have expired.
CREATE INDEX CONCURRENTLY IF NOT EXISTS appointments_holds_by_end ON appointments (expires_at)
    WHERE expires_at IS NOT NULL AND deleted_at IS NULL;

ALTER TABLE users VALIDATE CONSTRAINT users_hours;
ALTER TABLE resources VALIDATE CONSTRAINT resources_hours;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_hold;
ALTER TABLE bookings VALIDATE CONSTRAINT bookings_hold;
