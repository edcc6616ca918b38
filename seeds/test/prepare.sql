-- The month that the files' rows are in.
SELECT create_month_partitions('audit_logs', '2026-11-01', 1);
SELECT create_month_partitions('notifications', '2026-11-01', 1);
