-- Pairs of statements that have the same fingerprint: one each on two lines, pairs apart by an empty line.
-- A literal \n stands for a line break.
SELECT * FROM users WHERE id = 1
SELECT * FROM users WHERE id = 2

select * from users where id = 1
SELECT * FROM USERS WHERE ID = 1

SELECT * FROM users WHERE id = $1
SELECT * FROM users WHERE id = 17

SELECT * FROM users WHERE id = $1
SELECT * FROM users WHERE id = $2

SELECT   *\tFROM users\n  WHERE id=1;
SELECT * FROM users WHERE id = 1

SELECT * FROM users -- all of them\n WHERE id = 1
SELECT * FROM users WHERE id = 1

SELECT /* a /* nested */ comment */ * FROM users
SELECT * FROM users

SELECT 1;;;
SELECT 1

;SELECT 1
SELECT 1

SELECT "id", "users"."name" FROM "users"
SELECT id, users.name FROM users

SELECT id FROM "users" AS "u" WHERE "u"."type" = 'a'
SELECT id FROM users AS u WHERE u.type = $1

SELECT * FROM t WHERE a IN (1, 2, 3)
SELECT * FROM t WHERE a IN (1, 2)

SELECT * FROM t WHERE a IN (1)
SELECT * FROM t WHERE a IN ($1, $2, $3, $4)

SELECT * FROM t WHERE a IN ('x', 'y')
SELECT * FROM t WHERE a in ( 'z' )

SELECT * FROM t WHERE a NOT IN (1, 2)
SELECT * FROM t WHERE a NOT IN ($1)

SELECT * FROM t WHERE a IN (1, NULL, 3)
SELECT * FROM t WHERE a IN (1, 2)

SELECT * FROM t WHERE a IN (-1, +2, 3)
SELECT * FROM t WHERE a IN (1)

SELECT * FROM t WHERE a IN ('x'::text, 'y'::text)
SELECT * FROM t WHERE a IN ('z'::text)

SELECT * FROM t WHERE a IN (lower('X'), lower('Y'))
SELECT * FROM t WHERE a IN (lower($1))

SELECT * FROM t WHERE (a, b) IN ((1, 2), (3, 4))
SELECT * FROM t WHERE (a, b) IN (($1, $2))

SELECT * FROM t WHERE a IN (1, 2) AND b IN (3)
SELECT * FROM t WHERE a IN (1) AND b IN (3, 4, 5)

SELECT * FROM t WHERE a IN (1, 2) AND b = 'x' OR c IN ('y', 'z')
SELECT * FROM t WHERE a IN (1) AND b = $1 OR c IN ('y')

SELECT * FROM t WHERE a = ANY(ARRAY[1, 2])
SELECT * FROM t WHERE a = ANY(ARRAY[1])

SELECT * FROM t WHERE a = ANY('{1,2}')
SELECT * FROM t WHERE a = ANY($1)

SELECT ARRAY[[1, 2], [3, 4]]
SELECT ARRAY[[5, 6]]

SELECT ARRAY [ 'a' ] || b FROM t
SELECT ARRAY['a', 'b', 'c'] || b FROM t

VALUES (1, 2), (3, 4)
VALUES (5, 6)

INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3, 'z')
INSERT INTO t (a, b) VALUES ($1, $2)

INSERT INTO t (a, b) VALUES (1, NULL), (2, 'y')
INSERT INTO t (a, b) VALUES ($1, $2)

INSERT INTO t (a, b) VALUES (DEFAULT, TRUE), (2, FALSE)
INSERT INTO t (a, b) VALUES ($1, DEFAULT)

INSERT INTO t (a, b) VALUES ($1, lower($2)), ($3, lower($4)) RETURNING id
INSERT INTO t (a, b) VALUES ($1, lower($2)) RETURNING id

INSERT INTO t (a) VALUES (1), (2) ON CONFLICT (a) DO UPDATE SET b = 3
INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = 4

INSERT INTO t VALUES (1, now()), (2, now())
INSERT INTO t VALUES (3, now())

INSERT INTO t VALUES (1, ('a', 'b')), (2, ('c', 'd'))
INSERT INTO t VALUES (1, ('a', 'b'))

SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, s)
SELECT * FROM (VALUES (3, 'c')) AS v (n, s)

SELECT * FROM t WHERE a IN (VALUES (1), (2))
SELECT * FROM t WHERE a IN (VALUES (3))

SELECT * FROM t LIMIT 10
SELECT * FROM t LIMIT 20

SELECT * FROM t LIMIT 10 OFFSET 20
SELECT * FROM t LIMIT $1 OFFSET $2

SELECT now() - INTERVAL '1 day'
SELECT now() - INTERVAL '2 hours'

SELECT DATE '2024-01-01'
SELECT DATE '2025-12-31'

SELECT 'it''s', E'it\'s', U&'\0061', B'01', X'1f', N'n'
SELECT 'a', 'b', 'c', 'd', 'e', 'f'

SELECT $$a 'quoted' text$$, $tag$ $$ $tag$
SELECT 'a', 'b'

SELECT 'one '\n 'literal'
SELECT 'one'

SELECT 0x1F, 0o17, 0b01, 1_000, 1.5, .5, 1e10, 1.5E-3
SELECT 1, 2, 3, 4, 5, 6, 7, 8

SELECT * FROM t WHERE a = -1
SELECT * FROM t WHERE a = 1

SELECT * FROM t WHERE a = - 1
SELECT * FROM t WHERE a = $1

SELECT * FROM t WHERE a BETWEEN -5 AND -1
SELECT * FROM t WHERE a BETWEEN 1 AND 5

SELECT a -1 FROM t
SELECT a - 1 FROM t

SELECT a - -1 FROM t
SELECT a - 2 FROM t

SELECT -1, +2
SELECT 1, 2

SELECT a<=5,b->>'k' FROM t
SELECT a <= 7, b ->> 'other' FROM t

SELECT a::text, CAST('1' AS int) FROM t
SELECT a :: text, CAST($1 AS int) FROM t

SELECT count(*) FROM t
SELECT COUNT ( * ) FROM t

SELECT a . b FROM a
SELECT a.b FROM a

SELECT arr[1], arr[1:2] FROM t
SELECT arr[2], arr[3 : 4] FROM t

UPDATE t SET a = 1, b = 'x' WHERE id = 3
UPDATE t SET a = $1, b = $2 WHERE id = $3

DELETE FROM t WHERE created_at < '2024-01-01'
DELETE FROM t WHERE created_at < $1

SELECT 1; SELECT 2
SELECT 3;\nSELECT 4;

SELECT * FROM t ORDER BY a, 1
SELECT * FROM t ORDER BY a, 1 -- the same position

SELECT * FROM t WHERE a = 'x' ORDER BY 2 DESC
SELECT * FROM t WHERE a = 'y' ORDER BY 2 DESC

SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM t
SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN 3 PRECEDING AND 4 FOLLOWING) FROM t

SELECT CASE WHEN a = 1 THEN -1 ELSE 2 END FROM t
SELECT CASE WHEN a = 2 THEN 1 ELSE -2 END FROM t

SELECT 'a'::varchar(10) FROM t WHERE b = 1
SELECT 'b'::varchar(10) FROM t WHERE b = 2

SET work_mem = '64MB'
SET work_mem = '1GB'

CALL archive(1, 'x')
CALL archive(2, 'y')

EXECUTE p(1, 2)
EXECUTE p(3, 4)

SELECT * FROM t WHERE j @> '{"a": 1}' AND j ? 'a'
SELECT * FROM t WHERE j @> '{"b": 2}' AND j ? 'b'

WITH a AS (SELECT * FROM t WHERE x = 1) SELECT * FROM a LIMIT 5
with a as (select * from t where x = 2) select * from a limit 6

WITH a AS MATERIALIZED (SELECT * FROM t LIMIT 5) SELECT * FROM a
WITH a AS MATERIALIZED (SELECT * FROM t LIMIT 6) SELECT * FROM a

COPY t (a, b) FROM STDIN WITH (FORMAT csv, DELIMITER ';')
COPY t (a, b) FROM STDIN WITH (FORMAT csv, DELIMITER ',')

SELECT * FROM t WHERE a LIKE 'x%' ESCAPE '!'
SELECT * FROM t WHERE a LIKE 'y%' ESCAPE '#'

SELECT U&"!0066oo" UESCAPE '!' FROM t WHERE a = 1
SELECT U&"!0066oo" UESCAPE '!' FROM t WHERE a = 2

SELECT "Mixed Case" FROM t WHERE a = 1
SELECT "Mixed Case" FROM "t" WHERE "a" = 2
