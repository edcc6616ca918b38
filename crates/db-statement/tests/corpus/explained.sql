-- Statements on the reference schema, whose tables the server names: one a line.
SELECT * FROM users
SELECT * FROM public.users WHERE id = gen_random_uuid()
SELECT u.id FROM users u, organizations AS o WHERE u.id = o.id
SELECT * FROM ONLY users
SELECT * FROM ONLY (users), organizations
SELECT * FROM users JOIN sessions USING (id) LEFT JOIN todos ON todos.id = users.id, patients
SELECT * FROM (users NATURAL JOIN sessions) CROSS JOIN todos
SELECT * FROM ((users u JOIN sessions s ON true) JOIN (notes n JOIN todos t ON true) ON true)
SELECT * FROM (SELECT id FROM users) u, organizations
SELECT * FROM (TABLE users) u
SELECT * FROM users u, LATERAL (SELECT * FROM sessions s WHERE s.id = u.id) l
SELECT * FROM generate_series(1, 3) g, users
SELECT * FROM users, unnest(ARRAY[1, 2]) WITH ORDINALITY AS x (n, o), todos
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY[1])) AS r, users
SELECT * FROM users TABLESAMPLE bernoulli (10), todos
SELECT * FROM users WHERE id IN (SELECT id FROM sessions WHERE id = (SELECT id FROM todos LIMIT 1))
SELECT (SELECT id FROM sessions LIMIT 1), EXISTS (SELECT FROM notes), ARRAY(SELECT id FROM todos) FROM users
SELECT CASE WHEN EXISTS (SELECT 1 FROM users) THEN 1 ELSE (SELECT 2 FROM todos LIMIT 1) END
SELECT extract(year FROM created_at), substring('a' FROM 1), created_at IS DISTINCT FROM now() FROM users
SELECT 1 AS from, 2 AS select, 3 AS join FROM users
SELECT users.id update FROM users
SELECT * FROM users set, todos
SELECT id FROM users ORDER BY id, created_at LIMIT 1
SELECT count(*) OVER (PARTITION BY id, created_at) FROM users WINDOW w AS (ORDER BY id), v AS (ORDER BY created_at)
SELECT * FROM users u JOIN todos t ON u.id = ANY (ARRAY[t.id, t.id]), notes
SELECT id FROM users UNION SELECT id FROM todos EXCEPT SELECT id FROM notes
(SELECT id FROM users) UNION ALL (SELECT id FROM todos)
SELECT * FROM ((SELECT id FROM users) UNION ALL SELECT id FROM todos) x
TABLE users
WITH a AS (SELECT * FROM users) SELECT * FROM a
WITH todos AS (SELECT * FROM todos) SELECT * FROM todos
WITH a (x) AS (SELECT id FROM users), b AS NOT MATERIALIZED (SELECT * FROM a) SELECT * FROM b, todos
WITH RECURSIVE todos AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM todos WHERE x < 5) SELECT * FROM todos
WITH RECURSIVE a AS (SELECT id FROM users UNION ALL SELECT id FROM a) SEARCH DEPTH FIRST BY id SET o, b AS (SELECT * FROM notes) SELECT a.id FROM a, b
WITH RECURSIVE a AS (SELECT id FROM users UNION ALL SELECT id FROM a) CYCLE id SET c USING p SELECT * FROM a JOIN todos USING (id)
WITH users AS (SELECT 1) SELECT * FROM public.users
SELECT * FROM (WITH users AS (SELECT * FROM todos) SELECT * FROM users) x, users
WITH a AS (WITH todos AS (SELECT * FROM users) SELECT * FROM todos) SELECT a.id FROM a, todos
WITH gone AS (DELETE FROM todos RETURNING id) SELECT * FROM gone, users
WITH up AS (UPDATE users SET created_at = now() RETURNING id) DELETE FROM sessions USING up WHERE sessions.id = up.id
INSERT INTO todos SELECT * FROM todos
INSERT INTO notes DEFAULT VALUES
INSERT INTO notes (id) SELECT u.id FROM users u, patients p ON CONFLICT (id) DO UPDATE SET created_at = now(), id = excluded.id RETURNING id, created_at
INSERT INTO notes (id) VALUES ((SELECT id FROM users LIMIT 1)), (DEFAULT) ON CONFLICT DO NOTHING
INSERT INTO notes (id) WITH a AS (SELECT id FROM users) SELECT a.id FROM a, todos
INSERT INTO notes (id) (SELECT id FROM users)
UPDATE users SET created_at = now(), id = gen_random_uuid() WHERE id IN (SELECT id FROM todos)
UPDATE ONLY users AS u SET created_at = t.created_at FROM todos t JOIN notes n ON true, patients WHERE t.id = u.id
UPDATE users SET created_at = o.created_at FROM users o WHERE o.id = users.id
UPDATE users SET (id, created_at) = (SELECT id, created_at FROM todos LIMIT 1)
UPDATE users SET created_at = date_trunc('day', created_at) WHERE extract(year FROM created_at) > 1
DELETE FROM users
DELETE FROM ONLY users WHERE id IN (SELECT id FROM todos)
DELETE FROM users USING todos t, notes n JOIN patients p USING (id) WHERE t.id = users.id
DELETE FROM users USING (SELECT id FROM todos) t WHERE t.id = users.id RETURNING users.id, t.id
MERGE INTO users USING todos t ON t.id = users.id WHEN MATCHED THEN UPDATE SET created_at = now(), id = t.id WHEN NOT MATCHED THEN INSERT (id, created_at) VALUES (t.id, now())
MERGE INTO users u USING (SELECT t.id FROM todos t JOIN notes n ON true) s ON u.id = s.id WHEN MATCHED THEN DELETE
SELECT a.id FROM audit_logs a JOIN notifications n ON n.id = a.id WHERE a.created_at > now()
DELETE FROM audit_logs WHERE created_at < now()
