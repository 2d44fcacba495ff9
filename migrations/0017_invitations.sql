-- Invitations: what each person outside was told of an appointment, the links they answer by, and how many were invited.

-- How far the log of changes has been read for invitations: one row, which whoever reads on has locked.
CREATE TABLE invitation_cursor (
    only_one boolean CONSTRAINT invitation_cursor_pkey PRIMARY KEY DEFAULT true
                     CONSTRAINT invitation_cursor_single CHECK (only_one),
    position bigint  NOT NULL
);
INSERT INTO invitation_cursor (position) SELECT last_position FROM change_head;

-- Who was told what. An appointment that nobody was ever invited to has no row here.
CREATE TABLE invitations (
    appointment_id uuid        NOT NULL CONSTRAINT invitations_appointment REFERENCES appointments (id) ON DELETE CASCADE,
    -- Folded: the same in every spelling.
    address        text        NOT NULL,
    -- SEQUENCE of RFC 5545 §3.8.7.4: how often the time, the place or the fate of the appointment has changed.
    sequence       integer     NOT NULL CONSTRAINT invitations_sequence CHECK (sequence >= 0),
    -- The version of the appointment that the newest message is about.
    version        bigint      NOT NULL,
    -- What that message says: to tell next time what has changed.
    told           jsonb       NOT NULL,
    -- They were told that it is off, or that they are not invited any more.
    is_cancelled   boolean     NOT NULL,
    told_at        timestamptz NOT NULL,
    CONSTRAINT invitations_pkey PRIMARY KEY (appointment_id, address)
);

-- Links by which people answer without an account. Only digests; several where the server's secret was rotated.
CREATE TABLE invitation_links (
    digest         bytea CONSTRAINT invitation_links_pkey PRIMARY KEY
                         CONSTRAINT invitation_links_digest CHECK (octet_length(digest) = 32),
    appointment_id uuid  NOT NULL CONSTRAINT invitation_links_appointment REFERENCES appointments (id) ON DELETE CASCADE,
    address        text  NOT NULL
);
CREATE INDEX invitation_links_by_appointment ON invitation_links (appointment_id);

-- Links by which an address says that it does not want to be written to. They work for ever.
CREATE TABLE unsubscribe_links (
    digest  bytea CONSTRAINT unsubscribe_links_pkey PRIMARY KEY
                  CONSTRAINT unsubscribe_links_digest CHECK (octet_length(digest) = 32),
    address text  NOT NULL
);

-- Whom each person has invited of late, counted before anything is booked.
CREATE TABLE invited_addresses (
    user_id  uuid        NOT NULL CONSTRAINT invited_addresses_user REFERENCES users (id) ON DELETE CASCADE,
    address  text        NOT NULL,
    -- When the count began; a day later it begins again.
    since_at timestamptz NOT NULL,
    times    integer     NOT NULL,
    CONSTRAINT invited_addresses_pkey PRIMARY KEY (user_id, address)
);
