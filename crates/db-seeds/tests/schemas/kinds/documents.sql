-- Ways into documents, kinds of what is there, and documents within documents.
CREATE TABLE settings (
    id integer PRIMARY KEY, options jsonb NOT NULL, filter jsonb NOT NULL, steps jsonb NOT NULL, kind text NOT NULL,
    CHECK (jsonb_typeof(options) = 'object' AND options ?& ARRAY['features', 'invoice']
        AND jsonb_typeof(options -> 'features') = 'array' AND options #>> '{invoice,prefix}' ~ '^[A-Z]{2,5}$'),
    CHECK (filter @> '{"version": 2}' AND filter ? 'match' AND jsonb_array_length(filter -> 'match') > 0
        AND NOT filter ? 'password'),
    CHECK (jsonb_typeof(steps) = 'array' AND jsonb_array_length(steps) BETWEEN 1 AND 5
        AND steps -> 0 ?& ARRAY['op', 'path'] AND steps #>> '{0,op}' IN ('add', 'remove')),
    CHECK (kind IN ('a', 'b') AND (kind <> 'a' OR (options ->> 'precision')::int BETWEEN 0 AND 6)),
    CHECK (options ->> 'kind' = kind)
);
