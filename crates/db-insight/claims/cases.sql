-- The plans of claim insight-2: what must be found in each, and which must stay silent.
--
-- `case` begins one; `expect` lists its codes, `clean` says that nothing of warning or more may be said; `set` are
-- settings, `before` statements that run first. The statement is explained with ANALYZE and rolled back.

-- case: filter without an index
-- expect: seq_scan_filter_removes_most
-- fix: CREATE INDEX ON orders (status, amount)
SELECT * FROM orders WHERE status = 'failed' AND amount = 0;

-- case: filter without an index, in parallel
-- expect: seq_scan_filter_removes_most
-- set: min_parallel_table_scan_size = 0, parallel_setup_cost = 0, parallel_tuple_cost = 0
SELECT count(*) FROM items WHERE product = 7;

-- case: filter on a varchar column without an index
-- expect: seq_scan_filter_removes_most
SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.note = 'order number 5 of customer 19595';

-- case: columns that depend on each other
-- expect: row_misestimate
-- fix: CREATE STATISTICS city_region_depend (dependencies, mcv) ON city, region FROM orders; ANALYZE orders
-- set: work_mem = 64MB
SELECT count(*), sum(i.quantity) FROM orders o JOIN items i ON i.order_id = o.id
WHERE o.region = 'r31' AND o.city = 'city31';

-- case: a function hides the estimate of a join
-- expect: row_misestimate
SELECT count(*) FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id % 2 = 0 AND length(o.status) > 1;

-- case: statistics older than the rows
-- expect: stale_statistics
-- fix: ANALYZE young
SELECT count(*) FROM young WHERE state = 1;

-- case: statistics older than the rows, by date, in a join
-- expect: stale_statistics, row_misestimate
SELECT count(*) FROM young y JOIN fill f ON f.grp = y.id WHERE y.at > '2026-05-01';

-- case: sort on disk
-- expect: disk_sort
-- fix: SET LOCAL work_mem = '64MB'
-- set: work_mem = 1MB
SELECT * FROM orders ORDER BY note;

-- case: sort on disk in workers
-- expect: disk_sort
-- set: work_mem = 1MB, min_parallel_table_scan_size = 0, parallel_setup_cost = 0, parallel_tuple_cost = 0
SELECT id, note FROM orders ORDER BY note;

-- case: incremental sort on disk
-- expect: disk_sort
-- set: work_mem = 64kB, enable_sort = off
SELECT id, created_at, note FROM (SELECT id, date_trunc('year', created_at) AS created_at, note FROM orders ORDER BY 2) x ORDER BY created_at, note;

-- case: hash join in batches
-- expect: hash_batches_spill
-- fix: SET LOCAL work_mem = '64MB'
-- set: work_mem = 256kB, max_parallel_workers_per_gather = 0, enable_mergejoin = off, enable_nestloop = off
SELECT count(*) FROM items i JOIN orders o ON o.id = i.order_id WHERE o.note <> i.product::text;

-- case: hashed aggregate on disk
-- expect: hashagg_spill
-- fix: SET LOCAL work_mem = '128MB'
-- set: work_mem = 256kB, enable_sort = off, max_parallel_workers_per_gather = 0
SELECT note, count(*) FROM orders GROUP BY note;

-- case: hashed aggregate on disk in workers
-- expect: hashagg_spill
-- set: work_mem = 256kB, enable_sort = off, min_parallel_table_scan_size = 0, parallel_setup_cost = 0, parallel_tuple_cost = 0
SELECT order_id, count(*) FROM items GROUP BY order_id;

-- case: nested loop without a condition to look up
-- expect: nested_loop_explosion
SELECT count(*) FROM customers a JOIN tags t ON a.id + t.id = 77 OR a.id * t.id = 99;

-- case: nested loop over a misestimate
-- expect: nested_loop_explosion
-- fix: ANALYZE young; SET LOCAL enable_hashjoin = on
-- set: max_parallel_workers_per_gather = 0, enable_hashjoin = off, enable_mergejoin = off
SELECT count(*) FROM young y JOIN fill f ON f.id = y.id WHERE y.state = 1;

-- case: nested loop reads a table again and again
-- expect: nested_loop_explosion
-- set: enable_material = off, enable_hashjoin = off, enable_mergejoin = off, enable_memoize = off, max_parallel_workers_per_gather = 0
SELECT count(*) FROM tags t JOIN customers c ON c.country = t.name OR c.code = t.name;

-- case: bitmap does not fit
-- expect: lossy_bitmap
-- fix: SET LOCAL work_mem = '16MB'
-- set: work_mem = 64kB, enable_indexscan = off, enable_seqscan = off, max_parallel_workers_per_gather = 0
SELECT count(pad) FROM fill WHERE grp < 60000;

-- case: compiling costs more than it saves
-- pg: 15
-- expect: jit_overhead
-- fix: SET LOCAL jit = off
-- set: jit = on, jit_above_cost = 0, jit_inline_above_cost = 0, jit_optimize_above_cost = 0, max_parallel_workers_per_gather = 0
SELECT country, count(*), sum(id), avg(id), max(code) FROM customers
WHERE id < 15000 AND code <> 'x' GROUP BY country;

-- case: deleting a parent looks through all children
-- expect: missing_fk_index
-- fix: CREATE INDEX ON items (order_id)
DELETE FROM orders WHERE id BETWEEN 100 AND 105;

-- case: a page far behind
-- expect: offset_pagination
-- after: SELECT * FROM orders WHERE created_at > '2026-05-19 21:20+00' ORDER BY created_at LIMIT 20
SELECT * FROM orders ORDER BY created_at LIMIT 20 OFFSET 200000;

-- case: a page far behind, sorted
-- expect: offset_pagination
-- set: work_mem = 64MB, max_parallel_workers_per_gather = 0
SELECT id FROM orders ORDER BY amount, id LIMIT 20 OFFSET 100000;

-- case: lower on a column with an index
-- expect: function_on_indexed_column
-- fix: CREATE INDEX ON users (lower(email))
SELECT * FROM users WHERE lower(email) = 'user77@example.org';

-- case: date of a timestamp
-- expect: function_on_indexed_column
SELECT * FROM orders WHERE date(created_at) = '2026-02-01';

-- case: cast of a timestamp
-- expect: function_on_indexed_column
SELECT * FROM orders WHERE created_at::date = '2026-02-01';

-- case: cast of a key to text
-- expect: function_on_indexed_column
SELECT * FROM orders WHERE id::text = '4711';

-- case: arithmetic on a key
-- expect: function_on_indexed_column
SELECT * FROM orders WHERE id + 1 = 4711;

-- case: extract from a timestamp
-- expect: function_on_indexed_column
SELECT count(*) FROM orders WHERE extract(year FROM created_at) = 2027;

-- case: coalesce around a column
-- expect: function_on_indexed_column
SELECT count(*) FROM orders WHERE coalesce(customer_id, 0) = 12;

-- case: a subquery for each row
-- expect: correlated_subquery
-- after: SELECT c.id, o.n FROM customers c LEFT JOIN (SELECT customer_id, count(*) AS n FROM orders GROUP BY 1) o ON customer_id = c.id
SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) FROM customers c;

-- case: a subquery without an index for each row
-- expect: correlated_subquery
SELECT t.id, (SELECT max(i.quantity) FROM items i WHERE i.product = t.id) FROM tags t WHERE t.id < 12;

-- case: not in against a list that does not fit
-- expect: not_in_subplan
-- after: SELECT count(*) FROM tags t WHERE NOT EXISTS (SELECT FROM items i WHERE i.order_id = t.id AND i.product > 1)
-- set: work_mem = 64kB
SELECT count(*) FROM tags WHERE id NOT IN (SELECT order_id FROM items WHERE product > 1);

-- case: number compared with numeric
-- expect: implicit_cast
-- after: SELECT * FROM orders WHERE id = 4711
SELECT * FROM orders WHERE id = 4711.0;

-- case: number compared with a float
-- expect: implicit_cast
SELECT * FROM orders WHERE customer_id = 12::float8;

-- case: index only scan reads the table
-- expect: index_only_heap_fetches
-- fix: VACUUM churned
-- set: enable_seqscan = off, enable_bitmapscan = off, max_parallel_workers_per_gather = 0
SELECT count(v) FROM churned WHERE v BETWEEN 10 AND 90000;

-- case: no workers to be had
-- expect: workers_not_launched
-- fix: SET LOCAL max_parallel_workers = 8
-- set: max_parallel_workers = 0, min_parallel_table_scan_size = 0, parallel_setup_cost = 0, parallel_tuple_cost = 0, max_parallel_workers_per_gather = 2
SELECT count(*) FROM orders WHERE amount > 1;

-- case: index reads much that a filter drops
-- expect: index_filter_removes_most
-- fix: CREATE INDEX ON orders (status, created_at)
-- set: enable_bitmapscan = off, enable_seqscan = off, max_parallel_workers_per_gather = 0
SELECT id FROM orders WHERE created_at > '2026-02-01' AND status = 'failed' AND amount > 3;

-- case: bitmap reads much that a filter drops
-- expect: index_filter_removes_most
-- set: enable_indexscan = off, enable_seqscan = off, max_parallel_workers_per_gather = 0
SELECT id FROM orders WHERE created_at BETWEEN '2026-02-01' AND '2026-06-01' AND note LIKE 'order number 77777 %';

-- case: a CTE is made whole to read little
-- expect: materialized_cte
-- after: WITH all_orders AS NOT MATERIALIZED (SELECT * FROM orders) SELECT * FROM all_orders WHERE id = 4711
WITH all_orders AS MATERIALIZED (SELECT * FROM orders) SELECT * FROM all_orders WHERE id = 4711;

-- case: a CTE read twice is made whole
-- expect: materialized_cte
WITH sums AS (SELECT customer_id, sum(amount) AS total FROM orders GROUP BY customer_id)
SELECT a.total, b.total FROM sums a, sums b WHERE a.customer_id = 5 AND b.customer_id = 6;

-- case: limit hopes to find early
-- expect: limit_abort_early
-- fix: CREATE INDEX ON orders (region, status, created_at)
-- set: max_parallel_workers_per_gather = 0
SELECT * FROM orders WHERE status = 'paid' AND region = 'r30' AND amount > 90 ORDER BY created_at LIMIT 5;

-- case: pattern begins with a wildcard
-- expect: leading_wildcard
-- fix: CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE INDEX ON users USING gin (email gin_trgm_ops)
SELECT * FROM users WHERE email LIKE '%77@example.org' AND id > 5;

-- case: pattern in any case
-- expect: leading_wildcard
SELECT * FROM orders WHERE note ILIKE '%CUSTOMER 4711';

-- case: regular expression without an anchor
-- expect: leading_wildcard
SELECT * FROM orders WHERE note ~ 'customer 4711$';

-- case: all partitions are read
-- expect: partitions_not_pruned
-- after: SELECT * FROM events WHERE id = 4711 AND at >= '2025-01-17' AND at < '2025-01-18'
SELECT * FROM events WHERE id = 4711;

-- case: a function hides the partition key
-- expect: partitions_not_pruned
SELECT count(*) FROM events WHERE date_trunc('day', at) = '2026-02-03';

-- case: a trigger takes the time
-- expect: slow_trigger
-- fix: DROP TRIGGER watched_after ON watched; CREATE TRIGGER watched_once AFTER UPDATE ON watched FOR EACH STATEMENT EXECUTE FUNCTION slow()
UPDATE watched SET v = v + 1 WHERE id < 3000;

-- case: planning takes longer than running
-- expect: planning_time
-- fix: SET LOCAL join_collapse_limit = 1
-- set: join_collapse_limit = 12
SELECT count(*) FROM tags a JOIN tags b USING (name) JOIN tags c USING (name) JOIN tags d USING (name)
JOIN tags e USING (name) JOIN tags f USING (name) JOIN tags g USING (name) JOIN tags h USING (name)
JOIN tags i USING (name) JOIN tags j USING (name);

-- case: reads from the disk
-- expect: io_bound
-- fix: CREATE INDEX ON wide (k) INCLUDE (pad); SET LOCAL enable_indexscan = off
-- set: enable_seqscan = off, enable_bitmapscan = off, max_parallel_workers_per_gather = 0
SELECT count(pad) FROM wide WHERE k < 40000;

-- case: a prefix is searched
-- expect: prefix_pattern_without_index
-- fix: CREATE INDEX ON orders (note text_pattern_ops)
SELECT * FROM orders WHERE note LIKE 'order number 77777 %';

-- case: a field of a document is compared
-- expect: json_field_without_index
-- fix: CREATE INDEX ON docs ((body ->> 'kind'))
SELECT * FROM docs WHERE body ->> 'kind' = 'k77';

-- case: an index knows only about where the rows are
-- expect: recheck_removes_most
-- fix: CREATE INDEX ON readings (v)
-- set: enable_seqscan = off, max_parallel_workers_per_gather = 0
SELECT * FROM readings WHERE v BETWEEN 100 AND 120;

-- case: rows of a function do not fit into memory
-- expect: tuplestore_on_disk
-- fix: SET LOCAL work_mem = '64MB'
-- set: work_mem = 64kB
SELECT count(*) FROM generate_series(1, 300000) n;

-- case: a cache of inner rows is too small
-- expect: memoize_misses
-- fix: ALTER TABLE visits ALTER customer_id RESET (n_distinct); ANALYZE visits; SET LOCAL enable_hashjoin = on
-- set: work_mem = 64kB, enable_hashjoin = off, enable_mergejoin = off, max_parallel_workers_per_gather = 0
SELECT count(c.email) FROM visits v JOIN customers c ON c.id = v.customer_id;

-- case: all rows are sorted to return ten
-- expect: sort_for_few
-- fix: CREATE INDEX ON orders (amount)
-- set: max_parallel_workers_per_gather = 0
SELECT * FROM orders ORDER BY amount LIMIT 10;

-- case: a query without a bound
-- expect: unbounded_result
-- after: SELECT id, status FROM orders WHERE id > 4711 ORDER BY id LIMIT 100
SELECT id, status FROM orders;

-- case: all columns are asked for
-- expect: select_star
-- after: SELECT email FROM customers ORDER BY email LIMIT 100
SELECT * FROM customers ORDER BY email LIMIT 100;

-- case: lookup by key
-- clean
SELECT * FROM orders WHERE id = 4711;

-- case: range by index
-- clean
SELECT * FROM orders WHERE created_at BETWEEN '2026-02-01' AND '2026-02-02' ORDER BY created_at;

-- case: first page
-- clean
SELECT * FROM orders ORDER BY created_at DESC LIMIT 20;

-- case: second page
-- clean
SELECT * FROM orders ORDER BY created_at DESC LIMIT 20 OFFSET 40;

-- case: all rows are wanted
-- clean
SELECT status, count(*), sum(amount) FROM orders GROUP BY status;

-- case: hash join of whole tables
-- clean
-- set: work_mem = 64MB
SELECT c.country, count(*) FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country;

-- case: merge join that stops early
-- clean
-- set: enable_hashjoin = off, enable_nestloop = off
SELECT count(*) FROM customers c JOIN orders o ON o.id = c.id;

-- case: nested loop for few
-- clean
SELECT o.*, c.email FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.created_at BETWEEN '2026-02-01 00:00' AND '2026-02-01 01:00';

-- case: top of a customer's orders
-- clean
SELECT * FROM orders WHERE customer_id = 77 ORDER BY created_at DESC LIMIT 5;

-- case: pruned at planning
-- clean
SELECT count(*) FROM events WHERE at BETWEEN '2026-02-03' AND '2026-02-04';

-- case: pruned at running
-- clean
-- before: PREPARE p(timestamptz) AS SELECT count(*) FROM events WHERE at BETWEEN $1 AND $1 + interval '1 day'; SET plan_cache_mode = force_generic_plan
EXECUTE p('2026-02-03');

-- case: exists
-- clean
SELECT count(*) FROM customers c WHERE c.id < 500 AND EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id);

-- case: sort in memory
-- clean
-- set: work_mem = 64MB
SELECT id, email FROM customers ORDER BY code;

-- case: deleting a parent with an index on its children
-- clean
DELETE FROM payments WHERE id < 300;

-- case: in parallel
-- clean
-- set: min_parallel_table_scan_size = 0, parallel_setup_cost = 0, parallel_tuple_cost = 0
SELECT count(*) FROM orders WHERE amount > 1;

-- case: scalar subquery
-- clean
SELECT count(*) FROM customers WHERE created_at > (SELECT min(created_at) FROM orders);

-- case: CTE used twice, small
-- clean
WITH few AS (SELECT id FROM customers WHERE id < 50) SELECT count(*) FROM few a JOIN few b ON a.id = b.id + 1;

-- case: recursion
-- clean
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) SELECT count(*) FROM n JOIN customers c ON c.id = n.i;

-- case: union of indexes
-- clean
SELECT id FROM orders WHERE customer_id = 3 OR id = 99;

-- case: insert of rows
-- clean
INSERT INTO payments SELECT i + 100000, i + 60000, true FROM generate_series(1, 200) i;

-- case: never executed
-- clean
SELECT * FROM orders o WHERE false OR o.id = (SELECT id FROM customers WHERE id = -1);

-- case: not exists
-- clean
SELECT count(*) FROM tags t WHERE NOT EXISTS (SELECT FROM customers c WHERE c.id = t.id);

-- case: a small table is read as a whole
-- clean
SELECT * FROM tags WHERE name = 'tag7';
