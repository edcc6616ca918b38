DROP FUNCTION create_month_partitions(regclass, date, int);
DROP FUNCTION touch_updated_at();
DROP EXTENSION pg_trgm;
