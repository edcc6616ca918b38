-- Composite references that overlap, one-to-one tables, documents, and rules over several columns.
CREATE TYPE plan_tier AS ENUM ('free', 'team', 'enterprise');
CREATE DOMAIN email_address AS text CHECK (VALUE ~ '^[^@\s]+@[^@\s]+\.[a-z]{2,}$');
CREATE DOMAIN percentage AS numeric(5, 2) NOT NULL CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN slug AS varchar(40) CHECK (VALUE ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(VALUE) >= 3);
CREATE TABLE tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL CHECK (btrim(name) <> ''),
    slug slug NOT NULL UNIQUE, tier plan_tier NOT NULL DEFAULT 'free',
    seats int NOT NULL CHECK (seats BETWEEN 1 AND 500), trial_ends_at timestamptz,
    CHECK (tier <> 'free' OR trial_ends_at IS NULL), created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE users (
    tenant_id uuid NOT NULL REFERENCES tenants, id bigint GENERATED ALWAYS AS IDENTITY,
    email email_address NOT NULL, manager_id bigint, full_name varchar(30) NOT NULL,
    locale char(2) NOT NULL DEFAULT 'en' CHECK (locale IN ('en', 'de', 'fr')), settings jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(settings) = 'object'),
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, manager_id) REFERENCES users (tenant_id, id),
    CHECK (manager_id <> id));
CREATE UNIQUE INDEX users_email ON users (tenant_id, lower(email));
CREATE TABLE profiles (
    tenant_id uuid, user_id bigint, bio text, birth_date date CHECK (birth_date > '1900-01-01'),
    phone text CHECK (phone ~ '^\+[1-9][0-9]{6,14}$'), PRIMARY KEY (tenant_id, user_id),
    FOREIGN KEY (tenant_id, user_id) REFERENCES users ON DELETE CASCADE);
CREATE TABLE projects (
    tenant_id uuid NOT NULL REFERENCES tenants, id bigserial, owner_id bigint NOT NULL, name text NOT NULL,
    starts_on date NOT NULL, ends_on date, budget numeric(12, 2) NOT NULL DEFAULT 0 CHECK (budget >= 0),
    spent numeric(12, 2) NOT NULL, CHECK (spent <= budget), CHECK (ends_on IS NULL OR ends_on > starts_on),
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, owner_id) REFERENCES users (tenant_id, id),
    UNIQUE (tenant_id, name));
CREATE TABLE members (
    tenant_id uuid, project_id bigint, user_id bigint, role text NOT NULL CHECK (role IN ('owner', 'editor', 'viewer')),
    PRIMARY KEY (tenant_id, project_id, user_id), FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
    FOREIGN KEY (tenant_id, user_id) REFERENCES users);
CREATE TABLE tasks (
    id bigserial PRIMARY KEY, tenant_id uuid NOT NULL, project_id bigint NOT NULL, parent_id bigint REFERENCES tasks,
    assignee_id bigint, title text NOT NULL CHECK (char_length(title) BETWEEN 3 AND 80),
    state text NOT NULL DEFAULT 'open', started_at timestamptz, finished_at timestamptz, estimate interval,
    labels text[] NOT NULL DEFAULT '{}' CHECK (cardinality(labels) <= 5), weight smallint CHECK (weight % 2 = 0),
    FOREIGN KEY (tenant_id, project_id) REFERENCES projects,
    FOREIGN KEY (tenant_id, assignee_id) REFERENCES users (tenant_id, id),
    CHECK (state IN ('open', 'doing', 'done')), CHECK ((state = 'done') = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR started_at IS NOT NULL), CHECK (finished_at >= started_at),
    CHECK (CASE WHEN state = 'open' THEN started_at IS NULL ELSE started_at IS NOT NULL END));
CREATE TABLE attachments (
    id uuid PRIMARY KEY, task_id bigint REFERENCES tasks, project_tenant uuid, project_id bigint, user_id bigint,
    user_tenant uuid, content bytea NOT NULL CHECK (octet_length(content) BETWEEN 4 AND 64), mime text NOT NULL,
    size bigint GENERATED ALWAYS AS (length(content)) STORED,
    FOREIGN KEY (project_tenant, project_id) REFERENCES projects MATCH FULL,
    FOREIGN KEY (user_tenant, user_id) REFERENCES users MATCH FULL,
    CHECK (num_nonnulls(task_id, project_id, user_id) = 1));
CREATE TABLE invoices (
    id serial PRIMARY KEY, tenant_id uuid NOT NULL REFERENCES tenants, number text NOT NULL UNIQUE
        CHECK (number ~ '^INV-[0-9]{4}-[0-9]{6}$'), net numeric(10, 2) NOT NULL CHECK (net > 0),
    tax numeric(10, 2) NOT NULL, total numeric(10, 2) NOT NULL CHECK (total = net + tax), discount percentage,
    currency char(3) NOT NULL CHECK (currency = upper(currency)), issued date NOT NULL, due date NOT NULL,
    CHECK (due >= issued AND due <= issued + 90), status varchar(10) NOT NULL DEFAULT 'draft'
        CHECK (status IN ('draft', 'sent', 'paid')), paid_at timestamptz,
    CHECK ((status = 'paid' AND paid_at IS NOT NULL) OR (status <> 'paid' AND paid_at IS NULL)));
CREATE TABLE invoice_lines (
    invoice_id int REFERENCES invoices, line_no smallint CHECK (line_no > 0), quantity int NOT NULL CHECK (quantity > 0),
    unit_price numeric(10, 2) NOT NULL, amount numeric(12, 2) NOT NULL CHECK (amount = quantity * unit_price),
    PRIMARY KEY (invoice_id, line_no));
CREATE TABLE friendships (
    a bigint REFERENCES tasks, b bigint REFERENCES tasks, PRIMARY KEY (a, b), CHECK (a < b));
CREATE TABLE flags (tenant_id uuid PRIMARY KEY REFERENCES tenants, beta bool NOT NULL, until date,
    CHECK (NOT beta OR until IS NOT NULL));
