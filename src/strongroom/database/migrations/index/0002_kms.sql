-- Objects under a KMS: the data keys of buckets, and what counts objects by the key material that they hang on.

CREATE TABLE bucket_keys (
    bucket_id      BLOB NOT NULL,
    bucket_key_id  BLOB NOT NULL,
    key_arn        TEXT NOT NULL,
    material_id    BLOB,
    created_us     BIGINT NOT NULL,
    secret_version BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    sealed         BLOB NOT NULL,       -- the CiphertextBlob and its encryption context, under the bucket's row key
    PRIMARY KEY (bucket_id, bucket_key_id)
);
CREATE INDEX bucket_keys_by_material ON bucket_keys (key_arn, material_id);

CREATE INDEX object_versions_by_material ON object_versions (key_arn, material_id, size) WHERE key_arn IS NOT NULL;
CREATE INDEX object_versions_by_bucket_key ON object_versions (bucket_key_id, size) WHERE bucket_key_id IS NOT NULL;
CREATE INDEX uploads_by_material ON uploads (key_arn, material_id) WHERE key_arn IS NOT NULL;
CREATE INDEX uploads_by_bucket_key ON uploads (bucket_key_id) WHERE bucket_key_id IS NOT NULL;
