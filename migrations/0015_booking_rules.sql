-- Rules of booking: what is asked of whoever books a resource, or acts for a person. NULL: nothing.
--
-- Rewrites and reads nothing; the tables are locked for a moment.

-- By the names of the contract's fields, durations in seconds; read and written whole, never searched.
ALTER TABLE users
    ADD COLUMN booking_rules jsonb,
    ADD CONSTRAINT users_booking_rules CHECK (jsonb_typeof(booking_rules) = 'object') NOT VALID;
ALTER TABLE resources
    ADD COLUMN booking_rules jsonb,
    ADD CONSTRAINT resources_booking_rules CHECK (jsonb_typeof(booking_rules) = 'object') NOT VALID;

-- Which of them its writers have overridden.
ALTER TABLE appointments ADD COLUMN overridden_rules text[];
