-- A job says which trace it comes from, so that the span of its run is linked to the call that deferred it.

-- Locks the table for a moment: a column without a value rewrites nothing.
ALTER TABLE jobs ADD COLUMN cause text;
-- Said by a transaction whose trace is recorded, whichever of its statements defers the job.
ALTER TABLE jobs ALTER COLUMN cause SET DEFAULT nullif(current_setting('appointments.cause', true), '');
