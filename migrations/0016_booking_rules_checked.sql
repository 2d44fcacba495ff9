-- Outside a transaction.
-- A look at the rows that were there before the checks. Reading and writing go on.

ALTER TABLE users VALIDATE CONSTRAINT users_booking_rules;
ALTER TABLE resources VALIDATE CONSTRAINT resources_booking_rules;
