-- What happened to accounts: sign-ins and their failures, sessions ended, passwords, addresses, roles, keys, exports.
--
-- Rows are only ever added. There is no foreign key, because they outlive the account that they are about; what makes
-- a person known (address, device, e-mail address) goes with it, and that is the one change that the trigger lets pass.

CREATE TABLE audit (
    id         bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pkey PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    event      text        NOT NULL CONSTRAINT audit_event CHECK (char_length(event) BETWEEN 1 AND 50),
    -- Whose account it is about; NULL: a sign-in with an address that has none.
    user_id    uuid,
    -- Who did it; NULL: nobody who was signed in.
    actor_id   uuid,
    -- By which way: rpc, http, command or service (the service itself).
    source     text        NOT NULL CONSTRAINT audit_source CHECK (source IN ('rpc', 'http', 'command', 'service')),
    request_id text,
    -- Facts about no person: reasons, scopes, ids of sessions and keys.
    detail     jsonb       NOT NULL DEFAULT '{}',
    address    text,
    user_agent text,
    -- The address that an account had before.
    email      text
);

CREATE INDEX audit_by_user ON audit (user_id, id);
CREATE INDEX audit_by_actor ON audit (actor_id) WHERE actor_id <> user_id;
CREATE INDEX audit_by_time ON audit (recorded_at);
-- Deletions that still say from where they were asked for.
CREATE INDEX audit_deletions ON audit (recorded_at) WHERE event = 'account.deleted' AND address IS NOT NULL;

-- Even the service's own SQL cannot rewrite what was recorded, nor take anything out of the last 30 days.
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.address IS NULL AND NEW.user_agent IS NULL AND NEW.email IS NULL
            AND (NEW.id, NEW.recorded_at, NEW.event, NEW.source, NEW.detail)
                = (OLD.id, OLD.recorded_at, OLD.event, OLD.source, OLD.detail)
            AND NEW.user_id IS NOT DISTINCT FROM OLD.user_id
            AND NEW.actor_id IS NOT DISTINCT FROM OLD.actor_id
            AND NEW.request_id IS NOT DISTINCT FROM OLD.request_id
        THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        IF OLD.recorded_at < now() - interval '30 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit table is append-only' USING ERRCODE = 'restrict_violation';
END;
$$;

CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
