-- Hours: when people and resources can be booked, in the wall time of their zones. NULL: always.
--
-- Rewrites and reads nothing; both tables are locked for a moment. The next file without a transaction looks at the rows.

-- {"week": [[weekday, start minute, end minute], …], "special_days": [[date, [[start minute, end minute], …]], …]}: read and
-- written whole, never searched, so it needs no tables of its own.
ALTER TABLE users
    ADD COLUMN hours jsonb,
    ADD CONSTRAINT users_hours CHECK (jsonb_typeof(hours) = 'object') NOT VALID;
ALTER TABLE resources
    ADD COLUMN hours jsonb,
    ADD CONSTRAINT resources_hours CHECK (jsonb_typeof(hours) = 'object') NOT VALID;
