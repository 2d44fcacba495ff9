-- Outside a transaction.
-- The indexes of managed users, and a look at the rows that were there before the checks. Reading and writing go on.

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_external_id ON users (external_id);

-- The order in which admins list users.
CREATE INDEX CONCURRENTLY IF NOT EXISTS users_by_age ON users (created_at, id);

CREATE INDEX CONCURRENTLY IF NOT EXISTS users_admins ON users (id) WHERE role = 'admin';

ALTER TABLE users VALIDATE CONSTRAINT users_kind;
ALTER TABLE users VALIDATE CONSTRAINT users_role;
ALTER TABLE users VALIDATE CONSTRAINT users_external_id_length;
ALTER TABLE users VALIDATE CONSTRAINT users_service_account;
ALTER TABLE sessions VALIDATE CONSTRAINT sessions_reason;
