-- Its partitions go with it.
DROP TABLE audit_logs;
