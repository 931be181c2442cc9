-- Format 1 of the key service's database. Every `sealed` column but a slot's is XAES-256-GCM under the record key of the root version
-- that its row names, bound to every clear column of the row (docs/object-format.md, "The key service"). Times are microseconds.

CREATE TABLE kms (
    name  TEXT PRIMARY KEY,       -- store_id (16 bytes), account_id, region
    value BLOB NOT NULL
);

CREATE TABLE roots (
    version     BIGINT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    sealed      BLOB              -- NULL: the one in force, which the slots open. Else the one before, under the one in force, until all is under that
);

-- What must be readable before the root is: each row is in `records` too, and must be the same there.
CREATE TABLE slots (
    slot_id      BLOB PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    kind         TEXT NOT NULL,
    parameters   BLOB NOT NULL,   -- MessagePack, Argon2id's salt among them
    created_us   BIGINT NOT NULL,
    fingerprint  BLOB NOT NULL,   -- of the slot's key
    root_version BIGINT NOT NULL,
    sealed       BLOB NOT NULL    -- the root key, under the slot's key
);

CREATE TABLE records (
    kind         TEXT NOT NULL,   -- key, material, alias, grant; slot, secret
    record_id    TEXT NOT NULL,
    key_id       BLOB NOT NULL,   -- empty where it goes with no key
    revision     BIGINT NOT NULL, -- the state revision of the commit that wrote it
    root_version BIGINT NOT NULL,
    sealed       BLOB NOT NULL,
    PRIMARY KEY (kind, record_id)
);

-- Which records there are, with their revisions, in 256 pages: an older copy, a missing and an added record are told from it.
CREATE TABLE revisions (
    page         BIGINT PRIMARY KEY,
    revision     BIGINT NOT NULL,
    root_version BIGINT NOT NULL,
    sealed       BLOB NOT NULL
);

CREATE TABLE heads (
    name         TEXT PRIMARY KEY, -- state: the revision of the whole, and of each page. audit: the end of the audit log, and which events are in it
    revision     BIGINT NOT NULL,
    root_version BIGINT NOT NULL,
    sealed       BLOB NOT NULL
);

CREATE TABLE events (             -- committed with their changes, and not yet known to be in the audit log
    number       BIGINT PRIMARY KEY,
    root_version BIGINT NOT NULL,
    sealed       BLOB NOT NULL
);
