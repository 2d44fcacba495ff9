-- Invitations between accounts: whose calendars show an appointment beside its owner's. A trigger keeps it so on every path.
--
-- Nobody writes appointments for a moment, while the triggers are made.

-- The people of `appointments.attendees`, as far as they are invited now: an index over that list, which PostgreSQL has no
-- kind of index for. Deleted appointments, holds and occurrences of a series have no rows here.
CREATE TABLE invitees (
    appointment_id uuid        NOT NULL CONSTRAINT invitees_appointment REFERENCES appointments (id) ON DELETE CASCADE,
    -- Folded: the same in every spelling.
    address        text        NOT NULL,
    -- Whose confirmed address it is; NULL: nobody's yet.
    user_id        uuid        CONSTRAINT invitees_user REFERENCES users (id) ON DELETE SET NULL,
    -- When the appointment is: lists are read in this order.
    starts_at      timestamptz NOT NULL,
    ends_at        timestamptz NOT NULL,
    -- They stay accepted when the appointment moves to a time at which they are free.
    follows        boolean     NOT NULL DEFAULT false,
    CONSTRAINT invitees_pkey PRIMARY KEY (appointment_id, address)
);
CREATE INDEX invitees_by_user ON invitees (user_id, starts_at, appointment_id) WHERE user_id IS NOT NULL;
-- Whoever confirms an address finds what it was invited to.
CREATE INDEX invitees_unknown ON invitees (address) WHERE user_id IS NULL;

-- Appointments without attendees never get here. Those who are invited are told in the log of changes as well, by rows
-- that are written while the appointment's row is locked: so they are in the order of its versions.
CREATE FUNCTION appointments_invite() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_open   boolean := NEW.deleted_at IS NULL AND NEW.expires_at IS NULL;
    addresses text[]  := ARRAY(SELECT lower(btrim(guest ->> 'email')) FROM jsonb_array_elements(NEW.attendees) AS guest);
    happened  text    := 'appointment.updated';
BEGIN
    IF is_open THEN
        -- Whoever is confirming one of these addresses either has done so by now, or waits and then finds the new rows.
        PERFORM FROM users
        WHERE email = ANY (addresses) AND email_verified_at IS NULL AND id <> NEW.owner_id
        ORDER BY id FOR SHARE;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF OLD.attendees <> NEW.attendees AND (
            SELECT array_agg(guest - 'response' - 'comment') FROM jsonb_array_elements(OLD.attendees) AS guest
        ) IS NOT DISTINCT FROM (
            SELECT array_agg(guest - 'response' - 'comment') FROM jsonb_array_elements(NEW.attendees) AS guest
        ) AND (OLD.start_at, OLD.end_at, OLD.transparent) = (NEW.start_at, NEW.end_at, NEW.transparent) THEN
            happened := 'appointment.responded';
        END IF;
        WITH gone AS (
            DELETE FROM invitees WHERE appointment_id = NEW.id AND NOT (is_open AND address = ANY (addresses))
            RETURNING user_id
        )
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, changed_at)
        SELECT user_id, CASE WHEN NEW.deleted_at IS NULL THEN 'appointment.removed' ELSE 'appointment.deleted' END,
               NEW.id, NEW.version, coalesce(NEW.actor_id, NEW.owner_id), NEW.updated_at
        FROM gone WHERE user_id IS NOT NULL;
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, changed_at)
        SELECT user_id, happened, NEW.id, NEW.version, coalesce(NEW.actor_id, NEW.owner_id), NEW.updated_at
        FROM invitees WHERE appointment_id = NEW.id AND user_id IS NOT NULL;
        UPDATE invitees SET starts_at = NEW.start_at, ends_at = NEW.end_at
        WHERE appointment_id = NEW.id AND (starts_at, ends_at) <> (NEW.start_at, NEW.end_at);
        happened := CASE WHEN OLD.deleted_at IS NULL THEN 'appointment.created' ELSE 'appointment.undeleted' END;
    ELSE
        happened := 'appointment.created';
    END IF;
    IF is_open THEN
        WITH asked AS (
            INSERT INTO invitees (appointment_id, address, user_id, starts_at, ends_at)
            SELECT NEW.id, address, users.id, NEW.start_at, NEW.end_at
            FROM unnest(addresses) AS address
            LEFT JOIN users ON users.email = address AND users.email_verified_at IS NOT NULL
            WHERE users.id IS DISTINCT FROM NEW.owner_id
            ORDER BY address
            ON CONFLICT ON CONSTRAINT invitees_pkey DO NOTHING
            RETURNING user_id
        )
        INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, changed_at)
        SELECT user_id, happened, NEW.id, NEW.version, coalesce(NEW.actor_id, NEW.owner_id), NEW.updated_at
        FROM asked WHERE user_id IS NOT NULL;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER appointments_invite_new AFTER INSERT ON appointments FOR EACH ROW
    WHEN (NEW.attendees <> '[]' AND NEW.series_id IS NULL) EXECUTE FUNCTION appointments_invite();
CREATE TRIGGER appointments_invite_again AFTER UPDATE ON appointments FOR EACH ROW
    WHEN ((OLD.attendees <> '[]' OR NEW.attendees <> '[]') AND NEW.series_id IS NULL)
    EXECUTE FUNCTION appointments_invite();

-- Whoever confirms an address sees what it was invited to before, whichever path confirms it.
CREATE FUNCTION users_find_invitations() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH found AS (
        UPDATE invitees SET user_id = NEW.id
        FROM appointments
        WHERE address = NEW.email AND user_id IS NULL AND appointments.id = appointment_id AND owner_id <> NEW.id
        RETURNING appointments.id, version, coalesce(actor_id, owner_id) AS actor_id
    )
    INSERT INTO new_changes (calendar_id, kind, item_id, version, actor_id, changed_at)
    SELECT NEW.id, 'appointment.created', id, version, actor_id, now() FROM found;
    RETURN NULL;
END
$$;

CREATE TRIGGER users_find_invitations AFTER UPDATE OF email, email_verified_at ON users FOR EACH ROW
    WHEN (NEW.email_verified_at IS NOT NULL AND (
        OLD.email_verified_at IS NULL OR OLD.email IS DISTINCT FROM NEW.email
    ))
    EXECUTE FUNCTION users_find_invitations();
