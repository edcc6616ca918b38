CREATE TABLE notifications (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    organization_id uuid NOT NULL,
    recipient_id uuid NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    body text NOT NULL DEFAULT '',
    read_at timestamptz,
    CONSTRAINT notifications_pkey PRIMARY KEY (id, created_at),
    CONSTRAINT notifications_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT notifications_recipient_id_fkey FOREIGN KEY (recipient_id) REFERENCES users (id),
    CONSTRAINT notifications_kind_check CHECK (kind IN ('mention', 'assignment', 'reminder', 'security', 'system')),
    CONSTRAINT notifications_title_check CHECK (length(title) BETWEEN 1 AND 200),
    CONSTRAINT notifications_read_at_check CHECK (read_at >= created_at)
) PARTITION BY RANGE (created_at);

-- CONCURRENTLY is not possible on a partitioned table, so the index is made here, while the table is empty.
-- New partitions get it from create_month_partitions.
CREATE INDEX notifications_recipient_created_idx ON notifications (recipient_id, created_at DESC);

-- Last month to a year ahead. Whoever inserts further away makes the partitions first: there is no default one.
SELECT create_month_partitions('notifications', (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month')::date, 14);
