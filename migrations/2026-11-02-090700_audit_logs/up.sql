CREATE TABLE audit_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    organization_id uuid NOT NULL,
    user_id uuid,
    action text NOT NULL,
    entity_type text NOT NULL,
    entity_id uuid NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    ip_address inet,
    CONSTRAINT audit_logs_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT audit_logs_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT audit_logs_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT audit_logs_action_check CHECK (action <> ''),
    CONSTRAINT audit_logs_entity_type_check CHECK (entity_type <> '')
) PARTITION BY RANGE (created_at);

-- CONCURRENTLY is not possible on a partitioned table, so the index is made here, while the table is empty.
-- New partitions get it from create_month_partitions.
CREATE INDEX audit_logs_user_created_idx ON audit_logs (user_id, created_at DESC);
CREATE INDEX audit_logs_organization_created_idx ON audit_logs (organization_id, created_at DESC);

-- Last month to a year ahead. Whoever inserts further away makes the partitions first: there is no default one.
SELECT create_month_partitions('audit_logs', (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date, 14);
