-- Resources: rooms and equipment, the units of each, and who may see, book or manage them.

-- For a moment: the check is made of the old rows later, the index is there.
ALTER TABLE subjects
    DROP CONSTRAINT subjects_kind,
    ADD CONSTRAINT subjects_kind CHECK (kind IN ('user', 'resource')) NOT VALID,
    ADD CONSTRAINT subjects_of_kind UNIQUE USING INDEX subjects_of_kind;

CREATE TABLE resources (
    id             uuid        CONSTRAINT resources_pkey PRIMARY KEY,
    kind           text        NOT NULL CONSTRAINT resources_kind CHECK (kind IN ('room', 'equipment')),
    display_name   text        NOT NULL CONSTRAINT resources_display_name CHECK (char_length(display_name) BETWEEN 1 AND 200),
    description    text        NOT NULL CONSTRAINT resources_description CHECK (char_length(description) <= 10000),
    location       text        NOT NULL CONSTRAINT resources_location CHECK (char_length(location) <= 500),
    time_zone      text        NOT NULL,
    -- 0: not said.
    seats          integer     NOT NULL CONSTRAINT resources_seats CHECK (seats BETWEEN 0 AND 100000),
    -- How many appointments may have it at once. Each unit is a subject of its own.
    units          integer     NOT NULL CONSTRAINT resources_units CHECK (units BETWEEN 1 AND 100),
    -- Seconds that it is taken before and after each appointment.
    buffer_before  integer     NOT NULL CONSTRAINT resources_buffer_before CHECK (buffer_before BETWEEN 0 AND 86400),
    buffer_after   integer     NOT NULL CONSTRAINT resources_buffer_after CHECK (buffer_after BETWEEN 0 AND 86400),
    -- What everybody may do: 0 nothing, 1 see, 2 book, 3 manage. Each includes those before it.
    default_role   integer     NOT NULL CONSTRAINT resources_default_role CHECK (default_role BETWEEN 0 AND 3),
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted_at     timestamptz,
    version        bigint      NOT NULL,
    -- AIP-155: one resource per request id of whoever asked. The resource outlives the account.
    created_by     uuid        CONSTRAINT resources_creator REFERENCES users (id) ON DELETE SET NULL,
    request_id     uuid,
    request_digest bytea,
    CONSTRAINT resources_request CHECK ((request_id IS NULL) = (request_digest IS NULL))
);

-- The order of a list. COLLATE "C": the same on every server, whatever its locale.
CREATE INDEX resources_by_name ON resources (display_name COLLATE "C", id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX resources_request_id ON resources (created_by, request_id) WHERE request_id IS NOT NULL;
CREATE INDEX resources_by_creator ON resources (created_by);

-- What the one constraint on bookings guards. Units above resources.units are out of use: their bookings are over.
CREATE TABLE resource_units (
    subject_id  uuid    CONSTRAINT resource_units_pkey PRIMARY KEY,
    kind        text    NOT NULL DEFAULT 'resource' CONSTRAINT resource_units_kind CHECK (kind = 'resource'),
    resource_id uuid    NOT NULL CONSTRAINT resource_units_resource REFERENCES resources (id) ON DELETE CASCADE,
    unit        integer NOT NULL CONSTRAINT resource_units_unit CHECK (unit BETWEEN 1 AND 100),
    CONSTRAINT resource_units_once UNIQUE (resource_id, unit),
    CONSTRAINT resource_units_subject FOREIGN KEY (subject_id, kind) REFERENCES subjects (id, kind) ON DELETE CASCADE
);

-- What one person may do, beside what everybody may.
CREATE TABLE resource_grants (
    resource_id uuid    NOT NULL CONSTRAINT resource_grants_resource REFERENCES resources (id) ON DELETE CASCADE,
    user_id     uuid    NOT NULL CONSTRAINT resource_grants_user REFERENCES users (id) ON DELETE CASCADE,
    role        integer NOT NULL CONSTRAINT resource_grants_role CHECK (role BETWEEN 1 AND 3),
    CONSTRAINT resource_grants_pkey PRIMARY KEY (resource_id, user_id)
);
CREATE INDEX resource_grants_by_user ON resource_grants (user_id);
