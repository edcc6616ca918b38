-- The statements of claim insight-1 on the schema of star.sql: which an index helps, and which none does.
--
-- `case` begins one; `params` are its literals, `proof` stands for what EXPLAIN does not show, and `none` marks what
-- must get no advice: ever, or before a version.

-- case: s1
-- params: 77777
SELECT d.year, sum(f.amount) FROM fact_sales f JOIN dim_date d USING(date_key) WHERE f.customer_id=$1 GROUP BY 1;

-- case: s2
-- params: 99
SELECT * FROM fact_sales WHERE customer_id=$1 ORDER BY sold_at DESC LIMIT 20;

-- case: s3
SELECT c.email, f.amount FROM fact_sales f JOIN dim_customer c ON c.customer_id=f.customer_id WHERE f.state='refund' AND f.sold_at>'2025-10-01';

-- case: s4
SELECT p.brand, sum(qty) FROM fact_sales f JOIN dim_product p ON p.product_id=f.product_id WHERE p.brand='brand77' GROUP BY 1;

-- case: s5
-- params: 'Ln77' | 'Fn77'
SELECT * FROM dim_customer WHERE last_name=$1 AND first_name=$2;

-- case: s6
SELECT * FROM dim_customer WHERE last_name LIKE 'Ln89%' ORDER BY last_name LIMIT 50;

-- case: s7
SELECT count(*) FROM fact_sales WHERE coupon='C7';

-- case: s8
SELECT * FROM fact_sales WHERE coupon IS NOT NULL AND sold_at >= '2025-11-01';

-- case: s9
SELECT product_id FROM dim_product WHERE attrs @> '{"ean": 1300}';

-- case: s10
SELECT product_id FROM dim_product WHERE (attrs->>'ean')::int = 1300;

-- case: s11
SELECT * FROM dim_customer WHERE phone=$1;

-- case: s12
-- params: 777
SELECT * FROM accounts WHERE aid=$1;

-- case: s13
-- params: 5 | 777
UPDATE accounts SET abalance=abalance+$1 WHERE aid=$2;

-- case: s14
-- params: 77
SELECT e.* FROM emp e WHERE mgr=$1;

-- case: s15
-- params: 50000
-- proof: SELECT 1 FROM ONLY emp x WHERE 50000 = mgr FOR KEY SHARE OF x
DELETE FROM emp WHERE id=$1;

-- case: s16
SELECT DISTINCT ON (thread) * FROM msgs WHERE thread IN (5,6,7) ORDER BY thread, sent DESC;

-- case: s17
-- params: 500
SELECT * FROM msgs WHERE read_at IS NULL AND author=$1;

-- case: s18
SELECT count(*) FROM msgs WHERE read_at IS NULL;

-- case: s19
-- params: '2025-01-02' | 5000 | 77
SELECT * FROM msgs WHERE (sent,id) > ($1,$2) AND thread=$3 ORDER BY sent,id LIMIT 50;

-- case: s20
SELECT * FROM dim_product WHERE name ILIKE '%deadb%';

-- case: s21
SELECT * FROM dim_customer WHERE vip ORDER BY signup DESC LIMIT 10;

-- case: s22
SELECT t.* FROM (SELECT m.*, row_number() OVER (PARTITION BY thread ORDER BY sent DESC) rn FROM msgs m WHERE thread=77) t WHERE rn=1;

-- case: s23
SELECT c.customer_id FROM dim_customer c WHERE c.vip AND NOT EXISTS (SELECT 1 FROM fact_sales f WHERE f.customer_id=c.customer_id);

-- case: s24
SELECT min(sold_at), max(sold_at) FROM fact_sales WHERE product_id=5000;

-- case: s25
SELECT * FROM dim_customer WHERE ip << inet '10.5.0.0/16';

-- case: s26
SELECT sum(amount) FROM fact_sales WHERE sold_at BETWEEN '2025-06-01' AND '2025-06-03';

-- case: s27
SELECT * FROM dim_customer WHERE phone='+497' OR email='c5@x.org';

-- case: s28
WITH v AS (SELECT customer_id FROM dim_customer WHERE last_name='Ln5') SELECT sum(f.amount) FROM v JOIN fact_sales f USING(customer_id);

-- case: s29
-- none: yes
SELECT date_trunc('month', d), count(*) FROM dim_date GROUP BY 1;

-- case: s30
SELECT * FROM dim_customer WHERE upper(last_name)='LN77';

-- case: s31
SELECT f.* FROM fact_sales f WHERE f.product_id = ANY(ARRAY[30000,30001]);

-- case: s32
SELECT * FROM fact_sales ORDER BY amount DESC LIMIT 5;

-- case: s33
SELECT customer_id, max(sold_at) FROM fact_sales WHERE customer_id IN (SELECT customer_id FROM dim_customer WHERE last_name='Ln77') GROUP BY 1;

-- case: s34
MERGE INTO accounts a USING (VALUES (5,1)) v(id,x) ON a.aid=v.id WHEN MATCHED THEN UPDATE SET abalance=x;

-- case: s35
SELECT * FROM history WHERE aid=77 AND tid=77;

-- case: k1
-- none: yes
SELECT * FROM dim_store WHERE region='r1';

-- case: k2
-- none: yes
SELECT * FROM dim_product WHERE sku='SKU-0000077';

-- case: k3
-- none: yes
SELECT * FROM dim_customer WHERE lower(email)='c5@x.org';

-- case: k4
-- none: yes
SELECT channel,sum(amount) FROM fact_sales GROUP BY 1;

-- case: k5
-- none: yes
SELECT * FROM fact_sales WHERE channel='web';

-- case: k6
-- none: yes
SELECT s.region, sum(f.amount) FROM fact_sales f JOIN dim_store s USING(store_id) GROUP BY 1;

-- case: k7
-- none: yes
SELECT * FROM fact_sales WHERE store_id=700 AND date_key BETWEEN 20250101 AND 20250131;

-- case: k8
-- none: yes
SELECT * FROM dim_date WHERE is_holiday;

-- case: k9
-- none: yes
SELECT count(*) FROM dim_customer WHERE deleted_at IS NULL;

-- case: k10
-- none: yes
SELECT * FROM fact_sales WHERE sale_id=7;

-- case: k11
-- calls: 10000
-- none: yes
INSERT INTO history VALUES (1,1,1,1,now());

-- case: k12
-- none: yes
SELECT * FROM fact_sales ORDER BY sale_id DESC LIMIT 10;

-- case: k13
-- none: yes
SELECT * FROM dim_store WHERE code='S5';

-- case: k14
-- none: yes
SELECT m.id FROM msgs m WHERE m.id BETWEEN 5 AND 50;

-- case: k15
-- none: yes
SELECT * FROM msgs WHERE sent > clock_timestamp() - interval '1 day';

-- case: k16
-- calls: 1
-- none: yes
SELECT * FROM history WHERE bid=1 AND delta>5;

-- case: k17
-- none: yes
SELECT avg(qty) FROM fact_sales WHERE amount < 400;

-- case: k18
-- none: yes
SELECT * FROM fact_sales TABLESAMPLE system (1) WHERE qty=1;

-- case: k19
-- none: yes
SELECT * FROM dim_product ORDER BY product_id OFFSET 30000 LIMIT 10;

-- case: k20
-- none: before 16
-- From 16 on the planner shows the sort for the aggregate, and an index spares it (240 ms and then 70 on 18).
SELECT count(DISTINCT customer_id) FROM fact_sales;
