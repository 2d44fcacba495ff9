-- Who was invited before to occurrences that are still to come. It reads all appointments, and locks nothing that others want.

INSERT INTO invitees (appointment_id, address, user_id, starts_at, ends_at)
SELECT appointments.id, address, users.id, start_at, end_at
FROM appointments
CROSS JOIN LATERAL (
    SELECT DISTINCT lower(btrim(guest ->> 'email')) AS address FROM jsonb_array_elements(attendees) AS guest
) AS guests
LEFT JOIN users ON users.email = address AND users.email_verified_at IS NOT NULL
WHERE attendees <> '[]' AND series_id IS NOT NULL AND deleted_at IS NULL AND end_at > now()
  AND users.id IS DISTINCT FROM owner_id
ON CONFLICT ON CONSTRAINT invitees_pkey DO NOTHING;

-- What somebody with an account has accepted of them takes their time from now on. Where it is taken, they are asked anew.
INSERT INTO jobs (kind, payload, due_at, deferred_at)
SELECT DISTINCT 'invitations.settle', jsonb_build_object('user_id', user_id), now(), now()
FROM invitees
JOIN appointments ON appointments.id = appointment_id
CROSS JOIN LATERAL jsonb_array_elements(attendees) AS guest
WHERE user_id IS NOT NULL AND series_id IS NOT NULL AND NOT transparent AND guest ->> 'response' = 'ACCEPTED'
  AND lower(btrim(guest ->> 'email')) = address;
