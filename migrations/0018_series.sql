-- Series: a rule, and its occurrences as appointments. A subject with an endless series is closed beyond its frontier.
--
-- Rewrites and reads nothing: appointments is locked for a moment. The next file builds indexes while everything goes on.

CREATE TABLE series (
    id              uuid        CONSTRAINT series_pkey PRIMARY KEY,
    owner_id        uuid        NOT NULL CONSTRAINT series_owner REFERENCES users (id) ON DELETE CASCADE,
    -- What every occurrence is, but for what was changed of it alone.
    title           text        NOT NULL CONSTRAINT series_title CHECK (char_length(title) BETWEEN 1 AND 200),
    description     text        NOT NULL CONSTRAINT series_description CHECK (char_length(description) <= 10000),
    location        text        NOT NULL CONSTRAINT series_location CHECK (char_length(location) <= 500),
    attendees       jsonb       NOT NULL CONSTRAINT series_attendees CHECK (jsonb_typeof(attendees) = 'array'),
    resource_ids    uuid[],
    buffer_before   integer     NOT NULL,
    buffer_after    integer     NOT NULL,
    transparent     boolean     NOT NULL,
    all_day         boolean     NOT NULL,
    -- DTSTART: the wall time in time_zone. How long each occurrence takes, in microseconds: exact time, or days if all_day.
    start_wall      timestamp   NOT NULL,
    length          bigint      NOT NULL CONSTRAINT series_length CHECK (length BETWEEN 1 AND 2678400000000),
    time_zone       text        NOT NULL,
    -- RRULE without its name; '': only the start and the added ones. Wall times, as RDATE and EXDATE.
    rule            text        NOT NULL,
    added           timestamp[] NOT NULL CONSTRAINT series_added CHECK (cardinality(added) <= 1000),
    excluded        timestamp[] NOT NULL CONSTRAINT series_excluded CHECK (cardinality(excluded) <= 1000),
    -- Whether it goes on beyond its rows: then a tail stands for it at each of its subjects. How far its rows go is not
    -- written here: two subjects' frontiers would both write it, and that deadlocks.
    endless         boolean     NOT NULL,
    -- The series that this one goes on from, after a change of "this and following".
    previous_id     uuid        CONSTRAINT series_previous REFERENCES series (id) ON DELETE SET NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    deleted_at      timestamptz,
    version         bigint      NOT NULL,
    actor_id        uuid,
    request_id      uuid,
    request_digest  bytea,
    CONSTRAINT series_of_owner UNIQUE (id, owner_id),
    CONSTRAINT series_recurs CHECK (rule <> '' OR cardinality(added) > 0),
    CONSTRAINT series_endless CHECK (NOT endless OR (deleted_at IS NULL AND rule <> '')),
    CONSTRAINT series_request CHECK ((request_id IS NULL) = (request_digest IS NULL))
);
CREATE INDEX series_by_owner ON series (owner_id, created_at, id);
CREATE INDEX series_by_previous ON series (previous_id) WHERE previous_id IS NOT NULL;
CREATE UNIQUE INDEX series_request_id ON series (owner_id, request_id) WHERE request_id IS NOT NULL;

-- Whose time a series takes: its owner's, and that of one certain unit of each of its resources, because a tail needs
-- one. What a series that takes no time has here is nothing.
CREATE TABLE series_subjects (
    series_id   uuid NOT NULL CONSTRAINT series_subjects_series REFERENCES series (id) ON DELETE CASCADE,
    subject_id  uuid NOT NULL CONSTRAINT series_subjects_subject REFERENCES subjects (id) ON DELETE CASCADE,
    -- Of a resource's unit: which resource.
    resource_id uuid,
    CONSTRAINT series_subjects_pkey PRIMARY KEY (series_id, subject_id)
);
CREATE INDEX series_subjects_by_subject ON series_subjects (subject_id);
CREATE INDEX series_subjects_by_resource ON series_subjects (resource_id) WHERE resource_id IS NOT NULL;

-- An occurrence is an appointment. A deleted one stays, so that it is not made again: it is the EXDATE.
ALTER TABLE appointments
    ADD COLUMN series_id         uuid,
    -- The wall time that the rule gave it (RECURRENCE-ID), and when that is by the zone's rules as they were known.
    ADD COLUMN occurs_wall         timestamp,
    ADD COLUMN original_start_at timestamptz,
    -- Which fields were changed for this occurrence alone: a change of the series leaves them as they are.
    ADD COLUMN overrides         text[],
    -- It is deleted though nobody deleted it: its time was taken when the series came here.
    ADD COLUMN skipped           boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT appointments_series FOREIGN KEY (series_id, owner_id) REFERENCES series (id, owner_id)
        ON DELETE CASCADE NOT VALID,
    ADD CONSTRAINT appointments_occurrence CHECK (
        (series_id IS NULL) = (occurs_wall IS NULL) AND (series_id IS NULL) = (original_start_at IS NULL)
        AND (series_id IS NULL) = (overrides IS NULL)
    ) NOT VALID,
    ADD CONSTRAINT appointments_skipped CHECK (NOT skipped OR (series_id IS NOT NULL AND deleted_at IS NOT NULL)) NOT VALID;
