-- The generated months: half a year before the anchor, and the anchor's own.
SELECT create_month_partitions('audit_logs', '2026-05-01', 7);
SELECT create_month_partitions('notifications', '2026-05-01', 7);
