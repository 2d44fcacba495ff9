-- Imports: which appointment or series came from which UID of an iCalendar file, so that a file can be imported again.

CREATE TABLE imported_items (
    owner_id       uuid NOT NULL CONSTRAINT imported_items_owner REFERENCES users (id) ON DELETE CASCADE,
    uid            text NOT NULL CONSTRAINT imported_items_uid CHECK (char_length(uid) BETWEEN 1 AND 1000),
    -- Of an occurrence whose series was not in the file: its RECURRENCE-ID as the file has it.
    recurrence_id  text NOT NULL CONSTRAINT imported_items_recurrence_id CHECK (char_length(recurrence_id) <= 1000),
    appointment_id uuid CONSTRAINT imported_items_appointment REFERENCES appointments (id) ON DELETE CASCADE,
    series_id      uuid CONSTRAINT imported_items_series REFERENCES series (id) ON DELETE CASCADE,
    CONSTRAINT imported_items_pkey PRIMARY KEY (owner_id, uid, recurrence_id),
    CONSTRAINT imported_items_one CHECK ((appointment_id IS NULL) <> (series_id IS NULL))
);
CREATE INDEX imported_items_by_appointment ON imported_items (appointment_id) WHERE appointment_id IS NOT NULL;
CREATE INDEX imported_items_by_series ON imported_items (series_id) WHERE series_id IS NOT NULL;
