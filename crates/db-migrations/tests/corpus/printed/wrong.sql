-- What diesel's own program of 2.3 writes so that it does not compile, or names something else.
CREATE TYPE date AS ENUM ('a');
CREATE TYPE "array" AS ENUM ('b');
CREATE TYPE _hidden AS ENUM ('c');
CREATE TYPE "3d" AS ENUM ('d');
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('e');
CREATE TYPE mood AS ENUM ('f');
CREATE DOMAIN inner_text AS varchar(9);
CREATE DOMAIN outer_text AS inner_text;
CREATE TABLE odd (
    id int PRIMARY KEY, a public.date, b "array"[], c _hidden, d "3d", e app.mood, f mood, letter "char", bits bit(3),
    born pg_catalog.date, text outer_text, "x y" int, "x-y" int
);
CREATE TABLE no_key (id int);
CREATE TABLE app."odd name" (id int PRIMARY KEY, f mood);
CREATE TABLE async (id int PRIMARY KEY, async int);
