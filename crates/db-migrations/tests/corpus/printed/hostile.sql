-- Names that Rust, SQL or table! have for themselves, and such as no one would write.
CREATE TYPE "my mood" AS ENUM ('a');
CREATE TYPE "HTTPStatus" AS ENUM ('b');
CREATE TYPE snake_case_2_words AS ENUM ('c');
CREATE TYPE a_type_with_a_name_that_is_so_long_that_no_line_can_hold_it_all AS ENUM ('d');

CREATE TABLE "table" (id int PRIMARY KEY, "type" text, "self" int, "Self" int, "columns" int, is_nullable int);
CREATE TABLE "Users" ("Id" int PRIMARY KEY, "userName" text, "e-mail" text, "2fa" bool, "a b" int, "naïve" int, __x int, "_" int);
CREATE TABLE "order items" (
    "order" int PRIMARY KEY, "user id" int REFERENCES "Users", "select" int, "quote""d" int, fn int, "loop" int REFERENCES "table",
    feels "my mood", status "HTTPStatus", words snake_case_2_words NOT NULL,
    long a_type_with_a_name_that_is_so_long_that_no_line_can_hold_it_all
);
CREATE TABLE async (id int PRIMARY KEY, "await" int, "match" int NOT NULL, "$" int);
CREATE TABLE "3d" (id int PRIMARY KEY, "order items" int REFERENCES "order items");
CREATE TABLE "ünïcode" (id int PRIMARY KEY, "é" int);
CREATE TABLE keyed ("type" int, "a-b" int, n int, PRIMARY KEY ("type", "a-b"));
