"""The tables of the ledger.

Rows that are read often are short: large values stand last, so that what stands before them is read without them. Pages
are large because partial results take many.
"""

__all__ = ["SCHEMA", "SCHEMA_VERSION"]

SCHEMA_VERSION = 7
"""Ledgers of other versions are refused."""

SCHEMA = """
PRAGMA page_size = 16384;
CREATE TABLE IF NOT EXISTS step (
    step TEXT PRIMARY KEY, position INTEGER, kind TEXT, state TEXT, seconds REAL, workers INTEGER, executor TEXT);
CREATE TABLE IF NOT EXISTS plan (
    step TEXT, sample TEXT, position INTEGER, key TEXT, file TEXT, uuid TEXT, tree TEXT, first INTEGER, last INTEGER,
    subtree TEXT, PRIMARY KEY (step, sample, position));
CREATE INDEX IF NOT EXISTS plan_key ON plan (key);
CREATE TABLE IF NOT EXISTS done (
    key TEXT PRIMARY KEY, attempt INTEGER, checksum INTEGER, outputs TEXT, partial BLOB);
CREATE INDEX IF NOT EXISTS done_files ON done (key) WHERE outputs != '[]';
CREATE TABLE IF NOT EXISTS subtree (
    key TEXT PRIMARY KEY, first TEXT, checksum INTEGER, chunks BLOB, merged BLOB);
CREATE TABLE IF NOT EXISTS attempt (
    key TEXT, number INTEGER, outcome TEXT, message TEXT, log TEXT, time REAL, metrics TEXT);
CREATE INDEX IF NOT EXISTS attempt_key ON attempt (key);
CREATE TABLE IF NOT EXISTS result (
    step TEXT, sample TEXT, key TEXT, merged BLOB, checksum INTEGER, completeness REAL, chunks BLOB,
    PRIMARY KEY (step, sample, key));
CREATE TABLE IF NOT EXISTS current (
    step TEXT, sample TEXT, key TEXT, made TEXT, inputs TEXT, PRIMARY KEY (step, sample));
CREATE TABLE IF NOT EXISTS wanted (step TEXT, sample TEXT, made TEXT, PRIMARY KEY (step, sample));
CREATE TABLE IF NOT EXISTS version (number INTEGER PRIMARY KEY, time REAL, steps TEXT);
CREATE TABLE IF NOT EXISTS verified (path TEXT PRIMARY KEY, stamp TEXT, adler32 TEXT);
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS lost (
    step TEXT, sample TEXT, key TEXT, file TEXT, entries INTEGER, kind TEXT, message TEXT);
CREATE INDEX IF NOT EXISTS lost_key ON lost (key);
CREATE VIEW IF NOT EXISTS available AS
    SELECT plan.rowid AS plan, step, sample, position, plan.key AS key, last - first AS entries, subtree, attempt,
    checksum, outputs, partial FROM plan JOIN done ON plan.key = done.key
    WHERE partial IS NOT NULL OR subtree IN (SELECT key FROM subtree);
CREATE VIEW IF NOT EXISTS kept AS
    SELECT * FROM available
    WHERE NOT EXISTS (SELECT 1 FROM lost WHERE lost.key = available.key AND lost.step = available.step
    AND lost.sample = available.sample);
"""
