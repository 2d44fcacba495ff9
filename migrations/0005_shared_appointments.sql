-- Appointments of several subjects, with buffers; whole days; and time that is not taken. Bookings may stand for none.
--
-- Exclusive locks on appointments and bookings, for a moment each: nothing is rewritten, read or built.

ALTER TABLE appointments
    -- What it takes beside its owner's time. NULL for none; it stays when the appointment is deleted, for a restore.
    ADD COLUMN resource_ids  uuid[],
    -- Seconds that are taken before and after it as well.
    ADD COLUMN buffer_before integer NOT NULL DEFAULT 0,
    ADD COLUMN buffer_after  integer NOT NULL DEFAULT 0,
    -- It takes no time at all (RFC 5545, TRANSP).
    ADD COLUMN transparent   boolean NOT NULL DEFAULT false,
    ADD COLUMN all_day       boolean NOT NULL DEFAULT false,
    -- Who last wrote it for its owner; NULL: the owner. No foreign key: the account may be gone.
    ADD COLUMN actor_id      uuid,
    ADD CONSTRAINT appointments_resources CHECK (cardinality(resource_ids) BETWEEN 1 AND 20) NOT VALID,
    ADD CONSTRAINT appointments_buffers CHECK (
        buffer_before BETWEEN 0 AND 86400 AND buffer_after BETWEEN 0 AND 86400
    ) NOT VALID,
    ADD CONSTRAINT appointments_transparent CHECK (
        NOT transparent OR (resource_ids IS NULL AND buffer_before = 0 AND buffer_after = 0)
    ) NOT VALID,
    -- Lists rely on it. Thirty-one whole days may have an hour or two more, where summer time ends.
    DROP CONSTRAINT appointments_length,
    ADD CONSTRAINT appointments_length CHECK (
        end_at - start_at <= CASE WHEN all_day THEN interval '746 hours' ELSE interval '744 hours' END
    ) NOT VALID;

ALTER TABLE bookings
    -- A booking without an appointment closes its subject's time from then on: the tail of endless series.
    DROP CONSTRAINT bookings_pkey,
    ALTER COLUMN appointment_id DROP NOT NULL,
    ADD CONSTRAINT bookings_of_appointment UNIQUE USING INDEX bookings_of_appointment,
    ADD CONSTRAINT bookings_tail CHECK ((appointment_id IS NULL) = (upper(during) = '2102-01-01 00:00:00+00')) NOT VALID,
    -- Of a resource's unit: which resource, and when the appointment starts. Both NULL for a person's time.
    ADD COLUMN resource_id uuid,
    ADD COLUMN start_at    timestamptz,
    ADD CONSTRAINT bookings_of_resource CHECK ((resource_id IS NULL) = (start_at IS NULL)) NOT VALID;
