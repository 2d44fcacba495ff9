-- Who was invited before to what is still to come. It reads all appointments, and locks nothing that others want. What
-- they had accepted takes no time of theirs until they answer again.

INSERT INTO invitees (appointment_id, address, user_id, starts_at, ends_at)
SELECT appointments.id, address, users.id, start_at, end_at
FROM appointments
CROSS JOIN LATERAL (
    SELECT DISTINCT lower(btrim(guest ->> 'email')) AS address FROM jsonb_array_elements(attendees) AS guest
) AS guests
LEFT JOIN users ON users.email = address AND users.email_verified_at IS NOT NULL
WHERE attendees <> '[]' AND series_id IS NULL AND deleted_at IS NULL AND expires_at IS NULL AND end_at > now()
  AND users.id IS DISTINCT FROM owner_id
ON CONFLICT ON CONSTRAINT invitees_pkey DO NOTHING;
