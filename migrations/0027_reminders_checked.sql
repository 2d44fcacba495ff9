-- Outside a transaction.
-- The indexes of reminders, and a look at the rows that were there before the checks. Reading and writing go on.

-- Only appointments with reminders of their own are in it. Its keys are read every few seconds, so none are left pending.
CREATE INDEX CONCURRENTLY IF NOT EXISTS appointments_reminded
    ON appointments USING gin (reminder_minutes(start_at, reminders)) WITH (fastupdate = off)
    WHERE reminders IS NOT NULL AND deleted_at IS NULL;

-- Whoever is reminded of all their appointments.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_reminded ON users (id) WHERE default_reminders IS NOT NULL;

ALTER TABLE appointments VALIDATE CONSTRAINT appointments_reminders;
ALTER TABLE series VALIDATE CONSTRAINT series_reminders;
ALTER TABLE users VALIDATE CONSTRAINT users_default_reminders;
