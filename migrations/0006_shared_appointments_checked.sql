-- Outside a transaction.
-- The indexes of shared appointments, and a look at the rows that were there before the checks. Reading and writing go on.

-- Those that may overlap anything are found apart when a list begins.
CREATE INDEX CONCURRENTLY IF NOT EXISTS appointments_transparent_by_owner ON appointments (owner_id, start_at, id)
    WHERE transparent AND deleted_at IS NULL;

-- The calendar of a resource, in the order of a list. Bookings of people are not in it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS bookings_by_resource ON bookings (resource_id, start_at, subject_id)
    WHERE resource_id IS NOT NULL;

ALTER TABLE subjects VALIDATE CONSTRAINT subjects_kind;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_resources;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_buffers;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_transparent;
ALTER TABLE appointments VALIDATE CONSTRAINT appointments_length;
ALTER TABLE bookings VALIDATE CONSTRAINT bookings_tail;
ALTER TABLE bookings VALIDATE CONSTRAINT bookings_of_resource;
