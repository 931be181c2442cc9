-- Format 1 of the index. Every `sealed` column is XAES-256-GCM under the bucket's row key; every clear column of its row is in the
-- associated data (docs/object-format.md, "Rows"). Ids are 16 raw bytes; times are microseconds since the epoch; sizes are plaintext bytes.

CREATE TABLE store (
    name  TEXT PRIMARY KEY,   -- store_id, primary_store_key_id, ...
    value BLOB NOT NULL
);

CREATE TABLE buckets (
    bucket_id      BLOB PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    created_us     BIGINT NOT NULL,
    secret_version BIGINT NOT NULL,   -- the bucket's current secret; it also seals this row
    revision       BIGINT NOT NULL,
    sealed         BLOB NOT NULL
);

CREATE TABLE bucket_secrets (
    bucket_id    BLOB NOT NULL,
    version      BIGINT NOT NULL,
    store_key_id BLOB NOT NULL,
    sealed       BLOB NOT NULL,       -- under the store key
    PRIMARY KEY (bucket_id, version)
);
CREATE INDEX bucket_secrets_by_store_key ON bucket_secrets (store_key_id);

CREATE TABLE object_versions (
    bucket_id        BLOB NOT NULL,
    key              TEXT NOT NULL,
    sequence         BIGINT NOT NULL, -- the newest version of a key has the highest
    version_id       TEXT NOT NULL,
    object_id        BLOB NOT NULL UNIQUE,
    kind             BIGINT NOT NULL, -- 0 object, 1 delete marker
    size             BIGINT NOT NULL,
    last_modified_us BIGINT NOT NULL,
    mode             BIGINT NOT NULL, -- 0 delete marker, 1 SSE-S3, 2 SSE-C, 3 SSE-KMS, 4 SSE-KMS with a bucket key, 5 DSSE-KMS
    format           BIGINT NOT NULL,
    key_arn          TEXT,
    material_id      BLOB,
    bucket_key_id    BLOB,
    secret_version   BIGINT NOT NULL,
    retain_until_us  BIGINT,
    lock_mode        BIGINT NOT NULL,
    legal_hold       BIGINT NOT NULL,
    revision         BIGINT NOT NULL,
    sealed           BLOB NOT NULL,
    PRIMARY KEY (bucket_id, key, sequence),
    UNIQUE (bucket_id, key, version_id)
);
CREATE INDEX object_versions_by_secret ON object_versions (bucket_id, secret_version);

CREATE TABLE object_parts (           -- the parts of multipart objects, in pages, so that LIST never reads them
    bucket_id      BLOB NOT NULL,
    object_id      BLOB NOT NULL,
    page           BIGINT NOT NULL,
    secret_version BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    sealed         BLOB NOT NULL,
    PRIMARY KEY (bucket_id, object_id, page)
);

CREATE INDEX object_parts_by_secret ON object_parts (bucket_id, secret_version);

CREATE TABLE uploads (
    bucket_id      BLOB NOT NULL,
    key            TEXT NOT NULL,
    upload_id      TEXT NOT NULL,     -- sorts by the time of its creation
    object_id      BLOB NOT NULL UNIQUE,
    initiated_us   BIGINT NOT NULL,
    state          BIGINT NOT NULL,   -- 0 open, 1 completed (kept for a while, so that Complete can be repeated)
    finished_us    BIGINT,
    mode           BIGINT NOT NULL,
    key_arn        TEXT,
    material_id    BLOB,
    bucket_key_id  BLOB,
    secret_version BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    sealed         BLOB NOT NULL,
    PRIMARY KEY (bucket_id, key, upload_id)
);
CREATE INDEX uploads_finished ON uploads (finished_us) WHERE finished_us IS NOT NULL;

CREATE TABLE upload_parts (
    bucket_id      BLOB NOT NULL,
    object_id      BLOB NOT NULL,
    part_number    BIGINT NOT NULL,
    size           BIGINT NOT NULL,
    modified_us    BIGINT NOT NULL,
    secret_version BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    sealed         BLOB NOT NULL,
    PRIMARY KEY (bucket_id, object_id, part_number)
);

-- Who holds a blob, and the deletion queue. The primary key is what makes "a blob belongs to one row, ever" true, and what decides
-- between a commit and the collector of orphans: both insert here, one of them first.
CREATE TABLE blobs (
    blob_id         BLOB PRIMARY KEY,
    object_id       BLOB,             -- NULL: nobody's (an orphan that the collector found)
    delete_after_us BIGINT,           -- NULL: in use
    deleted_us      BIGINT            -- an orphan's file is gone; its row stays a while and refuses a late commit
);
CREATE INDEX blobs_by_object ON blobs (object_id);
CREATE INDEX blobs_to_delete ON blobs (delete_after_us) WHERE delete_after_us IS NOT NULL;
