#!/bin/sh
# load.sh ENGINE DATABASE LIST RECORDS... - the list of images and the lines of their runs into a database
#
# SPDX-License-Identifier: MIT
#
# ENGINE: sqlite (DATABASE: one file), postgresql (DATABASE: as psql -d has it), duckdb (one file; with the command duckdb).
# What is there is kept, lines that were loaded before are passed over; the list takes the place of the last one. A line that is
# not whole, because a disk was full, is left out and counted. An answer that did not fit into its line is taken from its file, beside
# RECORDS or where the line says. FLEET_CHECKPOINT: as for job.sh.
set -eu
[ $# -ge 4 ] || {
    echo "usage: load.sh sqlite|postgresql|duckdb DATABASE LIST RECORDS..." >&2
    exit 1
}
engine=$1 database=$2 list=$3
shift 3
# What is not there must not look like an answer: without a list no image would be missing, and no question would name one.
for file in "$list" "$@"; do
    if [ -d "$file" ] || ! [ -r "$file" ]; then
        echo "load.sh: '$file' cannot be read: nothing is loaded" >&2
        exit 1
    fi
done
if ! grep -q . <"$list"; then
    echo "load.sh: there is no image in the list '$list': nothing is loaded" >&2
    exit 1
fi
checkpoint=$(printf '%s' "${FLEET_CHECKPOINT:-nightly}" | sed "s/'/''/g")
home=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# So that no name of a file is one of awk's options or assignments.
left=$#
while [ "$left" -gt 0 ]; do
    case $1 in
        /*) set -- "$@" "$1" ;;
        *) set -- "$@" "./$1" ;;
    esac
    shift
    left=$((left - 1))
done

# Lines as a CSV of one column, so that any byte can be in them. What is not UTF-8 no database takes: such a name in the list is
# changed and marked, so that no record is found for it; such a record is no JSON any more.
quote_lines() {
    tr '\000' '\001' | LC_ALL=C awk -v marked="$1" '
        /^$/ { next }
        /[\200-\377]/ {
            rest = $0
            gsub(/\360[\220-\277][\200-\277][\200-\277]|\364[\200-\217][\200-\277][\200-\277]/, " ", rest)
            gsub(/[\361-\363][\200-\277][\200-\277][\200-\277]/, " ", rest)
            gsub(/\340[\240-\277][\200-\277]|\355[\200-\237][\200-\277]/, " ", rest)
            gsub(/[\341-\354\356\357][\200-\277][\200-\277]/, " ", rest)
            gsub(/[\302-\337][\200-\277]/, " ", rest)
            if (rest ~ /[\200-\377]/) {
                gsub(/[\200-\377]/, "?")
                $0 = $0 " (not UTF-8)"
                print >marked
            }
        }
        { gsub(/"/, "\"\""); print "\"" $0 "\"" }'
}

# A line each, also of a file whose last one has no end; nothing in a record is a control character. What is in a file of a job is a
# record as well, with all in it: it takes the place of the line, and "whole" tells the two apart.
LC_ALL=C awk -v missing="$scratch/missing" '
    /^{"schema":"qcbm.synth\// && match($0, /"details":".*","result":null}$/) {
        details = substr($0, RSTART, RLENGTH - 15)
        path = substr(details, 12, length(details) - 12)
        name = path
        sub(/.*\//, "", name)
        beside = FILENAME
        sub(/[^\/]*$/, "", beside)
        answer = ""
        if ((getline answer < (beside name)) <= 0 && path ~ /^\//)
            getline answer < path
        close(beside name)
        close(path)
        match($0, /"started":"[^"]*"/)
        if (answer ~ /^{"schema":"qcbm.synth\/.*}$/ && index(answer, substr($0, RSTART, RLENGTH)))
            $0 = substr(answer, 1, length(answer) - 1) "," details ",\"whole\":true}"
        else
            print path > missing
    }
    { print }' "$@" | quote_lines "$scratch/no-records" >"$scratch/records"
quote_lines "$scratch/no-names" <"$list" >"$scratch/images"

# Each prints how many lines are no JSON: one that was cut short, and the next one behind it in the same line.

load_sqlite() {
    sqlite3 -bail "$database" <<SQL
.timeout 60000
CREATE TEMP TABLE incoming (text TEXT);
.import --csv '$scratch/records' incoming
BEGIN IMMEDIATE;
.read '$home/drop.sql'
.read '$home/sqlite.sql'
INSERT OR IGNORE INTO record (line) SELECT text FROM incoming WHERE json_valid(text);
DELETE FROM record
WHERE line ->> '$.whole' IS NULL AND
      started IN (SELECT text ->> '$.started' FROM incoming WHERE json_valid(text) AND instr(text, '"details":"')) AND
      EXISTS (SELECT 1 FROM record whole WHERE whole.started = record.started AND whole.line ->> '$.whole' AND
                                               whole.line ->> '$.details' = record.line ->> '$.details');
.mode list
SELECT 'left out: ' || count(*) FROM incoming WHERE NOT json_valid(text);
DELETE FROM incoming;
.import --csv '$scratch/images' incoming
DELETE FROM fleet;
INSERT INTO fleet VALUES ('$checkpoint');
DELETE FROM image;
INSERT OR IGNORE INTO image SELECT text FROM incoming;
.read '$home/views.sql'
COMMIT;
SQL
}

load_postgresql() {
    psql -q -X -t -A -v ON_ERROR_STOP=1 -d "$database" <<SQL
SET client_min_messages = warning;
BEGIN;
\i '$home/drop.sql'
\i '$home/postgresql.sql'
CREATE TEMP TABLE incoming (text text);
\copy incoming FROM '$scratch/records' WITH (FORMAT csv, ENCODING 'UTF8')
CREATE FUNCTION pg_temp.is_json(line text) RETURNS boolean LANGUAGE plpgsql AS '
BEGIN
    PERFORM line::jsonb;
    RETURN true;
EXCEPTION WHEN invalid_text_representation OR untranslatable_character THEN
    RETURN false;
END';
INSERT INTO record (line) SELECT text::jsonb FROM incoming WHERE pg_temp.is_json(text) ON CONFLICT DO NOTHING;
DELETE FROM record
WHERE line ->> 'whole' IS NULL AND
      started IN (SELECT text::jsonb ->> 'started' FROM incoming WHERE text LIKE '%"details":"%' AND pg_temp.is_json(text)) AND
      EXISTS (SELECT 1 FROM record w WHERE w.started = record.started AND w.line ->> 'whole' IS NOT NULL AND
                                           w.line ->> 'details' = record.line ->> 'details');
SELECT 'left out: ' || count(*) FROM incoming WHERE NOT pg_temp.is_json(text);
TRUNCATE incoming;
\copy incoming FROM '$scratch/images' WITH (FORMAT csv, ENCODING 'UTF8')
DELETE FROM fleet;
INSERT INTO fleet VALUES ('$checkpoint');
DELETE FROM image;
INSERT INTO image SELECT text FROM incoming ON CONFLICT DO NOTHING;
\i '$home/views.sql'
COMMIT;
SQL
}

load_duckdb() {
    duckdb -bail -csv -noheader "$database" <<SQL
.read '$home/drop.sql'
.read '$home/duckdb.sql'
CREATE TEMP TABLE incoming AS
SELECT column0 AS text FROM read_csv('$scratch/records', header = false, delim = ',', quote = '"', escape = '"', all_varchar = true,
                                     columns = {'column0': 'VARCHAR'});
INSERT OR IGNORE INTO record SELECT text::JSON, md5(text) FROM incoming WHERE json_valid(text);
DELETE FROM record -- ->> binds less than IS and IN here
WHERE (line ->> '$.whole') IS NULL AND (line ->> '$.details') IN
      (SELECT line ->> '$.details' FROM record WHERE (line ->> '$.whole') IS NOT NULL);
SELECT 'left out: ' || count(*) FROM incoming WHERE NOT json_valid(text);
DELETE FROM fleet;
INSERT INTO fleet VALUES ('$checkpoint');
DELETE FROM image;
INSERT OR IGNORE INTO image
SELECT column0 FROM read_csv('$scratch/images', header = false, delim = ',', quote = '"', escape = '"', all_varchar = true,
                             columns = {'column0': 'VARCHAR'});
.read '$home/views.sql'
SQL
}

case $engine in
    sqlite | postgresql | duckdb) "load_$engine" >"$scratch/said" ;;
    *)
        echo "load.sh: no engine '$engine': sqlite, postgresql or duckdb" >&2
        exit 1
        ;;
esac
bad=$(sed -n 's/.*left out: \([0-9]*\).*/\1/p' "$scratch/said")
[ ! -s "$scratch/missing" ] ||
    echo "load.sh: answers whose file is not there, beside the records or where it was: $(wc -l <"$scratch/missing")" >&2
[ ! -s "$scratch/no-names" ] ||
    echo "load.sh: names in the list that are not UTF-8, for which no record is found: $(wc -l <"$scratch/no-names")" >&2
[ "$bad" -eq 0 ] || echo "load.sh: lines that are no record, left out: $bad" >&2
