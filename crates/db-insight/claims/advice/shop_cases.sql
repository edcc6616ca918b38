-- The statements of claim insight-1 on the schema of shop.sql: which an index helps, and which none does.
--
-- `case` begins one; `params` are its literals, `proof` stands for what EXPLAIN does not show, and `none` marks what
-- must get no advice.

-- case: eq
-- params: 42
SELECT * FROM orders WHERE customer_id=$1;

-- case: eq_generic
SELECT * FROM orders WHERE customer_id=$1;

-- case: eq_order
-- params: 42
SELECT id,total FROM orders WHERE customer_id=$1 ORDER BY created_at DESC LIMIT 10;

-- case: eq_range
SELECT sum(total) FROM orders WHERE customer_id=42 AND created_at>='2025-03-01' AND created_at<'2025-04-01';

-- case: partial
SELECT id FROM orders WHERE status='pending' ORDER BY created_at LIMIT 20;

-- case: partial_null
SELECT id FROM orders WHERE shipped_at IS NULL ORDER BY id LIMIT 100;

-- case: partial_bool
SELECT id,email FROM customers WHERE NOT active;

-- case: order_limit
SELECT * FROM orders ORDER BY total DESC LIMIT 10;

-- case: order_nulls
SELECT * FROM orders ORDER BY total DESC NULLS LAST, id LIMIT 10;

-- case: keyset
SELECT * FROM orders WHERE (created_at,id)<('2025-05-01',100000) ORDER BY created_at DESC,id DESC LIMIT 20;

-- case: lower
-- params: 'User77@Example.com'
SELECT * FROM customers WHERE lower(email)=lower($1);

-- case: like_prefix
SELECT * FROM customers WHERE name LIKE 'name abc%';

-- case: like_sub
SELECT * FROM orders WHERE note LIKE '%deadbe%';

-- case: ilike
SELECT * FROM orders WHERE note ILIKE '%deadbe%';

-- case: fts_col
SELECT id FROM docs WHERE tsv @@ to_tsquery('english','word5 & thing777');

-- case: fts_expr
SELECT id FROM docs WHERE to_tsvector('english', body) @@ plainto_tsquery('english','word55');

-- case: json_contains
SELECT id FROM orders WHERE data @> '{"k": 77}';

-- case: json_arrow
SELECT id FROM orders WHERE data->>'src' = 'web77';

-- case: array
SELECT id FROM orders WHERE tags @> ARRAY['t77'];

-- case: range_overlap
SELECT * FROM bookings WHERE during && tstzrange('2025-02-01','2025-02-01 03:00');

-- case: brin
SELECT count(*) FROM logs WHERE at >= '2025-01-02' AND at < '2025-01-02 06:00';

-- case: join
SELECT o.id, i.sku FROM orders o JOIN order_items i ON i.order_id=o.id WHERE o.id=77;

-- case: join2
SELECT c.email, sum(o.total) FROM customers c JOIN orders o ON o.customer_id=c.id WHERE c.org_id=7 GROUP BY 1;

-- case: or
SELECT * FROM orders WHERE customer_id=5 OR note='x';

-- case: minmax
SELECT max(total) FROM orders;

-- case: minmax_eq
SELECT max(created_at) FROM orders WHERE customer_id=5;

-- case: exists
SELECT c.id FROM customers c WHERE c.id<50 AND EXISTS (SELECT 1 FROM orders o WHERE o.customer_id=c.id AND o.status='failed');

-- case: lateral
SELECT c.id,x.id FROM customers c CROSS JOIN LATERAL (SELECT o.id FROM orders o WHERE o.customer_id=c.id ORDER BY o.created_at DESC LIMIT 3) x WHERE c.org_id=7;

-- case: corr
SELECT c.id,(SELECT count(*) FROM orders o WHERE o.customer_id=c.id) FROM customers c WHERE c.id<20;

-- case: fk_delete
-- params: 7
-- proof: SELECT 1 FROM ONLY orders x WHERE 7 = customer_id FOR KEY SHARE OF x
DELETE FROM customers WHERE id=$1;

-- case: update
-- params: 9
UPDATE orders SET status='paid' WHERE customer_id=$1 AND status='pending';

-- case: in_list
SELECT * FROM order_items WHERE sku IN ('sku1','sku2','sku3');

-- case: part_parent
SELECT * FROM events WHERE user_id=77 ORDER BY at DESC LIMIT 5;

-- case: cast_date
SELECT count(*) FROM orders WHERE (created_at AT TIME ZONE 'UTC')::date='2025-03-03';

-- case: cte
WITH r AS (SELECT * FROM orders WHERE customer_id=77) SELECT count(*) FROM r;

-- case: distinct_on
SELECT DISTINCT ON (customer_id) customer_id, created_at FROM orders WHERE customer_id<50 ORDER BY customer_id, created_at DESC;

-- case: mixed
SELECT * FROM orders WHERE customer_id=5 ORDER BY status, created_at DESC LIMIT 10;

-- case: neq_partial
SELECT id FROM orders WHERE status<>'paid' AND created_at>'2025-06-20';

-- case: cover
SELECT customer_id,total FROM orders WHERE customer_id BETWEEN 100 AND 5000;

-- case: eq_join_filter
SELECT o.id FROM orders o JOIN customers c ON c.id=o.customer_id WHERE c.email='User5@Example.com';

-- case: k_small
-- none: yes
SELECT * FROM small WHERE id=5;

-- case: k_never
-- none: yes
SELECT * FROM never WHERE id=5;

-- case: k_pk
-- none: yes
SELECT * FROM orders WHERE id=5;

-- case: k_lowsel
-- none: yes
SELECT * FROM orders WHERE status='paid';

-- case: k_lowsel2
-- none: yes
SELECT * FROM customers WHERE country='de';

-- case: k_volatile
-- none: yes
SELECT * FROM orders WHERE total < random();

-- case: k_all
-- none: yes
SELECT count(*) FROM orders;

-- case: k_existing
-- none: yes
SELECT * FROM dup WHERE a=5 AND b=7;

-- case: k_existing2
-- none: yes
SELECT * FROM dup WHERE b=7 AND a=5 ORDER BY b;

-- case: k_existing_expr
-- none: yes
SELECT * FROM dup WHERE a+b=7;

-- case: k_desc
-- none: yes
SELECT * FROM dup ORDER BY id DESC LIMIT 5;

-- case: k_unique
-- none: yes
SELECT * FROM dup WHERE c=7 AND b=3;

-- case: k_insert
-- none: yes
INSERT INTO small VALUES (1,'a');

-- case: k_join_all
-- none: yes
SELECT count(*) FROM orders o JOIN customers c ON c.id=o.customer_id;

-- case: k_group
-- none: yes
SELECT status,count(*) FROM orders GROUP BY 1;

-- case: k_notin
-- none: yes
SELECT count(*) FROM orders WHERE status<>'failed';

-- case: k_stable_cast
-- none: yes
SELECT count(*) FROM orders WHERE created_at::date='2025-03-03';

-- case: k_stable_trunc
-- none: yes
SELECT count(*) FROM orders WHERE date_trunc('day',created_at)='2025-03-03';

-- case: k_like2
-- none: yes
SELECT * FROM orders WHERE note LIKE '%ab%';

-- case: k_syntax
-- none: yes
SELEC 1;

-- case: k_catalog
-- none: yes
SELECT * FROM pg_class WHERE relname='x';

-- case: k_offset
-- none: yes
SELECT * FROM orders ORDER BY id LIMIT 10 OFFSET 1000;

-- case: k_update_pk
-- params: 5
-- none: yes
UPDATE orders SET status='x' WHERE id=$1;

-- case: k_any_col
-- none: yes
SELECT id FROM orders WHERE 't77'=ANY(tags);

-- case: k_region
-- none: yes
SELECT * FROM orders WHERE region=3;

-- case: k_range_wide
-- none: yes
SELECT * FROM orders WHERE total>100;
