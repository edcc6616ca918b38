-- A circle of three whose keys are partly told by a table outside.
CREATE TABLE companies (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL);
CREATE TABLE bases (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), company uuid NOT NULL REFERENCES companies, manager uuid NOT NULL,
    UNIQUE (id, company)
);
CREATE TABLE crew (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), company uuid NOT NULL REFERENCES companies, contract uuid NOT NULL UNIQUE,
    badge varchar(9) NOT NULL CHECK (badge ~ '^[A-Z]{2}-[0-9]{5}$'), first_day date NOT NULL, last_day date,
    UNIQUE (id, company), CHECK (last_day > first_day)
);
CREATE TABLE contracts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), holder uuid NOT NULL UNIQUE, company uuid NOT NULL, base uuid NOT NULL,
    notice interval NOT NULL CHECK (notice BETWEEN '7 days' AND '365 days'),
    UNIQUE (id, holder),
    FOREIGN KEY (holder, company) REFERENCES crew (id, company) DEFERRABLE INITIALLY DEFERRED,
    FOREIGN KEY (base, company) REFERENCES bases (id, company) DEFERRABLE INITIALLY DEFERRED
);
ALTER TABLE bases ADD FOREIGN KEY (manager, company) REFERENCES crew (id, company) DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE crew ADD FOREIGN KEY (contract, id) REFERENCES contracts (id, holder) DEFERRABLE INITIALLY DEFERRED;
