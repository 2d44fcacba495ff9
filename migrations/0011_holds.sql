-- Holds: appointments that take their time until they expire, unless they are confirmed.
--
-- Rewrites and reads nothing; both tables are locked for a moment.

ALTER TABLE appointments
    -- NULL: no hold. It stays when the hold is deleted: what was a hold is not restored.
    ADD COLUMN expires_at timestamptz,
    ADD CONSTRAINT appointments_hold CHECK (expires_at IS NULL OR NOT transparent) NOT VALID;

-- The same, where free time is looked for. The constraint knows no clock: a booking of an expired hold is in the way until
-- whoever runs into it deletes it, under its subject's lock.
ALTER TABLE bookings
    ADD COLUMN expires_at timestamptz,
    ADD CONSTRAINT bookings_hold CHECK (expires_at IS NULL OR appointment_id IS NOT NULL) NOT VALID;
