-- drop.sql - the views go before they are made again, so that a later version has its own, in the SQL that all engines share
-- SPDX-License-Identifier: MIT
DROP VIEW IF EXISTS growth;
DROP VIEW IF EXISTS failure;
DROP VIEW IF EXISTS last_state;
DROP VIEW IF EXISTS checkpoint_run;
DROP VIEW IF EXISTS clock;
DROP VIEW IF EXISTS run;
