-- Whoever was invited in the moment in which their account was deleted made the invitation fail.
CREATE OR REPLACE FUNCTION appointments_invite() RETURNS trigger LANGUAGE plpgsql AS $$
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
        -- And whoever's account is being deleted is waited for, and then is an address alone.
        PERFORM FROM users
        WHERE email = ANY (addresses) AND email_verified_at IS NOT NULL AND id <> NEW.owner_id
        ORDER BY id FOR KEY SHARE;
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
            INSERT INTO invitees (appointment_id, address, user_id, starts_at, ends_at, follows)
            SELECT NEW.id, address, users.id, NEW.start_at, NEW.end_at, coalesce(address = ANY (series.followers), false)
            FROM unnest(addresses) AS address
            LEFT JOIN series ON series.id = NEW.series_id
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
