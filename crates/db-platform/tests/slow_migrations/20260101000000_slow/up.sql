-- Longer than a statement of the service may take.
SELECT pg_sleep(1.5);
