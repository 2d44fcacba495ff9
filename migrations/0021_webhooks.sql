-- Webhooks: where the changes of somebody's calendar are posted, and how each delivery stands.

CREATE TABLE webhooks (
    id              uuid        CONSTRAINT webhooks_pkey PRIMARY KEY,
    owner_id        uuid        NOT NULL CONSTRAINT webhooks_owner REFERENCES users (id) ON DELETE CASCADE,
    url             text        NOT NULL CONSTRAINT webhooks_url CHECK (char_length(url) BETWEEN 1 AND 2000),
    -- Kinds of changes; none: all.
    kinds           text[]      NOT NULL,
    -- Signatures need the secrets themselves. The previous one signs as well until then.
    secret          bytea       NOT NULL CONSTRAINT webhooks_secret CHECK (octet_length(secret) >= 24),
    previous_secret bytea,
    previous_ends_at timestamptz,
    failing_since_at timestamptz,
    disabled_at     timestamptz,
    -- NULL: by its owner.
    disable_reason  text        CONSTRAINT webhooks_reason CHECK (disable_reason IN ('gone', 'failing')),
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT webhooks_previous CHECK ((previous_secret IS NULL) = (previous_ends_at IS NULL)),
    CONSTRAINT webhooks_disabled CHECK (disable_reason IS NULL OR disabled_at IS NOT NULL)
);
CREATE INDEX webhooks_by_owner ON webhooks (owner_id, created_at, id);

-- Written by the statement that gives a change its position, so no foreign key may ever refuse it: what belongs to a
-- webhook that is gone is swept.
CREATE TABLE webhook_deliveries (
    id          uuid        CONSTRAINT webhook_deliveries_pkey PRIMARY KEY,
    webhook_id  uuid        NOT NULL,
    -- As in changes; of a ping only the kind.
    position    bigint      NOT NULL,
    kind        text        NOT NULL,
    item_id     uuid,
    version     bigint      NOT NULL,
    actor_id    uuid,
    request_id  text,
    fields      text[],
    changed_at  timestamptz NOT NULL,
    state       text        NOT NULL CONSTRAINT webhook_deliveries_state CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts    integer     NOT NULL DEFAULT 0,
    -- Whoever delivers moves it past the end of their lease, so that it comes back if they die.
    due_at      timestamptz NOT NULL,
    lease       uuid,
    -- Since when it is tried: the patience counts from here.
    begun_at    timestamptz NOT NULL,
    status      integer     NOT NULL DEFAULT 0,
    error       text        NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE state = 'waiting';
-- What comes before another change of the same item.
CREATE INDEX webhook_deliveries_in_order ON webhook_deliveries (webhook_id, item_id, position) WHERE state = 'waiting';
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, created_at, id);
