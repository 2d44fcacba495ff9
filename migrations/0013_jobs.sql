-- Jobs: what must happen later, or outside of a request. A row is written in the transaction of the change that causes it.

CREATE TABLE jobs (
    id          bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT jobs_pkey PRIMARY KEY,
    kind        text        NOT NULL CONSTRAINT jobs_kind CHECK (char_length(kind) BETWEEN 1 AND 100),
    -- Of one kind and key there is one job: who defers it again joins it. NULL: each is a job of its own.
    key         text        CONSTRAINT jobs_key CHECK (char_length(key) <= 500),
    payload     jsonb       NOT NULL CONSTRAINT jobs_payload CHECK (jsonb_typeof(payload) = 'object'),
    -- When it may be run. A worker that takes it moves this past the end of its lease, so a dead worker's job comes back.
    due_at      timestamptz NOT NULL,
    -- Which run has it now; NULL: none.
    lease       uuid,
    -- It was deferred again while it ran, so it runs once more.
    again_at    timestamptz,
    attempts    integer     NOT NULL DEFAULT 0,
    deferred_at timestamptz NOT NULL,
    -- Given up, and why. The row stays for a while, for whoever looks.
    failed_at   timestamptz,
    error       text,
    CONSTRAINT jobs_once UNIQUE (kind, key),
    CONSTRAINT jobs_again CHECK (again_at IS NULL OR lease IS NOT NULL),
    CONSTRAINT jobs_failed CHECK (failed_at IS NULL OR (lease IS NULL AND error IS NOT NULL))
);

CREATE INDEX jobs_due ON jobs (due_at) WHERE failed_at IS NULL;
