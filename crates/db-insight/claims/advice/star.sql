-- The tables of claim insight-1, a star schema with skew, and pgbench's; the same on every server.

SELECT setseed(0.5);
CREATE TABLE dim_date (date_key int PRIMARY KEY, d date NOT NULL, year int, month int, is_holiday boolean);
INSERT INTO dim_date SELECT to_char(d,'YYYYMMDD')::int, d::date, extract(year from d), extract(month from d), extract(doy from d) IN (1,359) FROM generate_series('2020-01-01'::date,'2025-12-31','1 day') d;
CREATE TABLE dim_store (store_id serial PRIMARY KEY, code varchar(20) UNIQUE, city text, region text, opened date);
INSERT INTO dim_store(code,city,region,opened) SELECT 'S'||i,'city'||i%80,'r'||i%6, '2010-01-01'::date+i FROM generate_series(1,800) i;
CREATE TABLE dim_product (product_id serial PRIMARY KEY, sku text, name text, category text, brand text, attrs jsonb, price numeric);
INSERT INTO dim_product(sku,name,category,brand,attrs,price) SELECT 'SKU-'||lpad(i::text,7,'0'),'Product '||md5(i::text),'cat'||(i%40),'brand'||(i%900), jsonb_build_object('color',(array['red','blue','green'])[1+i%3],'ean',i*13), (i%500) FROM generate_series(1,40000) i;
CREATE TABLE dim_customer (customer_id bigserial PRIMARY KEY, email varchar(200), phone text, last_name varchar(60), first_name text, city text, vip boolean NOT NULL, signup timestamptz NOT NULL, deleted_at timestamptz, ip inet);
INSERT INTO dim_customer(email,phone,last_name,first_name,city,vip,signup,deleted_at,ip) SELECT 'c'||i||'@x.org','+49'||i*7,'Ln'||i%9000,'Fn'||i%300,'city'||floor(80*random()^3)::int,i%200=0, timestamptz '2020-01-01'+random()*interval '5 years', CASE WHEN i%30=0 THEN timestamptz '2026-01-01' END, ('10.'||i%256||'.'||(i/256)%256||'.7')::inet FROM generate_series(1,120000) i;
CREATE TABLE fact_sales (sale_id bigserial PRIMARY KEY, date_key int NOT NULL, store_id int NOT NULL, product_id int NOT NULL, customer_id bigint NOT NULL, qty int NOT NULL, amount numeric(12,2) NOT NULL, channel text NOT NULL, coupon text, sold_at timestamptz NOT NULL, state text NOT NULL);
INSERT INTO fact_sales(date_key,store_id,product_id,customer_id,qty,amount,channel,coupon,sold_at,state) SELECT to_char(d,'YYYYMMDD')::int, 1+floor(800*random()^4)::int, 1+floor(40000*random()^3)::int, 1+floor(120000*random()^2)::int, 1+(random()*5)::int, round((random()*500)::numeric,2), (array['web','shop','app'])[1+(random()*2)::int], CASE WHEN random()<0.003 THEN 'C'||(random()*100)::int END, d, CASE WHEN random()<0.002 THEN 'refund' WHEN random()<0.01 THEN 'open' ELSE 'done' END FROM (SELECT timestamptz '2020-01-01'+(i::float/800000)*interval '5 years 350 days' d FROM generate_series(1,800000) i) x;
CREATE TABLE accounts (aid int NOT NULL, bid int, abalance int, filler char(84)); INSERT INTO accounts SELECT i,1+i%10,0,'' FROM generate_series(1,200000) i;
CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp); INSERT INTO history SELECT i%100,i%10,i%200000,1,timestamptz '2026-01-01' FROM generate_series(1,50000) i;
CREATE TABLE emp (id int PRIMARY KEY, mgr int REFERENCES emp(id), name text); INSERT INTO emp SELECT i, CASE WHEN i>1 THEN i/10+1 END,'e'||i FROM generate_series(1,60000) i;
CREATE TABLE msgs (id bigserial PRIMARY KEY, thread bigint, author int, body text, sent timestamptz, read_at timestamptz, spam boolean default false);
INSERT INTO msgs(thread,author,body,sent,read_at) SELECT i%20000, i%3000, 'hello '||md5(i::text), timestamptz '2025-01-01'+(i||' seconds')::interval, CASE WHEN i%500<>0 THEN timestamptz '2026-01-01' END FROM generate_series(1,250000) i;
CREATE INDEX fact_store_date ON fact_sales(store_id, date_key);
CREATE INDEX cust_email_lower ON dim_customer(lower(email::text));
CREATE INDEX prod_sku ON dim_product(sku);
VACUUM ANALYZE;
