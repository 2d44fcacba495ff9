-- Mail: what is to be sent and what was, whom not to write to, and the links that prove an address.
--
-- The new column rewrites nothing; users is locked for a moment.

ALTER TABLE users
    -- When somebody proved to read mail at the address. NULL: nobody has.
    ADD COLUMN email_verified_at timestamptz;

-- Every message, before and after it is sent. What it says is put together when it is sent, from what is so by then.
CREATE TABLE outbox (
    id             uuid        CONSTRAINT outbox_pkey PRIMARY KEY,
    kind           text        NOT NULL CONSTRAINT outbox_kind CHECK (char_length(kind) BETWEEN 1 AND 100),
    recipient      text        NOT NULL CONSTRAINT outbox_recipient CHECK (char_length(recipient) BETWEEN 3 AND 254),
    -- Whose account it comes from. It may be gone when the message is sent.
    user_id        uuid        CONSTRAINT outbox_user REFERENCES users (id) ON DELETE SET NULL,
    -- What it is about. No foreign key: a cancellation may outlive its appointment.
    appointment_id uuid,
    sequence       integer,
    about          jsonb       NOT NULL CONSTRAINT outbox_about CHECK (jsonb_typeof(about) = 'object'),
    -- queued; sending: a worker talks to the relay, or died doing so; sent: the relay took it; bounced: the relay will
    -- never take it; failed: it could not be sent for a day; dropped: there was nothing to say any more.
    state          text        NOT NULL CONSTRAINT outbox_state CHECK (
        state IN ('queued', 'sending', 'sent', 'bounced', 'failed', 'dropped')
    ),
    attempts       integer     NOT NULL DEFAULT 0,
    -- The relay's last words, or why there was nothing to send.
    response       text,
    created_at     timestamptz NOT NULL,
    changed_at     timestamptz NOT NULL,
    CONSTRAINT outbox_once UNIQUE (appointment_id, kind, recipient, sequence),
    CONSTRAINT outbox_sequence CHECK ((appointment_id IS NULL) = (sequence IS NULL))
);
CREATE INDEX outbox_by_user ON outbox (user_id, created_at);
CREATE INDEX outbox_by_age ON outbox USING brin (created_at);

-- Addresses that have said something about being written to, themselves or through their servers.
CREATE TABLE mail_addresses (
    address         text        CONSTRAINT mail_addresses_pkey PRIMARY KEY,
    unsubscribed_at timestamptz,
    hard_bounces    integer     NOT NULL DEFAULT 0,
    bounced_at      timestamptz
);

-- Links that were mailed to prove an address. Of one user and purpose only the newest works, because it takes the place
-- of the one before.
CREATE TABLE mail_links (
    user_id    uuid        NOT NULL CONSTRAINT mail_links_user REFERENCES users (id) ON DELETE CASCADE,
    purpose    text        NOT NULL CONSTRAINT mail_links_purpose CHECK (purpose IN ('verify', 'change', 'reset')),
    -- The token is computed from it and a secret of the server, so that it can be mailed again; only the digest is here.
    id         uuid        NOT NULL,
    digest     bytea       NOT NULL CONSTRAINT mail_links_digest UNIQUE
                           CONSTRAINT mail_links_digest_length CHECK (octet_length(digest) = 32),
    -- The address that it proves.
    email      text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT mail_links_pkey PRIMARY KEY (user_id, purpose)
);
