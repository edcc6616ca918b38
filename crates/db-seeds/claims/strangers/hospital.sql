-- St. Brannock General Hospital: clinical and billing record
-- Natural keys throughout; singular names; every business rule lives in the database.

CREATE EXTENSION IF NOT EXISTS btree_gist;

---------------------------------------------------------------- domains

CREATE DOMAIN short_label   AS varchar(60)  CHECK (VALUE = btrim(VALUE) AND length(VALUE) >= 2);
CREATE DOMAIN mrn           AS char(10)     CHECK (VALUE ~ '^MRN[0-9]{7}$');
CREATE DOMAIN staff_number  AS varchar(8)   CHECK (VALUE ~ '^[DNTA][0-9]{5}$');
CREATE DOMAIN icd10         AS varchar(8)   CHECK (VALUE ~ '^[A-TV-Z][0-9][0-9AB](\.[0-9A-TV-Z]{1,4})?$');
CREATE DOMAIN atc_code      AS char(7)      CHECK (VALUE ~ '^[ABCDGHJLMNPRSV][0-9]{2}[A-Z]{2}[0-9]{2}$');
CREATE DOMAIN loinc_code    AS varchar(8)   CHECK (VALUE ~ '^[1-9][0-9]{2,4}-[0-9]$');
CREATE DOMAIN percent       AS numeric(5,2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN positive_amt  AS numeric(12,2) CHECK (VALUE > 0);
CREATE DOMAIN nonneg_amt    AS numeric(12,2) DEFAULT 0 CHECK (VALUE >= 0);
CREATE DOMAIN birth_date    AS date         CHECK (VALUE >= DATE '1900-01-01' AND VALUE <= DATE '2099-12-31');
CREATE DOMAIN abo_group     AS varchar(2)   CHECK (VALUE IN ('A', 'B', 'AB', 'O'));
CREATE DOMAIN rh_factor     AS char(1)      CHECK (VALUE IN ('+', '-'));
CREATE DOMAIN sex_code      AS char(1)      NOT NULL CHECK (VALUE IN ('F', 'M', 'X'));
CREATE DOMAIN ward_code     AS varchar(7)   CHECK (VALUE ~ '^[A-Z]{2,4}-[1-9][0-9]?$');
CREATE DOMAIN phone_no      AS varchar(20)  CHECK (VALUE ~ '^\+[1-9][0-9]{6,14}$');
-- a domain over a domain
CREATE DOMAIN copay_percent AS percent      CHECK (VALUE <= 50);

---------------------------------------------------------------- organisation

CREATE TABLE country (
    iso2        char(2)      PRIMARY KEY CHECK (iso2 ~ '^[A-Z]{2}$'),
    iso3        char(3)      NOT NULL UNIQUE CHECK (iso3 ~ '^[A-Z]{3}$'),
    name        short_label  NOT NULL UNIQUE,
    dial_prefix varchar(5)   NOT NULL CHECK (dial_prefix ~ '^\+[1-9][0-9]{0,3}$'),
    CHECK (left(iso3, 1) = left(iso2, 1))
);

CREATE TABLE department (
    dept_code     varchar(6)   PRIMARY KEY CHECK (dept_code ~ '^[A-Z]{3,6}$'),
    name          short_label  NOT NULL UNIQUE,
    parent_dept   varchar(6)   REFERENCES department (dept_code),
    head_staff_no staff_number NOT NULL,          -- FK added below (cycle)
    cost_centre   integer      NOT NULL UNIQUE CHECK (cost_centre BETWEEN 1000 AND 9999),
    opened_on     date         NOT NULL,
    closed_on     date,
    CHECK (parent_dept IS DISTINCT FROM dept_code),
    CHECK (closed_on IS NULL OR closed_on > opened_on)
);

CREATE TABLE staff (
    staff_no     staff_number PRIMARY KEY,
    npi          char(10)     UNIQUE CHECK (npi ~ '^[12][0-9]{9}$'),
    family_name  short_label  NOT NULL,
    given_name   short_label  NOT NULL,
    sex          sex_code,
    born_on      birth_date   NOT NULL,
    dept_code    varchar(6)   NOT NULL REFERENCES department (dept_code) DEFERRABLE INITIALLY DEFERRED,
    hired_on     date         NOT NULL,
    left_on      date,
    fte          numeric(3,2) NOT NULL DEFAULT 1.00 CHECK (fte > 0 AND fte <= 1),
    staff_kind   varchar(10)  NOT NULL CHECK (staff_kind IN ('doctor', 'nurse', 'technician', 'admin')),
    full_name    text         GENERATED ALWAYS AS (upper(family_name::text) || ', ' || given_name::text) STORED,
    CONSTRAINT staff_number_matches_kind CHECK (
        left(staff_no, 1) = CASE staff_kind WHEN 'doctor' THEN 'D' WHEN 'nurse' THEN 'N'
                                            WHEN 'technician' THEN 'T' ELSE 'A' END),
    CONSTRAINT doctor_has_npi   CHECK ((staff_kind = 'doctor') = (npi IS NOT NULL)),
    CONSTRAINT hired_as_adult   CHECK (hired_on >= born_on + 6574),
    CONSTRAINT left_after_hired CHECK (left_on > hired_on),
    UNIQUE (staff_no, dept_code),
    UNIQUE (staff_no, staff_kind)
);

ALTER TABLE department ADD CONSTRAINT department_head_fk
    FOREIGN KEY (head_staff_no, dept_code) REFERENCES staff (staff_no, dept_code) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE specialty (
    specialty_code char(3)     PRIMARY KEY CHECK (specialty_code ~ '^[1-9][0-9]{2}$'),
    title          short_label NOT NULL UNIQUE,
    surgical       boolean     NOT NULL DEFAULT false
);

CREATE TABLE staff_specialty (
    staff_no       staff_number NOT NULL,
    staff_kind     varchar(10)  NOT NULL DEFAULT 'doctor' CHECK (staff_kind = 'doctor'),
    specialty_code char(3)      NOT NULL REFERENCES specialty,
    is_primary     boolean      NOT NULL DEFAULT false,
    certified_on   date         NOT NULL,
    PRIMARY KEY (staff_no, specialty_code),
    FOREIGN KEY (staff_no, staff_kind) REFERENCES staff (staff_no, staff_kind)
);
CREATE UNIQUE INDEX one_primary_specialty ON staff_specialty (staff_no) WHERE is_primary;

CREATE TABLE staff_licence (
    staff_no   staff_number NOT NULL REFERENCES staff,
    country    char(2)      NOT NULL REFERENCES country (iso2),
    licence_no varchar(16)  NOT NULL CHECK (licence_no ~ '^[A-Z]{2}/[0-9]{4,6}/[0-9]{2}$'),
    valid      daterange    NOT NULL,
    PRIMARY KEY (country, licence_no),
    CONSTRAINT licence_prefix  CHECK (left(licence_no, 2) = country),
    CONSTRAINT licence_bounded CHECK (NOT isempty(valid) AND NOT lower_inf(valid) AND NOT upper_inf(valid)),
    CONSTRAINT licence_length  CHECK (upper(valid) - lower(valid) BETWEEN 30 AND 3653),
    CONSTRAINT licence_no_overlap EXCLUDE USING gist (staff_no WITH =, country WITH =, valid WITH &&)
);

CREATE TABLE building (
    building_code char(1)     PRIMARY KEY CHECK (building_code BETWEEN 'A' AND 'Z'),
    name          short_label NOT NULL UNIQUE,
    lowest_floor  smallint    NOT NULL CHECK (lowest_floor BETWEEN -3 AND 0),
    highest_floor smallint    NOT NULL CHECK (highest_floor BETWEEN 0 AND 20),
    floor_count   smallint    GENERATED ALWAYS AS (highest_floor - lowest_floor + 1) STORED CHECK (floor_count >= 2)
);

CREATE TABLE ward (
    ward_code     ward_code   PRIMARY KEY,
    building_code char(1)     NOT NULL REFERENCES building,
    floor_no      smallint    NOT NULL CHECK (floor_no BETWEEN -3 AND 20),
    dept_code     varchar(6)  NOT NULL REFERENCES department,
    acuity        smallint    NOT NULL CHECK (acuity BETWEEN 1 AND 5),
    staffed_beds  smallint    NOT NULL,
    max_beds      smallint    NOT NULL,
    nurse_ratio   numeric(4,2) NOT NULL CHECK (nurse_ratio > 0),
    UNIQUE (building_code, floor_no, dept_code),
    CHECK (staffed_beds BETWEEN 1 AND max_beds AND max_beds <= 40),
    CHECK (acuity < 4 OR nurse_ratio >= 0.50)
);

CREATE TABLE room (
    ward_code ward_code NOT NULL REFERENCES ward ON UPDATE CASCADE,
    room_no   smallint  NOT NULL CHECK (room_no BETWEEN 1 AND 99),
    room_kind varchar(9) NOT NULL DEFAULT 'standard' CHECK (room_kind IN ('standard', 'private', 'isolation', 'icu')),
    negative_pressure boolean NOT NULL DEFAULT false,
    daily_rate positive_amt NOT NULL,
    PRIMARY KEY (ward_code, room_no),
    CHECK (NOT negative_pressure OR room_kind IN ('isolation', 'icu')),
    CHECK (room_kind <> 'private' OR daily_rate >= 150)
);

CREATE TABLE bed (
    ward_code  ward_code NOT NULL,
    room_no    smallint  NOT NULL,
    bed_letter char(1)   NOT NULL CHECK (bed_letter IN ('A', 'B', 'C', 'D')),
    asset_tag  varchar(12) NOT NULL UNIQUE CHECK (asset_tag ~ '^BED-[0-9]{5}$'),
    commissioned date    NOT NULL,
    retired    date,
    PRIMARY KEY (ward_code, room_no, bed_letter),
    FOREIGN KEY (ward_code, room_no) REFERENCES room ON UPDATE CASCADE,
    CHECK (retired IS NULL OR retired >= commissioned + 365)
);

---------------------------------------------------------------- patients

CREATE TABLE patient (
    mrn          mrn         PRIMARY KEY,
    family_name  short_label NOT NULL,
    given_name   short_label NOT NULL,
    sex          sex_code,
    born_on      birth_date  NOT NULL,
    died_on      date,
    abo          abo_group,
    rh           rh_factor,
    nationality  char(2)     REFERENCES country (iso2),
    mother_mrn   mrn         REFERENCES patient (mrn),
    gp_name      short_label,
    registered_at timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    blood_type   varchar(3)  GENERATED ALWAYS AS (abo::text || rh::text) STORED,
    CHECK (died_on >= born_on),
    CHECK ((abo IS NULL) = (rh IS NULL)),
    CHECK (mother_mrn <> mrn),
    CHECK (registered_at <= updated_at)
);
CREATE UNIQUE INDEX patient_same_person ON patient (lower(family_name::text), lower(given_name::text), born_on) WHERE died_on IS NULL;

CREATE TABLE identifier_kind (
    kind_code varchar(10) PRIMARY KEY CHECK (kind_code = upper(kind_code)),
    title     short_label NOT NULL UNIQUE,
    issuer_country char(2) REFERENCES country (iso2)
);

CREATE TABLE patient_identifier (
    mrn        mrn         NOT NULL REFERENCES patient ON DELETE CASCADE,
    kind_code  varchar(10) NOT NULL REFERENCES identifier_kind,
    id_value   varchar(20) NOT NULL CHECK (id_value ~ '^[A-Z0-9]{6,20}$'),
    issued_on  date        NOT NULL,
    expires_on date,
    PRIMARY KEY (kind_code, id_value),
    UNIQUE (mrn, kind_code, issued_on),
    CHECK (expires_on > issued_on AND expires_on <= issued_on + 7305)
);

CREATE TABLE patient_contact (
    mrn       mrn         NOT NULL REFERENCES patient ON DELETE CASCADE,
    rank_no   smallint    NOT NULL CHECK (rank_no BETWEEN 1 AND 5),
    relation  varchar(10) NOT NULL CHECK (relation IN ('self', 'spouse', 'parent', 'child', 'sibling', 'guardian', 'other')),
    full_name short_label,
    phone     phone_no,
    email     varchar(120) CHECK (email ~ '^[a-z0-9._-]+@[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{2,}$'),
    PRIMARY KEY (mrn, rank_no),
    CONSTRAINT reachable CHECK (num_nonnulls(phone, email) >= 1),
    CONSTRAINT named_unless_self CHECK ((relation = 'self') = (full_name IS NULL))
);
CREATE UNIQUE INDEX one_self_contact ON patient_contact (mrn) WHERE relation = 'self';

CREATE TABLE allergen (
    allergen_code varchar(12) PRIMARY KEY CHECK (allergen_code ~ '^(FOOD|DRUG|ENV)-[0-9]{3}$'),
    title         short_label NOT NULL UNIQUE,
    category      varchar(4)  NOT NULL GENERATED ALWAYS AS (split_part(allergen_code, '-', 1)) STORED
);

CREATE TABLE patient_allergy (
    mrn           mrn         NOT NULL REFERENCES patient ON DELETE CASCADE,
    allergen_code varchar(12) NOT NULL REFERENCES allergen,
    severity      smallint    NOT NULL CHECK (severity BETWEEN 1 AND 4),
    reactions     text[]      NOT NULL CHECK (cardinality(reactions) BETWEEN 1 AND 6
                                   AND reactions <@ ARRAY['rash','hives','swelling','wheeze','vomiting','anaphylaxis']
                                   AND array_position(reactions, NULL) IS NULL),
    recorded_by   staff_number NOT NULL REFERENCES staff,
    PRIMARY KEY (mrn, allergen_code),
    CHECK (severity = 4 OR NOT 'anaphylaxis' = ANY (reactions))
);

---------------------------------------------------------------- insurance

CREATE TABLE insurer (
    insurer_code char(4)     PRIMARY KEY CHECK (insurer_code ~ '^[A-Z][A-Z0-9]{3}$'),
    name         short_label NOT NULL UNIQUE,
    country      char(2)     NOT NULL REFERENCES country (iso2),
    claims_email varchar(120) NOT NULL CHECK (position('@' in claims_email) > 1 AND claims_email = lower(claims_email))
);

CREATE TABLE insurance_plan (
    insurer_code  char(4)       NOT NULL REFERENCES insurer,
    plan_code     varchar(8)    NOT NULL CHECK (plan_code ~ '^[A-Z]{2,4}[0-9]{2,4}$'),
    title         short_label   NOT NULL,
    copay         copay_percent NOT NULL DEFAULT 0,
    inpatient_pct percent       NOT NULL,
    drug_pct      percent       NOT NULL,
    other_pct     percent       NOT NULL,
    deductible    nonneg_amt    NOT NULL,
    annual_limit  positive_amt  NOT NULL,
    sold          daterange     NOT NULL CHECK (NOT isempty(sold)),
    PRIMARY KEY (insurer_code, plan_code),
    UNIQUE (insurer_code, title),
    CONSTRAINT budget_sums_to_100 CHECK (inpatient_pct + drug_pct + other_pct = 100),
    CONSTRAINT deductible_sane CHECK (deductible <= annual_limit / 2)
);

CREATE TABLE patient_coverage (
    mrn          mrn        NOT NULL REFERENCES patient,
    priority     smallint   NOT NULL CHECK (priority IN (1, 2, 3)),
    insurer_code char(4)    NOT NULL,
    plan_code    varchar(8) NOT NULL,
    member_no    varchar(15) NOT NULL CHECK (member_no ~ '^[0-9]{3}-[0-9]{6}-[0-9]{2}$'),
    valid        daterange  NOT NULL,
    PRIMARY KEY (mrn, insurer_code, member_no),
    FOREIGN KEY (insurer_code, plan_code) REFERENCES insurance_plan,
    CHECK (lower(valid) IS NOT NULL AND NOT isempty(valid)),
    CHECK (upper_inf(valid) OR upper(valid) > lower(valid) + 27),
    EXCLUDE USING gist (mrn WITH =, priority WITH =, valid WITH &&),
    EXCLUDE USING gist (insurer_code WITH =, member_no WITH =, mrn WITH <>)
);

---------------------------------------------------------------- encounters

CREATE TABLE encounter_class (
    class_code char(3)     PRIMARY KEY CHECK (class_code IN ('INP', 'OUT', 'EMR', 'DAY')),
    title      short_label NOT NULL UNIQUE,
    max_days   smallint    NOT NULL CHECK (max_days > 0)
);

CREATE TABLE encounter (
    mrn           mrn         NOT NULL REFERENCES patient,
    encounter_no  integer     NOT NULL CHECK (encounter_no >= 1),
    class_code    char(3)     NOT NULL REFERENCES encounter_class,
    dept_code     varchar(6)  NOT NULL,
    attending     staff_number NOT NULL REFERENCES staff,
    status        varchar(10) NOT NULL DEFAULT 'planned' CHECK (status IN ('planned', 'open', 'closed', 'cancelled')),
    planned_for   timestamptz,
    admitted_at   timestamptz,
    discharged_at timestamptz,
    disposition   varchar(10) CHECK (disposition IN ('home', 'transfer', 'hospice', 'deceased', 'ama')),
    stay_hours    integer GENERATED ALWAYS AS ((EXTRACT(epoch FROM discharged_at - admitted_at) / 3600)::integer) STORED,
    PRIMARY KEY (mrn, encounter_no),
    FOREIGN KEY (dept_code) REFERENCES department,
    CONSTRAINT status_fields CHECK (CASE status
        WHEN 'planned'   THEN planned_for IS NOT NULL AND admitted_at IS NULL AND discharged_at IS NULL
        WHEN 'open'      THEN admitted_at IS NOT NULL AND discharged_at IS NULL
        WHEN 'closed'    THEN admitted_at IS NOT NULL AND discharged_at IS NOT NULL AND disposition IS NOT NULL
        ELSE discharged_at IS NULL AND disposition IS NULL END),
    CONSTRAINT disposition_only_closed CHECK (disposition IS NULL OR status = 'closed'),
    CONSTRAINT discharge_after_admit CHECK (discharged_at > admitted_at),
    CONSTRAINT day_case_is_short CHECK (class_code <> 'DAY' OR discharged_at IS NULL OR stay_hours <= 24),
    CONSTRAINT no_double_admission EXCLUDE USING gist (
        mrn WITH =, tstzrange(admitted_at, discharged_at) WITH &&) WHERE (admitted_at IS NOT NULL)
);
CREATE UNIQUE INDEX one_open_encounter ON encounter (mrn) WHERE status = 'open';

CREATE TABLE encounter_status_history (
    mrn          mrn         NOT NULL,
    encounter_no integer     NOT NULL,
    seq          smallint    NOT NULL CHECK (seq > 0),
    old_status   varchar(10) CHECK (old_status IN ('planned', 'open', 'closed', 'cancelled')),
    new_status   varchar(10) NOT NULL CHECK (new_status IN ('planned', 'open', 'closed', 'cancelled')),
    changed_at   timestamptz NOT NULL,
    changed_by   staff_number NOT NULL REFERENCES staff,
    PRIMARY KEY (mrn, encounter_no, seq),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter ON DELETE CASCADE,
    UNIQUE (mrn, encounter_no, changed_at),
    CHECK ((seq = 1) = (old_status IS NULL)),
    CHECK (old_status IS NULL OR (old_status, new_status) IN
           (('planned', 'open'), ('planned', 'cancelled'), ('open', 'closed'), ('open', 'cancelled'), ('closed', 'open')))
);

CREATE TABLE bed_stay (
    mrn          mrn       NOT NULL,
    encounter_no integer   NOT NULL,
    ward_code    ward_code NOT NULL,
    room_no      smallint  NOT NULL,
    bed_letter   char(1)   NOT NULL,
    occupied     tstzrange NOT NULL,
    PRIMARY KEY (mrn, encounter_no, occupied),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    FOREIGN KEY (ward_code, room_no, bed_letter) REFERENCES bed ON UPDATE CASCADE,
    CHECK (lower_inc(occupied) AND NOT upper_inc(occupied) AND NOT lower_inf(occupied)),
    CONSTRAINT one_patient_per_bed EXCLUDE USING gist (ward_code WITH =, room_no WITH =, bed_letter WITH =, occupied WITH &&),
    CONSTRAINT one_bed_per_patient EXCLUDE USING gist (mrn WITH =, occupied WITH &&) DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE icd_code (
    code       icd10       PRIMARY KEY,
    title      varchar(200) NOT NULL CHECK (title <> ''),
    parent     icd10       REFERENCES icd_code (code),
    chapter    char(1)     GENERATED ALWAYS AS (left(code::text, 1)) STORED,
    billable   boolean     NOT NULL,
    sex_limit  char(1)     CHECK (sex_limit IN ('F', 'M')),
    CONSTRAINT subcode_under_parent CHECK (parent IS NULL OR (length(code) > length(parent) AND left(code, length(parent)) = parent)),
    CONSTRAINT detailed_has_parent CHECK ((position('.' in code) > 0) = (parent IS NOT NULL))
);

CREATE TABLE encounter_diagnosis (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    rank_no      smallint NOT NULL CHECK (rank_no BETWEEN 1 AND 25),
    code         icd10    NOT NULL REFERENCES icd_code,
    principal    boolean  NOT NULL GENERATED ALWAYS AS (rank_no = 1) STORED,
    present_on_admission char(1) NOT NULL CHECK (present_on_admission IN ('Y', 'N', 'U', 'W')),
    certainty    percent,
    PRIMARY KEY (mrn, encounter_no, rank_no),
    UNIQUE (mrn, encounter_no, code),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    CHECK (NOT principal OR present_on_admission IN ('Y', 'W')),
    CHECK (certainty IS NULL OR certainty >= 5)
);

CREATE TABLE procedure_code (
    proc_code char(7)     PRIMARY KEY CHECK (proc_code ~ '^[0-9A-HJ-NP-Z]{7}$'),
    title     varchar(120) NOT NULL UNIQUE,
    specialty_code char(3) NOT NULL REFERENCES specialty,
    typical_minutes smallint NOT NULL CHECK (typical_minutes BETWEEN 5 AND 900 AND typical_minutes % 5 = 0)
);

CREATE TABLE operating_theatre (
    building_code char(1)  NOT NULL REFERENCES building,
    theatre_no    smallint NOT NULL CHECK (theatre_no BETWEEN 1 AND 30),
    laminar_flow  boolean  NOT NULL,
    iso_class     smallint NOT NULL CHECK (iso_class BETWEEN 5 AND 8),
    PRIMARY KEY (building_code, theatre_no),
    CHECK (laminar_flow = (iso_class <= 6))
);

CREATE TABLE surgery (
    mrn           mrn      NOT NULL,
    encounter_no  integer  NOT NULL,
    surgery_no    smallint NOT NULL CHECK (surgery_no BETWEEN 1 AND 20),
    proc_code     char(7)  NOT NULL REFERENCES procedure_code,
    building_code char(1)  NOT NULL,
    theatre_no    smallint NOT NULL,
    starts_at     timestamptz NOT NULL,
    incision_at   timestamptz,
    closed_at     timestamptz,
    ends_at       timestamptz NOT NULL,
    asa_class     smallint NOT NULL CHECK (asa_class BETWEEN 1 AND 6),
    emergency     boolean  NOT NULL DEFAULT false,
    PRIMARY KEY (mrn, encounter_no, surgery_no),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    FOREIGN KEY (building_code, theatre_no) REFERENCES operating_theatre,
    CONSTRAINT surgery_order CHECK (starts_at < ends_at AND (incision_at IS NULL OR incision_at >= starts_at)
        AND (closed_at IS NULL OR (incision_at IS NOT NULL AND closed_at > incision_at AND closed_at <= ends_at))),
    CONSTRAINT surgery_length CHECK (ends_at - starts_at <= interval '18 hours'),
    CONSTRAINT asa5_is_emergency CHECK (asa_class < 5 OR emergency),
    CONSTRAINT theatre_free EXCLUDE USING gist (building_code WITH =, theatre_no WITH =, tstzrange(starts_at, ends_at, '[)') WITH &&)
);

CREATE TABLE surgery_team (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    surgery_no   smallint NOT NULL,
    staff_no     staff_number NOT NULL,
    staff_kind   varchar(10)  NOT NULL,
    team_role    varchar(12) NOT NULL CHECK (team_role IN ('lead', 'assistant', 'anaesthetist', 'scrub', 'circulating')),
    PRIMARY KEY (mrn, encounter_no, surgery_no, staff_no),
    FOREIGN KEY (mrn, encounter_no, surgery_no) REFERENCES surgery ON DELETE CASCADE,
    FOREIGN KEY (staff_no, staff_kind) REFERENCES staff (staff_no, staff_kind),
    CONSTRAINT role_needs_kind CHECK (
        (team_role IN ('lead', 'assistant', 'anaesthetist') AND staff_kind = 'doctor')
        OR (team_role IN ('scrub', 'circulating') AND staff_kind IN ('nurse', 'technician')))
);
CREATE UNIQUE INDEX one_lead_surgeon ON surgery_team (mrn, encounter_no, surgery_no) WHERE team_role = 'lead';

CREATE TABLE consent (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    surgery_no   smallint NOT NULL,
    signed_by    varchar(10) NOT NULL CHECK (signed_by IN ('patient', 'guardian', 'court')),
    contact_rank smallint,
    court_ref    varchar(20),
    signed_at    timestamptz NOT NULL,
    withdrawn_at timestamptz,
    PRIMARY KEY (mrn, encounter_no, surgery_no),
    FOREIGN KEY (mrn, encounter_no, surgery_no) REFERENCES surgery,
    FOREIGN KEY (mrn, contact_rank) REFERENCES patient_contact (mrn, rank_no),
    CHECK (CASE signed_by WHEN 'guardian' THEN contact_rank IS NOT NULL AND court_ref IS NULL
                          WHEN 'court'    THEN court_ref ~ '^[0-9]{4}/[A-Z]{1,3}/[0-9]+$' AND court_ref IS NOT NULL AND contact_rank IS NULL
                          ELSE num_nonnulls(contact_rank, court_ref) = 0 END),
    CHECK (withdrawn_at > signed_at)
);

---------------------------------------------------------------- drugs

CREATE TABLE drug (
    atc        atc_code    PRIMARY KEY,
    inn_name   varchar(80) NOT NULL CHECK (inn_name = lower(inn_name) AND inn_name <> ''),
    controlled boolean     NOT NULL DEFAULT false,
    schedule   smallint    CHECK (schedule BETWEEN 1 AND 5),
    CHECK (controlled = (schedule IS NOT NULL))
);
CREATE UNIQUE INDEX drug_inn ON drug (lower(inn_name));

CREATE TABLE drug_interaction (
    atc_a    atc_code NOT NULL REFERENCES drug (atc),
    atc_b    atc_code NOT NULL REFERENCES drug (atc),
    severity varchar(8) NOT NULL CHECK (severity IN ('minor', 'moderate', 'major', 'contra')),
    advice   text,
    PRIMARY KEY (atc_a, atc_b),
    CHECK (atc_a < atc_b),
    CHECK (severity NOT IN ('major', 'contra') OR length(advice) >= 10)
);

CREATE TABLE drug_form (
    atc       atc_code      NOT NULL REFERENCES drug,
    form_code char(3)       NOT NULL CHECK (form_code IN ('TAB', 'CAP', 'INJ', 'SOL', 'CRM', 'INH')),
    strength  numeric(9,3)  NOT NULL CHECK (strength > 0),
    unit      varchar(5)    NOT NULL CHECK (unit IN ('mg', 'g', 'mcg', 'mL', 'IU')),
    max_daily numeric(9,3)  NOT NULL,
    gtin      char(14)      UNIQUE CHECK (gtin ~ '^[0-9]{14}$'),
    PRIMARY KEY (atc, form_code, strength),
    CHECK (max_daily >= strength AND max_daily <= strength * 24),
    CHECK (form_code NOT IN ('TAB', 'CAP') OR unit IN ('mg', 'g', 'mcg'))
);

CREATE TABLE prescription (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    rx_no        smallint NOT NULL CHECK (rx_no > 0),
    atc          atc_code NOT NULL,
    form_code    char(3)  NOT NULL,
    strength     numeric(9,3) NOT NULL,
    prescriber   staff_number NOT NULL,
    prescriber_kind varchar(10) NOT NULL DEFAULT 'doctor' CHECK (prescriber_kind = 'doctor'),
    units_per_dose numeric(5,2) NOT NULL CHECK (units_per_dose > 0 AND units_per_dose <= 10),
    doses_per_day  smallint NOT NULL CHECK (doses_per_day BETWEEN 1 AND 12),
    daily_amount numeric(14,3) GENERATED ALWAYS AS (strength * units_per_dose * doses_per_day) STORED,
    course       daterange NOT NULL,
    prn          boolean  NOT NULL DEFAULT false,
    indication   text,
    PRIMARY KEY (mrn, encounter_no, rx_no),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    FOREIGN KEY (atc, form_code, strength) REFERENCES drug_form,
    FOREIGN KEY (prescriber, prescriber_kind) REFERENCES staff (staff_no, staff_kind),
    CHECK (NOT isempty(course) AND NOT lower_inf(course) AND NOT upper_inf(course) AND upper(course) - lower(course) <= 365),
    CHECK (NOT prn OR indication IS NOT NULL),
    EXCLUDE USING gist (mrn WITH =, atc WITH =, form_code WITH =, course WITH &&) WHERE (NOT prn)
);

CREATE TABLE administration (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    rx_no        smallint NOT NULL,
    due_at       timestamptz NOT NULL,
    given_at     timestamptz,
    given_by     staff_number REFERENCES staff,
    witness      staff_number REFERENCES staff,
    outcome      varchar(8) NOT NULL CHECK (outcome IN ('given', 'refused', 'held', 'missed')),
    PRIMARY KEY (mrn, encounter_no, rx_no, due_at),
    FOREIGN KEY (mrn, encounter_no, rx_no) REFERENCES prescription,
    CHECK ((outcome = 'given') = (given_at IS NOT NULL AND given_by IS NOT NULL)),
    CHECK (num_nulls(given_at, given_by) IN (0, 2)),
    CHECK (witness IS NULL OR (given_by IS NOT NULL AND witness <> given_by)),
    CHECK (given_at BETWEEN due_at - interval '2 hours' AND due_at + interval '6 hours')
);

---------------------------------------------------------------- laboratory

CREATE TABLE lab_test (
    loinc      loinc_code  PRIMARY KEY,
    title      varchar(100) NOT NULL UNIQUE,
    specimen   varchar(8)  NOT NULL CHECK (specimen IN ('blood', 'urine', 'csf', 'swab', 'tissue')),
    unit       varchar(12),
    value_kind char(1)     NOT NULL CHECK (value_kind IN ('N', 'T')),
    decimals   smallint    CHECK (decimals BETWEEN 0 AND 4),
    UNIQUE (loinc, value_kind),
    UNIQUE (loinc, specimen),
    CHECK ((value_kind = 'N' AND unit IS NOT NULL AND decimals IS NOT NULL) OR (value_kind = 'T' AND num_nonnulls(unit, decimals) = 0))
);

CREATE TABLE lab_reference_range (
    loinc      loinc_code NOT NULL,
    value_kind char(1)    NOT NULL DEFAULT 'N' CHECK (value_kind = 'N'),
    sex        sex_code,
    age_years  int4range  NOT NULL CHECK (age_years <@ int4range(0, 131) AND NOT isempty(age_years)),
    low        numeric(10,4) NOT NULL,
    high       numeric(10,4) NOT NULL,
    critical_low  numeric(10,4),
    critical_high numeric(10,4),
    PRIMARY KEY (loinc, sex, age_years),
    FOREIGN KEY (loinc, value_kind) REFERENCES lab_test (loinc, value_kind),
    CHECK (low < high AND coalesce(critical_low, low) <= low AND coalesce(critical_high, high) >= high),
    EXCLUDE USING gist (loinc WITH =, sex WITH =, age_years WITH &&)
);

CREATE TABLE lab_panel (
    panel_code varchar(8)  PRIMARY KEY CHECK (panel_code ~ '^P[A-Z0-9]{2,7}$'),
    title      short_label NOT NULL UNIQUE,
    price      nonneg_amt  NOT NULL
);

CREATE TABLE lab_panel_item (
    panel_code varchar(8) NOT NULL REFERENCES lab_panel ON DELETE CASCADE,
    loinc      loinc_code NOT NULL REFERENCES lab_test,
    position   smallint   NOT NULL CHECK (position BETWEEN 1 AND 60),
    PRIMARY KEY (panel_code, loinc),
    UNIQUE (panel_code, position) DEFERRABLE INITIALLY IMMEDIATE
);

CREATE TABLE lab_order (
    accession    char(11)  PRIMARY KEY CHECK (accession ~ '^[0-9]{2}-[0-9]{3}-[0-9]{4}$' AND substr(accession, 4, 3) BETWEEN '001' AND '366'),
    mrn          mrn       NOT NULL,
    encounter_no integer   NOT NULL,
    panel_code   varchar(8) NOT NULL REFERENCES lab_panel,
    urgency      char(1)   NOT NULL DEFAULT 'R' CHECK (urgency IN ('R', 'U', 'S')),
    ordered_at   timestamptz NOT NULL,
    ordered_by   staff_number NOT NULL REFERENCES staff,
    UNIQUE (accession, panel_code),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter
);

CREATE TABLE lab_specimen (
    accession    char(11)  NOT NULL REFERENCES lab_order,
    tube_no      smallint  NOT NULL CHECK (tube_no BETWEEN 1 AND 12),
    specimen     varchar(8) NOT NULL CHECK (specimen IN ('blood', 'urine', 'csf', 'swab', 'tissue')),
    collected_at timestamptz NOT NULL,
    received_at  timestamptz,
    rejected     boolean   NOT NULL DEFAULT false,
    reject_reason varchar(40),
    volume_ml    numeric(5,1) CHECK (volume_ml > 0 AND volume_ml <= 500),
    PRIMARY KEY (accession, tube_no),
    UNIQUE (accession, tube_no, specimen),
    CHECK (received_at >= collected_at AND received_at < collected_at + interval '3 days'),
    CHECK (rejected = (reject_reason IS NOT NULL)),
    CHECK (NOT rejected OR received_at IS NOT NULL),
    CHECK ((specimen IN ('swab', 'tissue')) = (volume_ml IS NULL))
);

-- overlapping keys: the panel must contain the test, the tube must be of the test's specimen
CREATE TABLE lab_result (
    accession  char(11)   NOT NULL,
    panel_code varchar(8) NOT NULL,
    loinc      loinc_code NOT NULL,
    value_kind char(1)    NOT NULL,
    specimen   varchar(8) NOT NULL,
    tube_no    smallint   NOT NULL,
    num_value  numeric(12,4),
    text_value varchar(80),
    flag       char(2)    CHECK (flag IN ('L', 'H', 'LL', 'HH', 'A')),
    resulted_at timestamptz NOT NULL,
    verified_at timestamptz,
    verified_by staff_number REFERENCES staff,
    PRIMARY KEY (accession, loinc),
    FOREIGN KEY (accession, panel_code) REFERENCES lab_order (accession, panel_code),
    FOREIGN KEY (panel_code, loinc) REFERENCES lab_panel_item,
    FOREIGN KEY (loinc, value_kind) REFERENCES lab_test (loinc, value_kind),
    FOREIGN KEY (loinc, specimen) REFERENCES lab_test (loinc, specimen),
    FOREIGN KEY (accession, tube_no, specimen) REFERENCES lab_specimen (accession, tube_no, specimen),
    CONSTRAINT value_of_kind CHECK ((value_kind = 'N') = (num_value IS NOT NULL) AND (value_kind = 'T') = (text_value IS NOT NULL)),
    CONSTRAINT flag_of_kind  CHECK (flag IS NULL OR (value_kind = 'T') = (flag = 'A')),
    CONSTRAINT verification  CHECK ((verified_at IS NULL) = (verified_by IS NULL) AND (verified_at IS NULL OR verified_at >= resulted_at)),
    CONSTRAINT critical_is_verified CHECK (flag IS NULL OR flag NOT IN ('LL', 'HH') OR verified_at IS NOT NULL)
);

CREATE TABLE vital_sign (
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    taken_at     timestamptz NOT NULL,
    systolic     smallint CHECK (systolic BETWEEN 40 AND 300),
    diastolic    smallint CHECK (diastolic BETWEEN 20 AND 200),
    pulse        smallint CHECK (pulse BETWEEN 20 AND 300),
    temp_c       numeric(3,1) CHECK (temp_c BETWEEN 25.0 AND 45.0),
    height_cm    numeric(4,1) CHECK (height_cm BETWEEN 20 AND 260),
    weight_kg    numeric(4,1) CHECK (weight_kg BETWEEN 0.3 AND 500),
    bmi          numeric(5,2) GENERATED ALWAYS AS (weight_kg / ((height_cm / 100) * (height_cm / 100))) STORED,
    map_mmhg     smallint GENERATED ALWAYS AS ((systolic + 2 * diastolic) / 3) STORED,
    PRIMARY KEY (mrn, encounter_no, taken_at),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    CHECK (num_nonnulls(systolic, pulse, temp_c, weight_kg) >= 1),
    CHECK ((systolic IS NULL) = (diastolic IS NULL) AND (systolic IS NULL OR systolic > diastolic)),
    CHECK (bmi BETWEEN 5 AND 120)
);

---------------------------------------------------------------- blood bank

CREATE TABLE blood_unit (
    din         char(13)  PRIMARY KEY CHECK (din ~ '^[A-NP-Z][0-9]{12}$'),
    component   char(3)   NOT NULL CHECK (component IN ('RBC', 'FFP', 'PLT')),
    abo         abo_group NOT NULL,
    rh          rh_factor NOT NULL,
    collected   date      NOT NULL,
    expires     date      NOT NULL,
    UNIQUE (din, component, abo, rh),
    CHECK (expires > collected AND expires - collected <= CASE component WHEN 'RBC' THEN 42 WHEN 'PLT' THEN 7 ELSE 365 END)
);

CREATE TABLE transfusion (
    din          char(13)  NOT NULL PRIMARY KEY,
    component    char(3)   NOT NULL,
    unit_abo     abo_group NOT NULL,
    unit_rh      rh_factor NOT NULL,
    mrn          mrn       NOT NULL,
    encounter_no integer   NOT NULL,
    patient_abo  abo_group NOT NULL,
    patient_rh   rh_factor NOT NULL,
    started_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    volume_ml    smallint  CHECK (volume_ml BETWEEN 1 AND 600),
    FOREIGN KEY (din, component, unit_abo, unit_rh) REFERENCES blood_unit (din, component, abo, rh),
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    CONSTRAINT red_cell_compatible CHECK (component <> 'RBC' OR
        ((unit_abo = 'O' OR unit_abo = patient_abo OR patient_abo = 'AB') AND (unit_rh = '-' OR patient_rh = '+'))),
    CONSTRAINT plasma_compatible CHECK (component <> 'FFP' OR unit_abo = 'AB' OR unit_abo = patient_abo OR patient_abo = 'O'),
    CONSTRAINT transfused_within_4h CHECK (ended_at > started_at AND ended_at <= started_at + interval '4 hours'),
    CONSTRAINT volume_when_ended CHECK ((ended_at IS NULL) = (volume_ml IS NULL))
);

---------------------------------------------------------------- rota and clinics

CREATE TABLE duty_shift (
    staff_no   staff_number NOT NULL REFERENCES staff,
    ward_code  ward_code    NOT NULL REFERENCES ward,
    shift_kind char(1)      NOT NULL CHECK (shift_kind IN ('D', 'E', 'N')),
    works      tsrange      NOT NULL,
    break_min  smallint     NOT NULL DEFAULT 30 CHECK (break_min BETWEEN 0 AND 90),
    PRIMARY KEY (staff_no, works),
    CHECK (lower(works) IS NOT NULL AND upper(works) - lower(works) BETWEEN interval '4 hours' AND interval '13 hours'),
    CHECK (CASE shift_kind WHEN 'D' THEN EXTRACT(hour FROM lower(works)) BETWEEN 6 AND 9
                           WHEN 'E' THEN EXTRACT(hour FROM lower(works)) BETWEEN 13 AND 16
                           ELSE EXTRACT(hour FROM lower(works)) >= 19 END),
    EXCLUDE USING gist (staff_no WITH =, works WITH &&)
);

CREATE TABLE clinic_slot (
    dept_code  varchar(6)   NOT NULL REFERENCES department,
    staff_no   staff_number NOT NULL REFERENCES staff,
    day        date         NOT NULL CHECK (EXTRACT(isodow FROM day) < 6),
    starts     time         NOT NULL CHECK (starts BETWEEN time '08:00' AND time '17:30'),
    ends       time         NOT NULL CHECK (ends <= time '18:00'),
    PRIMARY KEY (staff_no, day, starts),
    CHECK (ends - starts IN (interval '15 minutes', interval '30 minutes', interval '1 hour')),
    EXCLUDE USING gist (staff_no WITH =, tsrange(day + starts, day + ends) WITH &&)
);

CREATE TABLE appointment (
    staff_no   staff_number NOT NULL,
    day        date         NOT NULL,
    starts     time         NOT NULL,
    mrn        mrn          NOT NULL REFERENCES patient,
    state      varchar(9)   NOT NULL DEFAULT 'booked' CHECK (state IN ('booked', 'arrived', 'done', 'no_show', 'cancelled')),
    encounter_no integer,
    booked_at  timestamp    NOT NULL,
    PRIMARY KEY (staff_no, day, starts, booked_at),
    FOREIGN KEY (staff_no, day, starts) REFERENCES clinic_slot,
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    CHECK ((state IN ('arrived', 'done')) = (encounter_no IS NOT NULL)),
    CHECK (booked_at < day + starts)
);
CREATE UNIQUE INDEX slot_taken_once ON appointment (staff_no, day, starts) WHERE state <> 'cancelled';

CREATE TABLE referral (
    mrn          mrn        NOT NULL REFERENCES patient,
    referral_no  integer    NOT NULL CHECK (referral_no > 0),
    from_dept    varchar(6) REFERENCES department,
    external_gp  short_label,
    to_dept      varchar(6) NOT NULL REFERENCES department,
    code         icd10      REFERENCES icd_code,
    follows_no   integer,
    made_on      date       NOT NULL,
    due_by       date       NOT NULL,
    PRIMARY KEY (mrn, referral_no),
    FOREIGN KEY (mrn, follows_no) REFERENCES referral (mrn, referral_no),
    CHECK (follows_no < referral_no),
    CHECK (num_nonnulls(from_dept, external_gp) = 1),
    CHECK (from_dept <> to_dept),
    CHECK (due_by BETWEEN made_on + 1 AND made_on + 126)
);

---------------------------------------------------------------- billing

CREATE TABLE invoice (
    invoice_no   char(12) PRIMARY KEY CHECK (invoice_no ~ '^INV[0-9]{4}-[0-9]{4}$'),
    mrn          mrn      NOT NULL,
    encounter_no integer  NOT NULL,
    issued_on    date     NOT NULL,
    due_on       date     NOT NULL,
    net          nonneg_amt NOT NULL,
    vat_pct      percent  NOT NULL DEFAULT 0 CHECK (vat_pct IN (0, 6, 10, 20)),
    vat          numeric(12,2) GENERATED ALWAYS AS (round(net * vat_pct / 100, 2)) STORED,
    gross        numeric(12,2) GENERATED ALWAYS AS (net + round(net * vat_pct / 100, 2)) STORED,
    paid         nonneg_amt NOT NULL,
    patient_share percent NOT NULL,
    insurer_share percent NOT NULL,
    state_share   percent NOT NULL DEFAULT 0,
    settled      boolean  GENERATED ALWAYS AS (paid >= net + round(net * vat_pct / 100, 2)) STORED,
    FOREIGN KEY (mrn, encounter_no) REFERENCES encounter,
    UNIQUE (mrn, encounter_no, issued_on),
    CHECK (substr(invoice_no, 4, 4) = EXTRACT(year FROM issued_on)::int::text),
    CHECK (due_on - issued_on BETWEEN 14 AND 90),
    CHECK (paid <= gross),
    CHECK (patient_share + insurer_share + state_share = 100)
);

CREATE TABLE invoice_line (
    invoice_no char(12) NOT NULL REFERENCES invoice ON DELETE CASCADE,
    line_no    smallint NOT NULL CHECK (line_no BETWEEN 1 AND 500),
    kind       varchar(9) NOT NULL CHECK (kind IN ('procedure', 'drug', 'panel', 'room')),
    proc_code  char(7)  REFERENCES procedure_code,
    atc        atc_code,
    form_code  char(3),
    strength   numeric(9,3),
    panel_code varchar(8) REFERENCES lab_panel,
    ward_code  ward_code,
    room_no    smallint,
    qty        numeric(8,2) NOT NULL CHECK (qty > 0),
    unit_price positive_amt NOT NULL,
    discount_pct percent NOT NULL DEFAULT 0,
    amount     numeric(14,2) GENERATED ALWAYS AS (round(qty * unit_price * (1 - discount_pct / 100), 2)) STORED CHECK (amount <= 250000),
    PRIMARY KEY (invoice_no, line_no),
    FOREIGN KEY (atc, form_code, strength) REFERENCES drug_form MATCH FULL,
    FOREIGN KEY (ward_code, room_no) REFERENCES room MATCH FULL,
    CONSTRAINT exactly_one_item CHECK (num_nonnulls(proc_code, atc, panel_code, ward_code) = 1),
    CONSTRAINT item_of_kind CHECK (CASE kind WHEN 'procedure' THEN proc_code IS NOT NULL WHEN 'drug' THEN atc IS NOT NULL
                                             WHEN 'panel' THEN panel_code IS NOT NULL ELSE ward_code IS NOT NULL END),
    CONSTRAINT whole_days CHECK (kind = 'drug' OR qty = trunc(qty))
);

CREATE TABLE claim (
    invoice_no   char(12)  NOT NULL REFERENCES invoice,
    attempt      smallint  NOT NULL CHECK (attempt BETWEEN 1 AND 9),
    mrn          mrn       NOT NULL,
    insurer_code char(4)   NOT NULL,
    member_no    varchar(15) NOT NULL,
    claimed      positive_amt NOT NULL,
    approved     nonneg_amt NULL,
    denied_code  varchar(5) CHECK (denied_code ~ '^(CO|PR|OA)[0-9]{1,3}$'),
    submitted_at timestamptz NOT NULL,
    decided_at   timestamptz,
    previous_attempt smallint GENERATED ALWAYS AS (nullif(attempt - 1, 0)) STORED,
    PRIMARY KEY (invoice_no, attempt),
    FOREIGN KEY (mrn, insurer_code, member_no) REFERENCES patient_coverage,
    FOREIGN KEY (invoice_no, previous_attempt) REFERENCES claim (invoice_no, attempt),
    CHECK (approved <= claimed),
    CHECK ((decided_at IS NULL) = (approved IS NULL)),
    CHECK (decided_at >= submitted_at),
    CHECK (denied_code IS NULL OR approved < claimed)
);
