CREATE TABLE patients (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    record_number text NOT NULL,
    given_name text NOT NULL,
    family_name text NOT NULL,
    born_on date,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT patients_pkey PRIMARY KEY (id),
    -- Target of the tenant-safe foreign keys: a note cannot point at another organization's patient.
    CONSTRAINT patients_organization_id_id_key UNIQUE (organization_id, id),
    CONSTRAINT patients_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT patients_record_number_check CHECK (record_number <> ''),
    CONSTRAINT patients_given_name_check CHECK (length(given_name) BETWEEN 1 AND 100),
    CONSTRAINT patients_family_name_check CHECK (length(family_name) BETWEEN 1 AND 100),
    CONSTRAINT patients_born_on_check CHECK (born_on > '1880-01-01')
);

CREATE UNIQUE INDEX patients_record_number_key ON patients (organization_id, record_number) WHERE deleted_at IS NULL;

CREATE TRIGGER patients_touch_updated_at BEFORE UPDATE ON patients
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
