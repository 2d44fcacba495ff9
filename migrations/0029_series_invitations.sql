-- Invitations to series: what each person was told of a series, and the links they answer by.

-- A series is one invitation. A series that nobody was ever invited to has no row here.
CREATE TABLE series_invitations (
    series_id     uuid        NOT NULL CONSTRAINT series_invitations_series REFERENCES series (id) ON DELETE CASCADE,
    -- Folded: the same in every spelling.
    address       text        NOT NULL,
    -- SEQUENCE: how often the time, the place or the fate of the series or of one of its occurrences has changed.
    sequence      integer     NOT NULL CONSTRAINT series_invitations_sequence CHECK (sequence >= 0),
    -- How many messages there were, and the number and the SEQUENCE of the newest one about the whole series. It takes
    -- the place of those before it, and answers to older ones do not count.
    number        bigint      NOT NULL,
    full_number   bigint      NOT NULL,
    full_sequence integer     NOT NULL,
    -- The SEQUENCE of each occurrence that a message of its own was about since then, by its wall time.
    sequences     jsonb       NOT NULL,
    -- What the messages have said: to tell next time what has changed.
    told          jsonb       NOT NULL,
    -- They were told that it is off, or that they are not invited any more.
    is_cancelled  boolean     NOT NULL,
    told_at       timestamptz NOT NULL,
    CONSTRAINT series_invitations_pkey PRIMARY KEY (series_id, address)
);

-- Links by which people answer a whole series. Only digests; several where the server's secret was rotated.
CREATE TABLE series_links (
    digest    bytea CONSTRAINT series_links_pkey PRIMARY KEY
                    CONSTRAINT series_links_digest CHECK (octet_length(digest) = 32),
    series_id uuid  NOT NULL CONSTRAINT series_links_series REFERENCES series (id) ON DELETE CASCADE,
    address   text  NOT NULL
);
CREATE INDEX series_links_by_series ON series_links (series_id);
