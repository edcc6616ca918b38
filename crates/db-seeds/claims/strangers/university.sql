-- University of Northmere: registry, teaching, research and archive in one database.
-- Five namespaces; the archive team came from SQL Server and kept its "MixedCase" names.

CREATE SCHEMA registry;
CREATE SCHEMA teaching;
CREATE SCHEMA research;
CREATE SCHEMA "Archive";
CREATE SCHEMA infra;

-- one numbering for everything that carries a barcode (books, boxes, instruments)
CREATE SEQUENCE infra.barcode_seq AS bigint START WITH 200000001 INCREMENT BY 1 MINVALUE 200000001 MAXVALUE 299999999;

CREATE TYPE registry.party_kind   AS ENUM ('person', 'unit', 'external');
CREATE TYPE teaching.term_kind    AS ENUM ('autumn', 'spring', 'summer');
CREATE TYPE "Archive"."AccessLevel" AS ENUM ('Open', 'Reading Room', 'Restricted', 'Sealed');
CREATE TYPE research.stage        AS ENUM ('idea', 'submitted', 'awarded', 'running', 'finished', 'rejected');

CREATE DOMAIN infra.tree_path AS text CHECK (VALUE ~ '^[a-z0-9]+(\.[a-z0-9]+){0,5}$');
CREATE DOMAIN infra.ects      AS numeric(4,1) CHECK (VALUE > 0 AND VALUE <= 60 AND VALUE * 2 = trunc(VALUE * 2));
CREATE DOMAIN infra.orcid     AS char(19) CHECK (VALUE ~ '^0000-000[0-9]-[0-9]{4}-[0-9]{3}[0-9X]$');
CREATE DOMAIN infra.week_mask AS bit(7) CHECK (VALUE <> B'0000000');

------------------------------------------------------------------ registry

CREATE TABLE registry.party (
    party_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        registry.party_kind NOT NULL,
    sort_name   text NOT NULL CHECK (sort_name = btrim(sort_name) AND sort_name <> ''),
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    search      tsvector GENERATED ALWAYS AS (to_tsvector('simple', sort_name)) STORED,
    UNIQUE (party_id, kind),
    CHECK (retired_at IS NULL OR retired_at > created_at)
);
CREATE INDEX ON registry.party USING gin (search);

-- subtype tables: primary key is the foreign key, discriminator pinned by CHECK
CREATE TABLE registry.person (
    party_id    bigint PRIMARY KEY,
    kind        registry.party_kind NOT NULL DEFAULT 'person' CHECK (kind = 'person'),
    given_names text[] NOT NULL CHECK (cardinality(given_names) BETWEEN 1 AND 5 AND array_to_string(given_names, '') <> ''),
    family_name text NOT NULL,
    born_on     date NOT NULL CHECK (born_on BETWEEN DATE '1900-01-01' AND DATE '2015-12-31'),
    orcid       infra.orcid UNIQUE,
    login       text NOT NULL CHECK (login ~ '^[a-z]{2,8}[0-9]{0,3}$'),
    mailbox     text GENERATED ALWAYS AS (login || '@northmere.example') STORED,
    nationality char(2) NOT NULL CHECK (nationality = upper(nationality) AND length(btrim(nationality)) = 2),
    FOREIGN KEY (party_id, kind) REFERENCES registry.party (party_id, kind) ON DELETE CASCADE
);
CREATE UNIQUE INDEX person_login_key ON registry.person (lower(login));

CREATE TABLE registry.unit (
    party_id    bigint PRIMARY KEY,
    kind        registry.party_kind NOT NULL DEFAULT 'unit' CHECK (kind = 'unit'),
    code        text NOT NULL UNIQUE CHECK (code ~ '^[A-Z]{2,5}$'),
    path        infra.tree_path NOT NULL UNIQUE,
    parent_path infra.tree_path REFERENCES registry.unit (path) DEFERRABLE INITIALLY DEFERRED,
    level_no    integer GENERATED ALWAYS AS (cardinality(string_to_array(path, '.'))) STORED,
    dean_id     bigint REFERENCES registry.person (party_id),
    FOREIGN KEY (party_id, kind) REFERENCES registry.party (party_id, kind) ON DELETE CASCADE,
    CHECK ((parent_path IS NULL AND path !~ '\.') OR (parent_path IS NOT NULL AND path ~ '\.' AND parent_path = regexp_replace(path, '\.[^.]+$', ''))),
    CHECK (split_part(path, '.', 1) = 'univ')
);

CREATE TABLE registry.external_body (
    party_id    bigint PRIMARY KEY,
    kind        registry.party_kind NOT NULL DEFAULT 'external' CHECK (kind = 'external'),
    ror         text UNIQUE CHECK (ror ~ '^0[a-hj-km-np-tv-z0-9]{6}[0-9]{2}$'),
    country     char(2) NOT NULL CHECK (country ~ '^[A-Z]{2}$'),
    funder      boolean NOT NULL DEFAULT false,
    ip_ranges   cidr[] NOT NULL DEFAULT '{}',
    UNIQUE (party_id, funder),
    FOREIGN KEY (party_id, kind) REFERENCES registry.party (party_id, kind) ON DELETE CASCADE,
    CHECK (NOT funder OR ror IS NOT NULL)
);

CREATE TABLE registry.staff (
    party_id    bigint PRIMARY KEY REFERENCES registry.person,
    staff_no    integer GENERATED ALWAYS AS IDENTITY (START WITH 5000 INCREMENT BY 3) UNIQUE,
    unit_id     bigint NOT NULL REFERENCES registry.unit,
    grade       smallint NOT NULL CHECK (grade BETWEEN 1 AND 10),
    title       text NOT NULL CHECK (title IN ('Prof', 'Dr', 'Mr', 'Ms', 'Mx')),
    contract    daterange NOT NULL CHECK (NOT isempty(contract) AND NOT lower_inf(contract)),
    line_manager bigint REFERENCES registry.staff (party_id) ON DELETE SET NULL,
    CHECK (line_manager <> party_id),
    CHECK (title <> 'Prof' OR grade >= 9)
);

CREATE TABLE registry.student (
    party_id    bigint PRIMARY KEY REFERENCES registry.person (party_id),
    matric_no   char(8) NOT NULL UNIQUE CHECK (matric_no ~ '^[0-9]{2}[UGR][0-9]{5}$'),
    level       char(1) NOT NULL GENERATED ALWAYS AS (substr(matric_no, 3, 1)) STORED,
    enrolled_on date NOT NULL,
    tutor_id    bigint REFERENCES registry.staff,
    CHECK (lpad((EXTRACT(year FROM enrolled_on)::int % 100)::text, 2, '0') = left(matric_no, 2)),
    CHECK (tutor_id <> party_id),
    CHECK (substr(matric_no, 3, 1) <> 'R' OR tutor_id IS NOT NULL)
);

CREATE TABLE registry.name_history (
    party_id    bigint NOT NULL REFERENCES registry.party ON DELETE CASCADE,
    version     smallint NOT NULL CHECK (version > 0),
    old_name    text NOT NULL,
    new_name    text NOT NULL,
    changed_at  timestamptz NOT NULL,
    PRIMARY KEY (party_id, version),
    UNIQUE (party_id, changed_at),
    CHECK (old_name <> new_name)
);

CREATE TABLE registry.role (
    role_code   text PRIMARY KEY CHECK (role_code ~ '^[a-z]+(_[a-z]+)*$'),
    label       text NOT NULL UNIQUE,
    rights      bit varying(32) NOT NULL CHECK (length(rights) >= 4)
);

CREATE TABLE registry.role_holding (
    role_code   text NOT NULL REFERENCES registry.role ON UPDATE CASCADE,
    person_id   bigint NOT NULL REFERENCES registry.person,
    unit_id     bigint NOT NULL REFERENCES registry.unit,
    held        tstzrange NOT NULL CHECK (NOT isempty(held) AND lower_inc(held) AND NOT upper_inc(held)),
    PRIMARY KEY (role_code, person_id, unit_id, held)
);
CREATE UNIQUE INDEX role_holding_current ON registry.role_holding (role_code, unit_id) WHERE upper_inf(held);

------------------------------------------------------------------ infra

CREATE TABLE infra.site (
    site_id   smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code      char(3) NOT NULL UNIQUE CHECK (code ~ '^[A-Z]{3}$'),
    name      text NOT NULL,
    outline   polygon CHECK (npoints(outline) >= 3),
    opens     time NOT NULL DEFAULT '07:00',
    closes    time NOT NULL DEFAULT '22:00',
    CHECK (closes > opens + interval '4 hours')
);

CREATE TABLE infra.building (
    building_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     smallint NOT NULL REFERENCES infra.site,
    number      smallint NOT NULL CHECK (number BETWEEN 1 AND 199),
    owner_unit  bigint NOT NULL REFERENCES registry.unit,
    floors      int4range NOT NULL CHECK (floors <@ int4range(-3, 25) AND NOT isempty(floors)),
    UNIQUE (site_id, number)
);

CREATE TABLE infra.room (
    building_id integer NOT NULL REFERENCES infra.building ON DELETE CASCADE,
    room_code   text NOT NULL CHECK (room_code ~ '^(B[1-3]|G|[1-9]|1[0-9]|2[0-4])\.[0-9]{2}[a-d]?$'),
    use_kind    text NOT NULL CHECK (use_kind IN ('lecture', 'lab', 'office', 'strongroom', 'server')),
    seats       smallint CHECK (seats BETWEEN 1 AND 800),
    humidity    numrange,
    PRIMARY KEY (building_id, room_code),
    UNIQUE (building_id, room_code, use_kind),
    CHECK ((use_kind IN ('lecture', 'lab', 'office')) = (seats IS NOT NULL)),
    CHECK ((use_kind = 'strongroom') = (humidity IS NOT NULL)),
    CHECK (humidity <@ numrange(20, 65, '[]') AND upper(humidity) - lower(humidity) BETWEEN 1 AND 20)
);

CREATE TABLE infra.subnet (
    net         cidr PRIMARY KEY CHECK (family(net) = 4 AND masklen(net) BETWEEN 20 AND 29 AND net <<= inet '10.0.0.0/8'),
    vlan        smallint NOT NULL UNIQUE CHECK (vlan BETWEEN 2 AND 4094),
    gateway     inet NOT NULL,
    unit_id     bigint REFERENCES registry.unit,
    CHECK (gateway << net AND masklen(gateway) = 32 AND gateway <> host(net)::inet)
);

CREATE TABLE infra.device (
    device_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hostname    text NOT NULL UNIQUE CHECK (hostname ~ '^[a-z][a-z0-9-]{1,20}[a-z0-9]$'),
    mac         macaddr UNIQUE,
    net         cidr NOT NULL REFERENCES infra.subnet,
    address     inet NOT NULL UNIQUE,
    building_id integer,
    room_code   text,
    barcode     bigint NOT NULL UNIQUE DEFAULT nextval('infra.barcode_seq'),
    uptime_goal interval DAY TO SECOND NOT NULL DEFAULT '30 days' CHECK (uptime_goal > '1 hour'),
    FOREIGN KEY (building_id, room_code) REFERENCES infra.room (building_id, room_code) MATCH FULL,
    CHECK (address << net),
    CHECK (trunc(mac) <> macaddr '00:00:00:00:00:00')
);

------------------------------------------------------------------ teaching

CREATE TABLE teaching.term (
    term_id   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    year_no   smallint NOT NULL CHECK (year_no BETWEEN 1990 AND 2060),
    kind      teaching.term_kind NOT NULL,
    span      daterange NOT NULL,
    exam_span daterange NOT NULL,
    UNIQUE (year_no, kind),
    EXCLUDE USING gist (span WITH &&),
    CHECK (upper(span) - lower(span) BETWEEN 56 AND 140),
    CHECK (exam_span <@ span AND NOT isempty(exam_span) AND upper(exam_span) = upper(span)),
    CHECK (EXTRACT(year FROM lower(span)) = year_no)
);

CREATE TABLE teaching.programme (
    programme_code text PRIMARY KEY CHECK (programme_code ~ '^[BMD][A-Z]{2,3}-[0-9]{3}$'),
    unit_id     bigint NOT NULL REFERENCES registry.unit,
    title       text NOT NULL,
    award       text NOT NULL CHECK (award IN ('BSc', 'BA', 'MSc', 'MA', 'PhD')),
    duration    interval YEAR TO MONTH NOT NULL CHECK (duration BETWEEN '1 year' AND '6 years'),
    credits     infra.ects,
    search      tsvector GENERATED ALWAYS AS (setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('simple', programme_code), 'B')) STORED,
    UNIQUE (unit_id, title),
    CHECK (left(programme_code, 1) = CASE award WHEN 'BSc' THEN 'B' WHEN 'BA' THEN 'B' WHEN 'PhD' THEN 'D' ELSE 'M' END),
    CHECK ((award = 'PhD') = (credits IS NULL))
);

CREATE TABLE teaching.course (
    course_code text PRIMARY KEY CHECK (course_code ~ '^[A-Z]{2,5}[1-7][0-9]{3}$'),
    unit_code   text NOT NULL REFERENCES registry.unit (code) ON UPDATE CASCADE,
    title       text NOT NULL,
    level_no    smallint NOT NULL,
    credits     infra.ects NOT NULL,
    exam_pct    numeric(5,2) NOT NULL CHECK (exam_pct BETWEEN 0 AND 100),
    essay_pct   numeric(5,2) NOT NULL CHECK (essay_pct BETWEEN 0 AND 100),
    lab_pct     numeric(5,2) NOT NULL DEFAULT 0 CHECK (lab_pct BETWEEN 0 AND 100),
    replaces    text REFERENCES teaching.course,
    CHECK (exam_pct + essay_pct + lab_pct = 100),
    CHECK (regexp_replace(course_code, '[0-9]+$', '') = unit_code),
    CHECK (level_no = substring(course_code FROM '[0-9]')::int),
    CHECK (replaces <> course_code)
);

CREATE TABLE teaching.prerequisite (
    course_code text NOT NULL REFERENCES teaching.course ON DELETE CASCADE,
    requires    text NOT NULL REFERENCES teaching.course,
    min_grade   numeric(2,1) CHECK (min_grade IN (1.0, 1.3, 1.7, 2.0, 2.3, 2.7, 3.0, 3.3, 3.7, 4.0)),
    PRIMARY KEY (course_code, requires),
    CHECK (course_code <> requires),
    CHECK (right(requires, 4)::int < right(course_code, 4)::int)
);

CREATE TABLE teaching.programme_course (
    programme_code text NOT NULL REFERENCES teaching.programme,
    course_code    text NOT NULL REFERENCES teaching.course,
    year_no        smallint NOT NULL CHECK (year_no BETWEEN 1 AND 6),
    mandatory      boolean NOT NULL,
    option_group   char(1) CHECK (option_group ~ '[A-H]'),
    PRIMARY KEY (programme_code, course_code),
    CHECK (mandatory = (option_group IS NULL))
);

CREATE TABLE teaching.offering (
    offering_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    course_code text NOT NULL REFERENCES teaching.course,
    term_id     integer NOT NULL REFERENCES teaching.term,
    lead_id     bigint NOT NULL REFERENCES registry.staff,
    capacity    smallint NOT NULL CHECK (capacity > 0),
    enrolled    smallint NOT NULL DEFAULT 0 CHECK (enrolled >= 0),
    waiting     bigint[] NOT NULL DEFAULT '{}',
    UNIQUE (course_code, term_id),
    UNIQUE (offering_id, term_id),
    CHECK (enrolled <= capacity),
    CHECK (enrolled = capacity OR cardinality(waiting) = 0)
);

CREATE TABLE teaching.class_meeting (
    offering_id bigint NOT NULL,
    term_id     integer NOT NULL,
    meeting_no  smallint NOT NULL CHECK (meeting_no BETWEEN 1 AND 12),
    weekdays    infra.week_mask NOT NULL,
    at_time     time NOT NULL CHECK (EXTRACT(minute FROM at_time) IN (0, 15, 30, 45) AND EXTRACT(second FROM at_time) = 0),
    lasts       interval NOT NULL CHECK (lasts BETWEEN interval '45 minutes' AND interval '4 hours'),
    building_id integer NOT NULL,
    room_code   text NOT NULL,
    room_use    text NOT NULL CHECK (room_use IN ('lecture', 'lab')),
    PRIMARY KEY (offering_id, meeting_no),
    FOREIGN KEY (offering_id, term_id) REFERENCES teaching.offering (offering_id, term_id),
    FOREIGN KEY (building_id, room_code, room_use) REFERENCES infra.room (building_id, room_code, use_kind),
    UNIQUE (term_id, building_id, room_code, weekdays, at_time),
    CHECK ((weekdays & B'0000011') = B'0000000')          -- no weekends
);

CREATE TABLE teaching.study (
    student_id     bigint NOT NULL REFERENCES registry.student,
    programme_code text NOT NULL REFERENCES teaching.programme,
    started        integer NOT NULL REFERENCES teaching.term,
    status         text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'leave', 'graduated', 'withdrawn')),
    finished_on    date,
    final_grade    numeric(2,1) CHECK (final_grade BETWEEN 1.0 AND 4.0),
    PRIMARY KEY (student_id, programme_code),
    CHECK ((status IN ('graduated', 'withdrawn')) = (finished_on IS NOT NULL)),
    CHECK ((status = 'graduated') = (final_grade IS NOT NULL))
);
CREATE UNIQUE INDEX study_one_active ON teaching.study (student_id) WHERE status IN ('active', 'leave');

CREATE TABLE teaching.enrolment (
    student_id     bigint NOT NULL,
    programme_code text NOT NULL,
    course_code    text NOT NULL,
    offering_id    bigint NOT NULL REFERENCES teaching.offering,
    attempt        smallint NOT NULL DEFAULT 1 CHECK (attempt IN (1, 2, 3)),
    exam_mark      numeric(5,2) CHECK (exam_mark BETWEEN 0 AND 100),
    essay_mark     numeric(5,2) CHECK (essay_mark BETWEEN 0 AND 100),
    withdrawn_at   timestamptz,
    enrolled_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (student_id, offering_id),
    UNIQUE (student_id, course_code, attempt),
    FOREIGN KEY (student_id, programme_code) REFERENCES teaching.study,
    FOREIGN KEY (programme_code, course_code) REFERENCES teaching.programme_course,
    CHECK (withdrawn_at > enrolled_at),
    CHECK (withdrawn_at IS NULL OR num_nonnulls(exam_mark, essay_mark) = 0)
);

CREATE TABLE teaching.thesis (
    student_id     bigint NOT NULL,
    programme_code text NOT NULL,
    title          text NOT NULL,
    abstract       text,
    supervisor     bigint NOT NULL REFERENCES registry.staff,
    second_marker  bigint NOT NULL REFERENCES registry.staff,
    submitted_on   date,
    embargo        daterange,
    language       char(2) NOT NULL DEFAULT 'en' CHECK (language IN ('en', 'de', 'fr', 'la')),
    doc            tsvector GENERATED ALWAYS AS (
                     to_tsvector('english', coalesce(title, '') || ' ' || coalesce(abstract, ''))) STORED,
    PRIMARY KEY (student_id, programme_code),
    FOREIGN KEY (student_id, programme_code) REFERENCES teaching.study ON DELETE CASCADE,
    CHECK (supervisor <> second_marker AND supervisor <> student_id AND second_marker <> student_id),
    CHECK (embargo IS NULL OR (submitted_on IS NOT NULL AND lower(embargo) = submitted_on AND upper(embargo) <= submitted_on + 3653)),
    CHECK (abstract IS NULL OR length(abstract) BETWEEN 20 AND 5000)
);

CREATE FUNCTION teaching.check_offering_lead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM registry.staff s WHERE s.party_id = NEW.lead_id AND s.grade >= 5) THEN
        RAISE EXCEPTION 'the lead of an offering must be staff of grade 5 or above (staff %)', NEW.lead_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER offering_lead BEFORE INSERT OR UPDATE OF lead_id ON teaching.offering
    FOR EACH ROW EXECUTE FUNCTION teaching.check_offering_lead();

CREATE FUNCTION teaching.check_enrolment_course() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM teaching.offering o WHERE o.offering_id = NEW.offering_id AND o.course_code = NEW.course_code;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'offering % is not an offering of course %', NEW.offering_id, NEW.course_code;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER enrolment_course BEFORE INSERT OR UPDATE ON teaching.enrolment
    FOR EACH ROW EXECUTE FUNCTION teaching.check_enrolment_course();

------------------------------------------------------------------ research

CREATE TABLE research.discipline (
    path        infra.tree_path PRIMARY KEY,
    parent      infra.tree_path REFERENCES research.discipline (path),
    label       text NOT NULL,
    frascati    numeric(2,1) CHECK (frascati BETWEEN 1.0 AND 6.9),
    UNIQUE NULLS NOT DISTINCT (parent, label),
    CHECK ((parent IS NULL) = (position('.' IN path) = 0)),
    CHECK (parent IS NULL OR (starts_with(path, parent || '.') AND position('.' IN substr(path, length(parent) + 2)) = 0))
);

CREATE TABLE research.project (
    project_id  bigint GENERATED ALWAYS AS IDENTITY (START WITH 100) PRIMARY KEY,
    acronym     text NOT NULL CHECK (acronym ~ '^[A-Z][A-Za-z0-9-]{2,14}$'),
    title       text NOT NULL CHECK (length(title) BETWEEN 5 AND 250),
    stage       research.stage NOT NULL DEFAULT 'idea',
    lead_id     bigint NOT NULL,                 -- FK below: the leader must be a member
    field       infra.tree_path NOT NULL REFERENCES research.discipline,
    runs        daterange,
    parent_id   bigint REFERENCES research.project,
    keywords    text[] NOT NULL CHECK (cardinality(keywords) BETWEEN 2 AND 8 AND array_length(keywords, 1) = cardinality(keywords)),
    doc         tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED,
    CHECK (parent_id <> project_id),
    CHECK ((stage IN ('awarded', 'running', 'finished')) = (runs IS NOT NULL)),
    CHECK (runs IS NULL OR (upper(runs) - lower(runs) BETWEEN 90 AND 3700))
);
CREATE UNIQUE INDEX project_acronym_key ON research.project (lower(acronym)) WHERE stage <> 'rejected';

CREATE TABLE research.project_member (
    project_id  bigint NOT NULL REFERENCES research.project ON DELETE CASCADE,
    person_id   bigint NOT NULL REFERENCES registry.person,
    role        text NOT NULL CHECK (role IN ('lead', 'investigator', 'postdoc', 'doctoral', 'technician')),
    effort_pct  smallint NOT NULL CHECK (effort_pct BETWEEN 5 AND 100 AND effort_pct % 5 = 0),
    active      tstzrange NOT NULL DEFAULT tstzrange(now(), NULL) CHECK (NOT isempty(active)),
    PRIMARY KEY (project_id, person_id)
);
CREATE UNIQUE INDEX member_single_lead ON research.project_member (project_id) WHERE role = 'lead';
ALTER TABLE research.project ADD CONSTRAINT project_lead_is_member
    FOREIGN KEY (project_id, lead_id) REFERENCES research.project_member (project_id, person_id) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE research.grant_award (
    grant_ref   text PRIMARY KEY CHECK (grant_ref ~ '^[A-Z]{2,4}/[A-Z][0-9]{6}/[1-9]$'),
    project_id  bigint NOT NULL REFERENCES research.project,
    funder_id   bigint NOT NULL,
    is_funder   boolean NOT NULL DEFAULT true CHECK (is_funder),
    amount      numeric(14,2) NOT NULL CHECK (amount >= 1000),
    overhead    numeric(5,2) NOT NULL CHECK (overhead BETWEEN 0 AND 80),
    staff_cost  numeric(14,2) NOT NULL CHECK (staff_cost >= 0),
    other_cost  numeric(14,2) NOT NULL CHECK (other_cost >= 0),
    total       numeric(16,2) GENERATED ALWAYS AS (round(amount * (1 + overhead / 100), 2)) STORED,
    renews      text UNIQUE REFERENCES research.grant_award,
    FOREIGN KEY (funder_id, is_funder) REFERENCES registry.external_body (party_id, funder),
    CHECK (staff_cost + other_cost = amount),
    CHECK (left(renews, -1) = left(grant_ref, -1) AND right(renews, 1)::int = right(grant_ref, 1)::int - 1),
    CHECK ((right(grant_ref, 1) = '1') = (renews IS NULL))
);

CREATE TABLE research.milestone (
    project_id  bigint NOT NULL REFERENCES research.project ON DELETE CASCADE,
    number      smallint NOT NULL CHECK (number BETWEEN 1 AND 40),
    after_no    smallint,
    due         date NOT NULL,
    reached     date,
    weight_pct  numeric(5,2) NOT NULL CHECK (weight_pct > 0 AND weight_pct <= 40),
    PRIMARY KEY (project_id, number),
    FOREIGN KEY (project_id, after_no) REFERENCES research.milestone (project_id, number),
    CHECK (after_no < number)
);

CREATE TABLE research.instrument (
    barcode     bigint PRIMARY KEY DEFAULT nextval('infra.barcode_seq') CHECK (barcode BETWEEN 200000001 AND 299999999),
    name        text NOT NULL,
    building_id integer NOT NULL,
    room_code   text NOT NULL,
    room_use    text NOT NULL DEFAULT 'lab' CHECK (room_use = 'lab'),
    device_id   bigint UNIQUE REFERENCES infra.device ON DELETE SET NULL,
    channels    bit(16) NOT NULL DEFAULT B'0000000000000001',
    calibrate_every interval NOT NULL CHECK (calibrate_every >= interval '1 day' AND calibrate_every <= interval '2 years'),
    FOREIGN KEY (building_id, room_code, room_use) REFERENCES infra.room (building_id, room_code, use_kind),
    CHECK (get_bit(channels, 15) = 1)
);

CREATE TABLE research.instrument_booking (
    barcode     bigint NOT NULL REFERENCES research.instrument,
    slot        tstzrange NOT NULL CHECK (lower_inc(slot) AND upper(slot) - lower(slot) BETWEEN interval '15 minutes' AND interval '14 days'),
    project_id  bigint NOT NULL,
    person_id   bigint NOT NULL,
    purpose     text,
    PRIMARY KEY (barcode, slot),
    FOREIGN KEY (project_id, person_id) REFERENCES research.project_member
);

CREATE FUNCTION research.no_double_booking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM research.instrument_booking b
                WHERE b.barcode = NEW.barcode AND b.slot && NEW.slot AND b.slot <> NEW.slot) THEN
        RAISE EXCEPTION 'instrument % is already booked in %', NEW.barcode, NEW.slot USING ERRCODE = 'exclusion_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER no_double_booking BEFORE INSERT ON research.instrument_booking
    FOR EACH ROW EXECUTE FUNCTION research.no_double_booking();

CREATE TABLE research.dataset (
    dataset_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    project_id  bigint NOT NULL REFERENCES research.project,
    doi         text UNIQUE CHECK (doi ~ '^10\.[0-9]{4,5}/[a-z0-9.]+$'),
    version_no  integer[] NOT NULL CHECK (cardinality(version_no) = 3 AND 0 <= ALL (version_no)),
    derived_from bigint REFERENCES research.dataset,
    barcode     bigint REFERENCES research.instrument,
    licence     text CHECK (licence IN ('CC0', 'CC-BY', 'CC-BY-NC', 'ODbL')),
    manifest    jsonb NOT NULL CHECK (jsonb_typeof(manifest) = 'object' AND manifest ? 'files' AND jsonb_typeof(manifest -> 'files') = 'array'),
    checksum    bytea NOT NULL UNIQUE CHECK (length(checksum) IN (16, 32)),
    embargo_until date,
    UNIQUE (project_id, version_no),
    CHECK (derived_from <> dataset_id),
    CHECK (num_nonnulls(doi, licence) IN (0, 2))
);

CREATE TABLE research.publication (
    pub_id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        char(1) NOT NULL CHECK (kind IN ('J', 'B', 'C')),
    title       text NOT NULL,
    year_no     smallint NOT NULL CHECK (year_no BETWEEN 1950 AND 2060),
    doc         tsvector GENERATED ALWAYS AS (to_tsvector('english', title)) STORED,
    UNIQUE (pub_id, kind)
);

CREATE TABLE research.journal_article (
    pub_id  bigint PRIMARY KEY,
    kind    char(1) NOT NULL DEFAULT 'J' CHECK (kind = 'J'),
    issn    char(9) NOT NULL CHECK (issn ~ '^\d{4}-\d{3}[\dX]$'),
    volume  smallint NOT NULL CHECK (volume > 0),
    pages   int4range NOT NULL CHECK (NOT isempty(pages) AND lower(pages) > 0 AND upper(pages) - lower(pages) <= 200),
    FOREIGN KEY (pub_id, kind) REFERENCES research.publication (pub_id, kind) ON DELETE CASCADE,
    UNIQUE (issn, volume, pages)
);

CREATE TABLE research.book (
    pub_id  bigint PRIMARY KEY,
    kind    char(1) NOT NULL DEFAULT 'B' CHECK (kind = 'B'),
    isbn    char(13) NOT NULL UNIQUE CHECK (isbn ~ '^97[89][0-9]{10}$'),
    publisher_id bigint REFERENCES registry.external_body,
    chapters smallint NOT NULL CHECK (chapters BETWEEN 1 AND 60),
    FOREIGN KEY (pub_id, kind) REFERENCES research.publication (pub_id, kind) ON DELETE CASCADE,
    -- ISBN-13: weights 1,3,1,3,...; the sum is a multiple of ten
    CONSTRAINT isbn_check_digit CHECK ((
        substr(isbn, 1, 1)::int + substr(isbn, 3, 1)::int + substr(isbn, 5, 1)::int + substr(isbn, 7, 1)::int
      + substr(isbn, 9, 1)::int + substr(isbn, 11, 1)::int + substr(isbn, 13, 1)::int
      + 3 * (substr(isbn, 2, 1)::int + substr(isbn, 4, 1)::int + substr(isbn, 6, 1)::int
      + substr(isbn, 8, 1)::int + substr(isbn, 10, 1)::int + substr(isbn, 12, 1)::int)) % 10 = 0)
);

CREATE TABLE research.authorship (
    pub_id      bigint NOT NULL REFERENCES research.publication ON DELETE CASCADE,
    position_no smallint NOT NULL CHECK (position_no BETWEEN 1 AND 200),
    person_id   bigint REFERENCES registry.person,
    outside_name text,
    affiliation bigint REFERENCES registry.party (party_id),
    share_pct   numeric(5,2) NOT NULL CHECK (share_pct > 0 AND share_pct <= 100),
    corresponding boolean NOT NULL DEFAULT false,
    PRIMARY KEY (pub_id, position_no),
    UNIQUE (pub_id, person_id),
    CHECK (num_nonnulls(person_id, outside_name) = 1),
    CHECK (NOT corresponding OR person_id IS NOT NULL)
);
CREATE UNIQUE INDEX authorship_corresponding ON research.authorship (pub_id) WHERE corresponding;

CREATE TABLE research.project_output (
    project_id bigint NOT NULL REFERENCES research.project,
    output_no  smallint NOT NULL CHECK (output_no > 0),
    pub_id     bigint REFERENCES research.publication,
    dataset_id bigint REFERENCES research.dataset,
    PRIMARY KEY (project_id, output_no),
    UNIQUE NULLS NOT DISTINCT (project_id, pub_id, dataset_id),
    CHECK ((pub_id IS NULL) <> (dataset_id IS NULL))
);

------------------------------------------------------------------ "Archive"

CREATE TABLE "Archive"."Fonds" (
    "FondsId"    integer GENERATED ALWAYS AS IDENTITY,
    "RefCode"    text NOT NULL,
    "Title"      text NOT NULL,
    "Creator"    bigint NOT NULL REFERENCES registry.party (party_id),
    "DateFrom"   date NOT NULL,
    "DateTo"     date,
    "Access"     "Archive"."AccessLevel" NOT NULL DEFAULT 'Open',
    "ClosedFor"  interval YEAR,
    CONSTRAINT "PK_Fonds" PRIMARY KEY ("FondsId"),
    CONSTRAINT "UQ_Fonds_Ref" UNIQUE ("RefCode"),
    CONSTRAINT "CK_Fonds_Ref" CHECK ("RefCode" ~ '^UN[A-Z]{2} [A-Z]{1,3}/[0-9]{1,4}$'),
    CONSTRAINT "CK_Fonds_Dates" CHECK ("DateTo" >= "DateFrom"),
    CONSTRAINT "CK_Fonds_Closed" CHECK (("Access" IN ('Restricted', 'Sealed')) = ("ClosedFor" IS NOT NULL)),
    CONSTRAINT "CK_Fonds_Years" CHECK ("ClosedFor" BETWEEN interval '5 years' AND interval '100 years')
);

CREATE TABLE "Archive"."Series" (
    "FondsId"    integer NOT NULL REFERENCES "Archive"."Fonds",
    "SeriesNo"   smallint NOT NULL CHECK ("SeriesNo" BETWEEN 1 AND 999),
    "ParentNo"   smallint,
    "Title"      text NOT NULL,
    "Path"       text NOT NULL CHECK ("Path" ~ '^/([0-9]{3}/)+$'),
    "Mode"       char(1) NOT NULL DEFAULT 'P' CHECK ("Mode" IN ('P', 'D')),
    CONSTRAINT "PK_Series" PRIMARY KEY ("FondsId", "SeriesNo"),
    CONSTRAINT "UQ_Series_Path" UNIQUE ("FondsId", "Path"),
    CONSTRAINT "UQ_Series_Mode" UNIQUE ("FondsId", "SeriesNo", "Mode"),
    CONSTRAINT "FK_Series_Parent" FOREIGN KEY ("FondsId", "ParentNo") REFERENCES "Archive"."Series" ("FondsId", "SeriesNo"),
    CONSTRAINT "CK_Series_Path" CHECK (right("Path", 4) = lpad("SeriesNo"::text, 3, '0') || '/'),
    CONSTRAINT "CK_Series_Parent" CHECK ("ParentNo" < "SeriesNo"
        AND ("ParentNo" IS NULL OR right("Path", 8) = lpad("ParentNo"::text, 3, '0') || '/' || lpad("SeriesNo"::text, 3, '0') || '/')),
    CONSTRAINT "CK_Series_Root" CHECK (("ParentNo" IS NULL) = (length("Path") = 5))
);

CREATE TABLE "Archive"."Container" (
    "Barcode"    bigint NOT NULL DEFAULT nextval('infra.barcode_seq'),
    "Kind"       text NOT NULL CHECK ("Kind" IN ('Box', 'Folder', 'Roll', 'Disk')),
    "BuildingId" integer NOT NULL,
    "RoomCode"   text NOT NULL,
    "RoomUse"    text NOT NULL DEFAULT 'strongroom' CHECK ("RoomUse" = 'strongroom'),
    "Shelf"      text NOT NULL CHECK ("Shelf" ~ '^[A-Z]{1,2}-[0-9]{1,2}-[0-9]{1,2}$'),
    "Inside"     bigint,
    CONSTRAINT "PK_Container" PRIMARY KEY ("Barcode"),
    CONSTRAINT "FK_Container_Room" FOREIGN KEY ("BuildingId", "RoomCode", "RoomUse") REFERENCES infra.room (building_id, room_code, use_kind),
    CONSTRAINT "FK_Container_Inside" FOREIGN KEY ("Inside") REFERENCES "Archive"."Container",
    CONSTRAINT "CK_Container_Inside" CHECK ("Inside" IS NULL OR ("Kind" <> 'Box' AND "Inside" <> "Barcode"))
);
CREATE UNIQUE INDEX "UX_Container_Shelf" ON "Archive"."Container" ("BuildingId", "RoomCode", upper("Shelf")) WHERE "Inside" IS NULL;

CREATE TABLE "Archive"."Item" (
    "ItemId"     bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT "PK_Item" PRIMARY KEY,
    "FondsId"    integer NOT NULL,
    "SeriesNo"   smallint NOT NULL,
    "Mode"       char(1) NOT NULL,
    "ItemNo"     integer NOT NULL CHECK ("ItemNo" > 0),
    "Title"      text NOT NULL,
    "Written"    daterange CHECK (NOT isempty("Written")),
    "Access"     "Archive"."AccessLevel" NOT NULL,
    "OpenFrom"   date,
    "Words"      tsvector GENERATED ALWAYS AS (to_tsvector('english', "Title")) STORED,
    CONSTRAINT "UQ_Item_No" UNIQUE ("FondsId", "SeriesNo", "ItemNo"),
    CONSTRAINT "UQ_Item_Mode" UNIQUE ("ItemId", "Mode"),
    CONSTRAINT "FK_Item_Series" FOREIGN KEY ("FondsId", "SeriesNo", "Mode") REFERENCES "Archive"."Series" ("FondsId", "SeriesNo", "Mode"),
    CONSTRAINT "CK_Item_Open" CHECK (CASE "Access" WHEN 'Open' THEN "OpenFrom" IS NULL
                                          WHEN 'Sealed' THEN "OpenFrom" IS NOT NULL AND "OpenFrom" > DATE '2000-01-01' ELSE true END)
);

CREATE TABLE "Archive"."PhysicalItem" (
    "ItemId"    bigint NOT NULL,
    "Mode"      char(1) NOT NULL DEFAULT 'P' CHECK ("Mode" = 'P'),
    "Barcode"   bigint NOT NULL REFERENCES "Archive"."Container",
    "Slot"      smallint NOT NULL CHECK ("Slot" BETWEEN 1 AND 60),
    "Sheets"    integer CHECK ("Sheets" > 0),
    "Condition" bit(4) NOT NULL DEFAULT B'0000',
    PRIMARY KEY ("ItemId"),
    UNIQUE ("Barcode", "Slot"),
    FOREIGN KEY ("ItemId", "Mode") REFERENCES "Archive"."Item" ("ItemId", "Mode") ON DELETE CASCADE,
    CHECK ("Condition" <> B'1111')
);

CREATE TABLE "Archive"."DigitalItem" (
    "ItemId"    bigint PRIMARY KEY,
    "Mode"      char(1) NOT NULL DEFAULT 'D' CHECK ("Mode" = 'D'),
    "Uri"       text NOT NULL UNIQUE CHECK ("Uri" ~ '^(s3|file)://[a-z0-9-]+(/[A-Za-z0-9_.-]+)+$'),
    "Puid"      text NOT NULL CHECK ("Puid" ~ '^(x-)?fmt/[0-9]{1,4}$'),
    "Bytes"     bigint NOT NULL CHECK ("Bytes" BETWEEN 1 AND 10995116277760),
    "Sha256"    text NOT NULL CHECK ("Sha256" ~ '^[0-9a-f]{64}$'),
    "StoredOn"  bigint REFERENCES infra.device,
    "DataSetId" bigint REFERENCES research.dataset,
    FOREIGN KEY ("ItemId", "Mode") REFERENCES "Archive"."Item" ("ItemId", "Mode") ON DELETE CASCADE
);
CREATE UNIQUE INDEX "UX_Digital_Content" ON "Archive"."DigitalItem" (left("Sha256", 32), "Bytes");

CREATE TABLE "Archive"."Reader" (
    "PartyId"   bigint PRIMARY KEY REFERENCES registry.person (party_id),
    "TicketNo"  char(7) NOT NULL UNIQUE CHECK ("TicketNo" ~ '^R[0-9]{6}$' AND substr("TicketNo", 2)::int % 11 < 10),
    "ValidTo"   date NOT NULL,
    "Clearance" "Archive"."AccessLevel" NOT NULL DEFAULT 'Reading Room' CHECK ("Clearance" < 'Sealed')
);

CREATE TABLE "Archive"."Loan" (
    "ItemId"    bigint NOT NULL REFERENCES "Archive"."PhysicalItem",
    "Reader"    bigint NOT NULL REFERENCES "Archive"."Reader",
    "Out"       timestamptz NOT NULL,
    "DueIn"     interval HOUR NOT NULL DEFAULT '8 hours' CHECK ("DueIn" BETWEEN interval '1 hour' AND interval '72 hours'),
    "Back"      timestamptz,
    "Seat"      text CHECK ("Seat" ~ '^D[0-9]{2}$'),
    PRIMARY KEY ("ItemId", "Out"),
    CHECK ("Back" > "Out"),
    CONSTRAINT "EX_Loan_Reader" EXCLUDE USING gist (int8range("Reader", "Reader", '[]') WITH &&, tstzrange("Out", "Back") WITH &&)
);
CREATE UNIQUE INDEX "UX_Loan_Out" ON "Archive"."Loan" ("ItemId") WHERE "Back" IS NULL;

CREATE FUNCTION "Archive"."CheckLoan"() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE lvl "Archive"."AccessLevel"; clr "Archive"."AccessLevel";
BEGIN
    SELECT i."Access" INTO lvl FROM "Archive"."Item" i WHERE i."ItemId" = NEW."ItemId";
    SELECT r."Clearance" INTO clr FROM "Archive"."Reader" r WHERE r."PartyId" = NEW."Reader";
    IF lvl > clr THEN
        RAISE EXCEPTION 'reader % may not see item %', NEW."Reader", NEW."ItemId";
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER "TR_Loan" BEFORE INSERT ON "Archive"."Loan" FOR EACH ROW EXECUTE FUNCTION "Archive"."CheckLoan"();

CREATE TABLE "Archive"."AccessLog" (
    "LogId"     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "ItemId"    bigint NOT NULL REFERENCES "Archive"."DigitalItem",
    "At"        timestamptz NOT NULL DEFAULT now(),
    "From"      inet NOT NULL CHECK (masklen("From") IN (32, 128)),
    "UserAgent" text,
    "Reader"    bigint REFERENCES "Archive"."Reader",
    "Verdict"   bit(2) NOT NULL CHECK ("Verdict" IN (B'00', B'01', B'11')),
    CHECK ("Reader" IS NOT NULL OR "Verdict" = B'00')
);

CREATE TABLE "Archive"."Citation" (
    pub_id      bigint NOT NULL REFERENCES research.publication,
    "ItemId"    bigint NOT NULL REFERENCES "Archive"."Item",
    "Page"      integer CHECK ("Page" > 0),
    "Folio"     text CHECK ("Folio" ~ '^f\.[1-9][0-9]*[rv]$'),
    PRIMARY KEY (pub_id, "ItemId"),
    CHECK (num_nonnulls("Page", "Folio") <= 1)
);
