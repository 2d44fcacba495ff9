-- Appointments say what; bookings say who is taken when, and refuse whoever would be taken twice.

CREATE TABLE appointments (
    id             uuid        CONSTRAINT appointments_pkey PRIMARY KEY,
    owner_id       uuid        NOT NULL CONSTRAINT appointments_owner REFERENCES users (id) ON DELETE CASCADE,
    title          text        NOT NULL,
    description    text        NOT NULL,
    location       text        NOT NULL,
    start_at       timestamptz NOT NULL,
    end_at         timestamptz NOT NULL,
    time_zone      text        NOT NULL,
    attendees      jsonb       NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted_at     timestamptz,
    version        bigint      NOT NULL,
    request_id     uuid,
    request_digest bytea,
    CONSTRAINT appointments_order CHECK (start_at < end_at),
    -- Lists rely on it: what overlaps an instant began at most this long before it.
    CONSTRAINT appointments_length CHECK (end_at - start_at <= interval '31 days'),
    CONSTRAINT appointments_years CHECK (start_at >= '1970-01-01 00:00:00+00' AND end_at <= '2101-01-01 00:00:00+00'),
    CONSTRAINT appointments_title CHECK (char_length(title) BETWEEN 1 AND 200),
    CONSTRAINT appointments_description CHECK (char_length(description) <= 10000),
    CONSTRAINT appointments_location CHECK (char_length(location) <= 500),
    CONSTRAINT appointments_attendees CHECK (jsonb_typeof(attendees) = 'array' AND jsonb_array_length(attendees) <= 100),
    CONSTRAINT appointments_request CHECK ((request_id IS NULL) = (request_digest IS NULL))
);

-- The order of a list. All of an owner's rows, deleted ones too: the cascade of a deleted account needs it as well.
CREATE INDEX appointments_by_owner ON appointments (owner_id, start_at, id);

-- AIP-155: one appointment per request id of an owner.
CREATE UNIQUE INDEX appointments_request_id ON appointments (owner_id, request_id) WHERE request_id IS NOT NULL;

CREATE TABLE bookings (
    appointment_id uuid      NOT NULL CONSTRAINT bookings_appointment REFERENCES appointments (id) ON DELETE CASCADE,
    subject_id     uuid      NOT NULL CONSTRAINT bookings_subject REFERENCES subjects (id) ON DELETE CASCADE,
    during         tstzrange NOT NULL,
    CONSTRAINT bookings_pkey PRIMARY KEY (appointment_id, subject_id),
    -- An empty range overlaps nothing, so it would slip past the constraint below.
    CONSTRAINT bookings_during CHECK (
        NOT isempty(during) AND NOT lower_inf(during) AND NOT upper_inf(during)
        AND lower_inc(during) AND NOT upper_inc(during)
    ),
    -- The promise of this service. It is not deferrable: ON CONFLICT needs it so.
    CONSTRAINT bookings_no_overlap EXCLUDE USING gist (subject_id WITH =, during WITH &&)
);
