-- Lengths of time, days and times of day together, fields of dates.
CREATE TYPE step AS ENUM ('new', 'open', 'done', 'lost');
CREATE TABLE slots (
    day date NOT NULL CHECK (EXTRACT(isodow FROM day) < 6), starts time NOT NULL CHECK (starts BETWEEN '08:00' AND '17:30'),
    ends time NOT NULL CHECK (ends <= '18:00'), booked timestamp NOT NULL, lasts interval NOT NULL, kept interval YEAR NOT NULL,
    month date NOT NULL, leaves timestamp NOT NULL, was step NOT NULL, becomes step NOT NULL, far integer NOT NULL,
    PRIMARY KEY (day, starts),
    CHECK (ends - starts IN (interval '15 minutes', interval '30 minutes', interval '1 hour')),
    CHECK (booked < day + starts), CHECK (lasts BETWEEN '45 minutes' AND '4 hours'),
    CHECK (kept BETWEEN interval '5 years' AND interval '100 years'),
    CHECK (EXTRACT(day FROM month) = 1 AND month = date_trunc('month', month::timestamp)::date),
    CHECK (leaves::date = day), CHECK (becomes > was), CHECK (far BETWEEN 50 AND 9000),
    CHECK (extract(epoch FROM lasts) >= far / 3)
);
