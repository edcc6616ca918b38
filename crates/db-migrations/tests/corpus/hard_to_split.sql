-- Statements whose ends are easily missed; each is valid SQL.
SELECT ';', 'it''s;', E'\';', e'\\', U&'\0441;' AS "a;""b;", $$;$$, $a$ $$;$$ $a$, B'1', X'ff';
SELECT 'd' -- a comment; with a semicolon
  'e;';
/* outer /* inner; */ still outer; */ SELECT 1 /* ; */, 2;
SELECT $1;
SELECT 'a\'; SELECT 'b';
CREATE FUNCTION one(a int) RETURNS int LANGUAGE plpgsql AS $body$
BEGIN
    IF a > 1 THEN RETURN 1; END IF; -- it's here
    EXECUTE $q$SELECT 1; SELECT 2$q$;
    RETURN CASE a WHEN 1 THEN 2 ELSE 3 END;
END;
$body$;
CREATE OR REPLACE FUNCTION two(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC
    SELECT CASE WHEN a > 1 THEN 1 ELSE CASE a WHEN 0 THEN 2 END END;
    SELECT (SELECT 3);
END;
CREATE FUNCTION three() RETURNS int BEGIN ATOMIC; SELECT 1; END;
CREATE PROCEDURE four() LANGUAGE sql BEGIN ATOMIC INSERT INTO t VALUES (1); END;
CREATE RULE five AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b);
CREATE FUNCTION six(a int) RETURNS int RETURN a + 1;
DO $$ DECLARE x text := 'a;b'; BEGIN RAISE NOTICE '%', x; END $$;
DO LANGUAGE plpgsql 'BEGIN NULL; END';
CREATE TABLE "semi;colon" ("a'b" int, "c--d" int, "e/*f" int);
SELECT 4*/**/2, 3 - -1, 5--;
;
SELECT a$b$c, d FROM (SELECT 1 AS a$b$c, 2 AS d) AS x;
BEGIN;
SELECT 'é', '漢字;', "ü;" FROM (SELECT 1 AS "ü;") AS y;
END;
CREATE SCHEMA seven CREATE TABLE eight (id int) CREATE VIEW nine AS SELECT id FROM eight;
COMMENT ON TABLE t IS 'ends with a backslash\';
SELECT 'last one without a semicolon'
