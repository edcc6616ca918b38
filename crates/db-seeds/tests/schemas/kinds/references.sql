-- References that share columns and must agree, and a tenant in each of them.
CREATE TABLE currencies (code char(3) PRIMARY KEY CHECK (code ~ '^[A-Z]{3}$'));
CREATE TABLE tenants (id integer PRIMARY KEY, base char(3) NOT NULL REFERENCES currencies);
CREATE TABLE accounts (
    tenant integer NOT NULL REFERENCES tenants, number varchar(8) NOT NULL, class char(1) NOT NULL,
    parent varchar(8), kind text NOT NULL CHECK (kind IN ('flow', 'stock', 'other')),
    PRIMARY KEY (tenant, number), UNIQUE (tenant, number, class), UNIQUE (tenant, number, kind),
    FOREIGN KEY (tenant, parent, class) REFERENCES accounts (tenant, number, class),
    CHECK (number ~ '^[1-5][0-9]{2,7}$' AND class = substr('ALERX', left(number, 1)::int, 1)),
    CHECK (parent IS NULL OR (number LIKE parent || '%' AND number <> parent))
);
CREATE TABLE plans (
    tenant integer NOT NULL REFERENCES tenants, id integer NOT NULL, PRIMARY KEY (tenant, id)
);
CREATE TABLE prices (
    tenant integer NOT NULL, plan integer NOT NULL, id integer NOT NULL, currency char(3) NOT NULL REFERENCES currencies,
    PRIMARY KEY (tenant, id), UNIQUE (tenant, plan, id, currency),
    FOREIGN KEY (tenant, plan) REFERENCES plans
);
CREATE TABLE customers (
    tenant integer NOT NULL REFERENCES tenants, id integer NOT NULL, currency char(3) NOT NULL REFERENCES currencies,
    preferred integer, PRIMARY KEY (tenant, id), UNIQUE (tenant, id, currency)
);
CREATE TABLE methods (
    tenant integer NOT NULL, customer integer NOT NULL, id integer NOT NULL, PRIMARY KEY (tenant, id),
    UNIQUE (tenant, customer, id), FOREIGN KEY (tenant, customer) REFERENCES customers
);
ALTER TABLE customers ADD FOREIGN KEY (tenant, id, preferred) REFERENCES methods (tenant, customer, id);
CREATE TABLE subscriptions (
    tenant integer NOT NULL, id integer NOT NULL, customer integer NOT NULL, currency char(3) NOT NULL,
    plan integer NOT NULL, price integer NOT NULL, account varchar(8) NOT NULL, kind text NOT NULL CHECK (kind = 'flow'),
    PRIMARY KEY (tenant, id),
    FOREIGN KEY (tenant, customer, currency) REFERENCES customers (tenant, id, currency),
    FOREIGN KEY (tenant, plan, price, currency) REFERENCES prices (tenant, plan, id, currency),
    FOREIGN KEY (tenant, account, kind) REFERENCES accounts (tenant, number, kind)
);
CREATE TABLE claims (
    tenant integer NOT NULL REFERENCES tenants, attempt smallint NOT NULL CHECK (attempt BETWEEN 1 AND 9),
    previous smallint GENERATED ALWAYS AS (nullif(attempt - 1, 0)) STORED, PRIMARY KEY (tenant, attempt),
    FOREIGN KEY (tenant, previous) REFERENCES claims (tenant, attempt)
);
