-- The months that the files' rows are in.
SELECT create_month_partitions('audit_logs', '2026-09-01', 3);
SELECT create_month_partitions('notifications', '2026-09-01', 3);
