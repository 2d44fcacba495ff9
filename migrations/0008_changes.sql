-- The log of changes: what changed, for whose calendar, by whom, in an order that a reader can resume (docs/adr/0020).

-- What was written and has no position yet. Every statement that changes something puts a row here for each calendar
-- that shows it; no lock, no number that others wait for. Whoever numbers takes the rows out again, in the order of
-- their ids: ids of one appointment are in the order of its versions, because its row is locked when they are drawn.
CREATE TABLE new_changes (
    id          bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT new_changes_pkey PRIMARY KEY,
    -- Whose calendar shows it: a user's or a resource's. No foreign keys: the log outlives what it tells of.
    calendar_id uuid        NOT NULL,
    -- What it is and what happened to it, such as 'appointment.created'.
    kind        text        NOT NULL,
    item_id     uuid        NOT NULL,
    -- The version that the item has since.
    version     bigint      NOT NULL,
    -- Who did it; NULL: nobody, it was done by itself.
    actor_id    uuid,
    -- The x-request-id of the call that did it, as the server's log has it.
    request_id  text,
    -- Which fields are not what they were; NULL: not said.
    fields      text[],
    changed_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 1);

CREATE TABLE changes (
    position    bigint      CONSTRAINT changes_pkey PRIMARY KEY,
    calendar_id uuid        NOT NULL,
    kind        text        NOT NULL,
    item_id     uuid        NOT NULL,
    version     bigint      NOT NULL,
    actor_id    uuid,
    request_id  text,
    fields      text[],
    changed_at  timestamptz NOT NULL
);

-- What a follower of one calendar reads.
CREATE INDEX changes_by_calendar ON changes (calendar_id, position);

-- Where the log ends and where it begins: one row, which whoever numbers has locked.
CREATE TABLE change_head (
    only_one        boolean CONSTRAINT change_head_pkey PRIMARY KEY DEFAULT true
                            CONSTRAINT change_head_single CHECK (only_one),
    -- Positions mean something within an epoch. Whoever restores a backup begins a new one.
    epoch           uuid    NOT NULL,
    last_position   bigint  NOT NULL,
    -- What came up to here is no longer kept.
    pruned_position bigint  NOT NULL,
    CONSTRAINT change_head_order CHECK (0 <= pruned_position AND pruned_position <= last_position)
);

INSERT INTO change_head (epoch, last_position, pruned_position) VALUES (gen_random_uuid(), 0, 0);
