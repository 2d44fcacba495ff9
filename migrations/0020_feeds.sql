-- Feeds: secret addresses under which calendar programs subscribe to somebody's appointments.

CREATE TABLE feeds (
    id           uuid        CONSTRAINT feeds_pkey PRIMARY KEY,
    user_id      uuid        NOT NULL CONSTRAINT feeds_user REFERENCES users (id) ON DELETE CASCADE,
    display_name text        NOT NULL CONSTRAINT feeds_display_name CHECK (char_length(display_name) BETWEEN 1 AND 200),
    -- Who reads this table cannot read the feed.
    digest       bytea       NOT NULL CONSTRAINT feeds_digest UNIQUE
                             CONSTRAINT feeds_digest_length CHECK (octet_length(digest) = 32),
    -- Only when the time is taken, not what by.
    is_busy_only boolean     NOT NULL,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz
);
CREATE INDEX feeds_by_user ON feeds (user_id, created_at);
