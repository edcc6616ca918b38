-- What only triggers say: two references must agree, a parent must be of a kind, ranges must not overlap.
CREATE TABLE courses (code text PRIMARY KEY CHECK (code ~ '^[A-Z]{3}[0-9]{3}$'));
CREATE TABLE teachers (id integer PRIMARY KEY, grade smallint NOT NULL CHECK (grade BETWEEN 1 AND 10));
CREATE TABLE offerings (id integer PRIMARY KEY, course text NOT NULL REFERENCES courses, lead integer NOT NULL REFERENCES teachers);
CREATE TABLE programmes (name text NOT NULL, course text NOT NULL REFERENCES courses, PRIMARY KEY (name, course));
CREATE TABLE enrolments (
    student integer NOT NULL, programme text NOT NULL, course text NOT NULL, offering integer NOT NULL REFERENCES offerings,
    PRIMARY KEY (student, offering), FOREIGN KEY (programme, course) REFERENCES programmes
);
CREATE TABLE bookings (room integer NOT NULL CHECK (room BETWEEN 1 AND 3), held tstzrange NOT NULL, PRIMARY KEY (room, held));
CREATE FUNCTION is_senior() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NOT EXISTS (SELECT FROM teachers WHERE id = NEW.lead AND grade >= 5) THEN RAISE EXCEPTION 'too junior'; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER is_senior BEFORE INSERT ON offerings FOR EACH ROW EXECUTE FUNCTION is_senior();
CREATE FUNCTION is_of_course() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM FROM offerings WHERE id = NEW.offering AND course = NEW.course;
    IF NOT FOUND THEN RAISE EXCEPTION 'not an offering of that course'; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER is_of_course BEFORE INSERT ON enrolments FOR EACH ROW EXECUTE FUNCTION is_of_course();
CREATE FUNCTION is_free() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM bookings AS b WHERE b.room = NEW.room AND b.held && NEW.held) THEN
        RAISE EXCEPTION 'taken'; END IF;
    RETURN NEW; END $$;
CREATE TRIGGER is_free BEFORE INSERT ON bookings FOR EACH ROW EXECUTE FUNCTION is_free();
