-- Outside a transaction.
-- Two unique indexes that the next migrations turn into constraints. Reading and writing go on while they are built.

-- So that a unit's row can never stand on a person's subject.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS subjects_of_kind ON subjects (id, kind);

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS bookings_of_appointment ON bookings (appointment_id, subject_id);
