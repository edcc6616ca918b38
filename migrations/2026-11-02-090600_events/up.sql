CREATE TABLE events (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    aggregate_type text NOT NULL,
    aggregate_id uuid NOT NULL,
    version int NOT NULL,
    event_type text NOT NULL,
    payload jsonb NOT NULL DEFAULT '{}',
    organization_id uuid NOT NULL,
    user_id uuid,
    correlation_id uuid NOT NULL DEFAULT gen_random_uuid(),
    processed boolean NOT NULL DEFAULT false,
    retry_count int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    -- Two writers of one aggregate: the second gets 23505 and reloads. Also the index of the aggregate's timeline.
    CONSTRAINT events_aggregate_version_key UNIQUE (aggregate_type, aggregate_id, version),
    CONSTRAINT events_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT events_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT events_aggregate_type_check CHECK (aggregate_type <> ''),
    CONSTRAINT events_event_type_check CHECK (event_type <> ''),
    CONSTRAINT events_version_check CHECK (version > 0),
    CONSTRAINT events_retry_count_check CHECK (retry_count >= 0),
    CONSTRAINT events_payload_check CHECK (jsonb_typeof(payload) = 'object')
);
