-- Reminders: how many minutes before its start somebody is written to about an appointment.
--
-- Rewrites and reads nothing; three tables are locked for a moment. The next file builds the indexes.

ALTER TABLE appointments
    -- Minutes before the start. NULL: as the owner's account has it by default. Empty: none.
    ADD COLUMN reminders integer[],
    ADD CONSTRAINT appointments_reminders CHECK (
        cardinality(reminders) <= 5 AND 0 <= ALL (reminders) AND 40320 >= ALL (reminders)
    ) NOT VALID;

-- The same of each occurrence that has not got its own.
ALTER TABLE series
    ADD COLUMN reminders integer[],
    ADD CONSTRAINT series_reminders CHECK (
        cardinality(reminders) <= 5 AND 0 <= ALL (reminders) AND 40320 >= ALL (reminders)
    ) NOT VALID;

ALTER TABLE users
    -- For the person's appointments that have no reminders of their own, and for what they are invited to. NULL: none.
    ADD COLUMN default_reminders integer[],
    ADD CONSTRAINT users_default_reminders CHECK (
        cardinality(default_reminders) BETWEEN 1 AND 5
        AND 0 <= ALL (default_reminders) AND 40320 >= ALL (default_reminders)
    ) NOT VALID;

-- The minutes, counted from 1970, in which an appointment's reminders are due: keys of an index, which finds what is due
-- whatever the reminders are. The epoch of an instant is the same in every session, so this is immutable.
CREATE FUNCTION reminder_minutes(starts_at timestamptz, reminders integer[]) RETURNS integer[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(
        SELECT floor(extract(epoch FROM starts_at) / 60)::integer - minutes FROM unnest(reminders) AS minutes
    );

-- Until when reminders have been looked for: one row.
CREATE TABLE reminder_scan (
    is_only    boolean     NOT NULL DEFAULT true CONSTRAINT reminder_scan_pkey PRIMARY KEY
                           CONSTRAINT reminder_scan_only CHECK (is_only),
    scanned_at timestamptz NOT NULL
);
INSERT INTO reminder_scan (scanned_at) VALUES (now());
