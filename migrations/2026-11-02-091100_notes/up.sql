CREATE TABLE notes (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    patient_id uuid,
    author_id uuid NOT NULL,
    title text NOT NULL,
    body text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT notes_pkey PRIMARY KEY (id),
    CONSTRAINT notes_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT notes_patient_id_fkey FOREIGN KEY (organization_id, patient_id) REFERENCES patients (organization_id, id),
    CONSTRAINT notes_author_id_fkey FOREIGN KEY (author_id) REFERENCES users (id),
    CONSTRAINT notes_title_check CHECK (length(title) BETWEEN 1 AND 200)
);

CREATE TRIGGER notes_touch_updated_at BEFORE UPDATE ON notes
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
