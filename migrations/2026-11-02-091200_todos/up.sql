CREATE TABLE todos (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    organization_id uuid NOT NULL,
    patient_id uuid,
    assignee_id uuid,
    title text NOT NULL,
    priority smallint NOT NULL DEFAULT 3,
    due_on date,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT todos_pkey PRIMARY KEY (id),
    CONSTRAINT todos_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES organizations (id),
    CONSTRAINT todos_patient_id_fkey FOREIGN KEY (organization_id, patient_id) REFERENCES patients (organization_id, id),
    CONSTRAINT todos_assignee_id_fkey FOREIGN KEY (assignee_id) REFERENCES users (id),
    CONSTRAINT todos_title_check CHECK (length(title) BETWEEN 1 AND 200),
    CONSTRAINT todos_priority_check CHECK (priority BETWEEN 1 AND 5)
);

CREATE TRIGGER todos_touch_updated_at BEFORE UPDATE ON todos
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
