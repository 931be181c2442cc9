-- Format 1 of the identity store. Every `sealed` column is XAES-256-GCM under the identity row key; every clear column of its row is in
-- the associated data (docs/object-format.md, "The identity store"). Times are microseconds since the epoch.

CREATE TABLE store (
    name  TEXT PRIMARY KEY,   -- store_id, identity_key_id, head
    value BLOB NOT NULL
);

CREATE TABLE users (
    user_id    TEXT PRIMARY KEY,    -- AIDA...; never used again for another user
    name       TEXT NOT NULL,
    account_id TEXT NOT NULL,
    created_us BIGINT NOT NULL,
    revision   BIGINT NOT NULL,
    sealed     BLOB NOT NULL        -- the user's policies, and which access keys are the user's and active
);
CREATE UNIQUE INDEX users_by_name ON users (lower(name));

CREATE TABLE access_keys (
    access_key_id TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL,
    revision      BIGINT NOT NULL,
    sealed        BLOB NOT NULL     -- the secret
);
