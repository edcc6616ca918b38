-- notification_id has no foreign key: one that points at a partitioned table makes every DETACH and DROP of a month
-- of notifications scan this table. A delivery whose notification has been retired is history, not an error.
CREATE TABLE notification_deliveries (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    recipient_id uuid NOT NULL,
    notification_id uuid NOT NULL,
    channel text NOT NULL,
    status text NOT NULL DEFAULT 'queued',
    attempts int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    CONSTRAINT notification_deliveries_pkey PRIMARY KEY (recipient_id, id),
    CONSTRAINT notification_deliveries_recipient_id_fkey FOREIGN KEY (recipient_id) REFERENCES users (id),
    CONSTRAINT notification_deliveries_channel_check CHECK (channel IN ('in_app', 'email', 'push', 'sms')),
    CONSTRAINT notification_deliveries_status_check CHECK (status IN ('queued', 'sent', 'failed')),
    CONSTRAINT notification_deliveries_attempts_check CHECK (attempts >= 0),
    CONSTRAINT notification_deliveries_sent_at_check CHECK ((status = 'sent') = (sent_at IS NOT NULL))
) PARTITION BY HASH (recipient_id);

CREATE TABLE notification_deliveries_0 PARTITION OF notification_deliveries FOR VALUES WITH (MODULUS 4, REMAINDER 0);
CREATE TABLE notification_deliveries_1 PARTITION OF notification_deliveries FOR VALUES WITH (MODULUS 4, REMAINDER 1);
CREATE TABLE notification_deliveries_2 PARTITION OF notification_deliveries FOR VALUES WITH (MODULUS 4, REMAINDER 2);
CREATE TABLE notification_deliveries_3 PARTITION OF notification_deliveries FOR VALUES WITH (MODULUS 4, REMAINDER 3);

-- CONCURRENTLY is not possible on a partitioned table, so the index is made here, while the table is empty.
CREATE INDEX notification_deliveries_recipient_created_idx
    ON notification_deliveries (recipient_id, created_at DESC);
