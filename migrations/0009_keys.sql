-- Keys of programs; users whom a backend manages, without password or address; service accounts; admins.
--
-- Rewrites and reads nothing; users and sessions are locked for a moment. The next file looks at the rows. Processes of
-- the version before read people who sign in, and all of those have an address and a password as before.

ALTER TABLE users
    ALTER COLUMN email DROP NOT NULL,
    ALTER COLUMN password_hash DROP NOT NULL,
    ADD COLUMN kind text NOT NULL DEFAULT 'person',
    ADD COLUMN role text NOT NULL DEFAULT 'user',
    -- What another system calls the user.
    ADD COLUMN external_id text,
    ADD COLUMN disabled_at timestamptz,
    ADD CONSTRAINT users_kind CHECK (kind IN ('person', 'service_account')) NOT VALID,
    ADD CONSTRAINT users_role CHECK (role IN ('user', 'admin')) NOT VALID,
    ADD CONSTRAINT users_external_id_length CHECK (char_length(external_id) BETWEEN 1 AND 200) NOT VALID,
    -- Programs have keys; a password would be one more way in.
    ADD CONSTRAINT users_service_account CHECK (
        kind = 'person' OR (password_hash IS NULL AND email IS NULL AND external_id IS NULL)
    ) NOT VALID;

ALTER TABLE sessions
    DROP CONSTRAINT sessions_reason,
    ADD CONSTRAINT sessions_reason CHECK (
        revoke_reason IN ('logout', 'revoked', 'password_changed', 'token_reused', 'user_disabled')
    ) NOT VALID;

-- Only digests: who reads this table cannot call with it. A key has 256 random bits, so a plain hash is enough.
CREATE TABLE keys (
    id           uuid        CONSTRAINT keys_pkey PRIMARY KEY,
    user_id      uuid        NOT NULL CONSTRAINT keys_user REFERENCES users (id) ON DELETE CASCADE,
    digest       bytea       NOT NULL CONSTRAINT keys_digest UNIQUE,
    display_name text        NOT NULL CONSTRAINT keys_display_name CHECK (char_length(display_name) BETWEEN 1 AND 200),
    scopes       text[]      NOT NULL CONSTRAINT keys_scopes CHECK (cardinality(scopes) BETWEEN 1 AND 20),
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz,
    last_used_at timestamptz,
    CONSTRAINT keys_digest_length CHECK (octet_length(digest) = 32)
);

CREATE INDEX keys_by_user ON keys (user_id, created_at, id);
