-- People, their sign-ins and the chain of refresh tokens of each sign-in.

CREATE EXTENSION IF NOT EXISTS btree_gist;

-- Whatever can be taken for a time: a user today.
CREATE TABLE subjects (
    id   uuid CONSTRAINT subjects_pkey PRIMARY KEY,
    kind text NOT NULL CONSTRAINT subjects_kind CHECK (kind IN ('user'))
);

CREATE TABLE users (
    id            uuid        CONSTRAINT users_pkey PRIMARY KEY
                              CONSTRAINT users_subject REFERENCES subjects (id) ON DELETE CASCADE,
    email         text        NOT NULL CONSTRAINT users_email UNIQUE,
    display_name  text        NOT NULL,
    time_zone     text        NOT NULL,
    password_hash text        NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    -- Upper and lower case are the same address; the code folds before it asks. Collation "C" folds ASCII only: what
    -- lower() does to other letters depends on the server's locale, and must not refuse what the code has folded.
    CONSTRAINT users_email_folded CHECK (email = lower(email COLLATE "C")),
    CONSTRAINT users_display_name CHECK (char_length(display_name) <= 200)
);

-- One sign-in on one device. It ends at expires_at however often it is refreshed.
CREATE TABLE sessions (
    id            uuid        CONSTRAINT sessions_pkey PRIMARY KEY,
    user_id       uuid        NOT NULL CONSTRAINT sessions_user REFERENCES users (id) ON DELETE CASCADE,
    user_agent    text        NOT NULL,
    ip_address    text        NOT NULL,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    revoke_reason text,
    CONSTRAINT sessions_revocation CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL)),
    CONSTRAINT sessions_reason CHECK (
        revoke_reason IN ('logout', 'revoked', 'password_changed', 'token_reused')
    )
);

CREATE INDEX sessions_by_user ON sessions (user_id);

-- Only digests: who reads this table cannot sign in with it. Spent tokens stay as long as their session, because a
-- second use of one is how theft shows.
CREATE TABLE refresh_tokens (
    digest      bytea       CONSTRAINT refresh_tokens_pkey PRIMARY KEY,
    session_id  uuid        NOT NULL CONSTRAINT refresh_tokens_session REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    -- When it was exchanged, for which successor and by which attempts (the clients' X-Refresh-Id).
    rotated_at  timestamptz,
    successor   bytea,
    attempt_ids text[],
    CONSTRAINT refresh_tokens_digest CHECK (octet_length(digest) = 32),
    CONSTRAINT refresh_tokens_rotation CHECK (
        (rotated_at IS NULL) = (successor IS NULL) AND (rotated_at IS NULL) = (attempt_ids IS NULL)
    )
);

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
