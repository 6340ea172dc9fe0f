PRAGMA application_id = 1684632436;
PRAGMA user_version = 4;
BEGIN TRANSACTION;
CREATE TABLE blobs (
    digest   TEXT PRIMARY KEY,
    verified INTEGER           -- when fsck last found the bytes right
) WITHOUT ROWID;
INSERT INTO "blobs" VALUES('sha256:8ea720af7d06fc784e8a1e71cf77659b56e75cbed34969abb290689af960c86d',1767323045123460);
INSERT INTO "blobs" VALUES('sha256:974b8f4f45ebf7114bdbcb2e9132662134d46b6fe433660b7b2e93ce096b269a',1767323045123460);
INSERT INTO "blobs" VALUES('sha256:a32b217ef17069c89f5f22c5a0b1b0f1292375d7304acc3f5d8a6ecc7e0c7208',1767323045123460);
CREATE TABLE content (         -- who sees a blob; one that nobody has a row of belongs to 'default'
    digest    TEXT NOT NULL,
    namespace TEXT NOT NULL,
    updated   INTEGER,         -- NULL: the file's own time
    PRIMARY KEY (digest, namespace)
) WITHOUT ROWID;
INSERT INTO "content" VALUES('sha256:8ea720af7d06fc784e8a1e71cf77659b56e75cbed34969abb290689af960c86d','default',1767323045123459);
CREATE TABLE content_labels (
    namespace TEXT NOT NULL, digest TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, digest, key)
) WITHOUT ROWID;
INSERT INTO "content_labels" VALUES('default','sha256:8ea720af7d06fc784e8a1e71cf77659b56e75cbed34969abb290689af960c86d','set','later');
INSERT INTO "content_labels" VALUES('default','sha256:974b8f4f45ebf7114bdbcb2e9132662134d46b6fe433660b7b2e93ce096b269a','long','vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv');
INSERT INTO "content_labels" VALUES('default','sha256:974b8f4f45ebf7114bdbcb2e9132662134d46b6fe433660b7b2e93ce096b269a','quote','it''s "x"
line é');
INSERT INTO "content_labels" VALUES('default','sha256:a32b217ef17069c89f5f22c5a0b1b0f1292375d7304acc3f5d8a6ecc7e0c7208','a','b');
INSERT INTO "content_labels" VALUES('default','sha256:a32b217ef17069c89f5f22c5a0b1b0f1292375d7304acc3f5d8a6ecc7e0c7208','containerd.io/gc.ref.content.l.0','sha256:0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE gc_run (started INTEGER NOT NULL);
CREATE TABLE gc_touched (                        -- what gained a reference meanwhile, in its order
    seq       INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    kind      TEXT NOT NULL,                     -- content or image; of a lease's resource its type
    key       TEXT NOT NULL
);
CREATE TABLE image_labels (
    namespace TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, name, key)
) WITHOUT ROWID;
CREATE TABLE images (
    namespace   TEXT NOT NULL,
    name        TEXT NOT NULL,   -- a whole reference
    media_type  TEXT NOT NULL,
    digest      TEXT NOT NULL,
    size        INTEGER NOT NULL,
    annotations TEXT,            -- JSON object of the target's annotations; NULL: none
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    PRIMARY KEY (namespace, name)
) WITHOUT ROWID;
INSERT INTO "images" VALUES('default','docker.io/library/redis:7','application/vnd.oci.image.manifest.v1+json','sha256:a32b217ef17069c89f5f22c5a0b1b0f1292375d7304acc3f5d8a6ecc7e0c7208',6,NULL,1767323045123461,1767323045123461);
INSERT INTO "images" VALUES('default','registry.example/team/app:1','application/vnd.oci.image.manifest.v1+json','sha256:974b8f4f45ebf7114bdbcb2e9132662134d46b6fe433660b7b2e93ce096b269a',6,NULL,1767323045123462,1767323045123462);
CREATE TABLE lease_labels (
    namespace TEXT NOT NULL, id TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, id, key)
) WITHOUT ROWID;
CREATE TABLE lease_resources (
    namespace TEXT NOT NULL, id TEXT NOT NULL,
    type      TEXT NOT NULL,     -- content, ingests, images or snapshots/NAME, as containerd has it
    key       TEXT NOT NULL,
    PRIMARY KEY (namespace, id, type, key)
) WITHOUT ROWID;
INSERT INTO "lease_resources" VALUES('default','work','snapshots/overlayfs','key');
CREATE TABLE leases (
    namespace TEXT NOT NULL,
    id        TEXT NOT NULL,
    created   INTEGER NOT NULL,
    owned     INTEGER NOT NULL,  -- 1: it ends with the process that holds its lock
    PRIMARY KEY (namespace, id)
) WITHOUT ROWID;
INSERT INTO "leases" VALUES('default','work',1767323045123463,0);
CREATE TABLE namespace_labels (
    namespace TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;
CREATE TABLE namespaces (name TEXT PRIMARY KEY, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE snapshot_labels (
    namespace TEXT NOT NULL, snapshotter TEXT NOT NULL, name TEXT NOT NULL,
    key TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (namespace, snapshotter, name, key)
) WITHOUT ROWID;
INSERT INTO "snapshot_labels" VALUES('default','overlayfs','key','containerd.io/gc.root','x');
CREATE TABLE snapshots (
    namespace   TEXT NOT NULL,
    snapshotter TEXT NOT NULL,
    key         TEXT NOT NULL,   -- or the name of a committed one
    id          INTEGER NOT NULL,  -- names its folder
    kind        TEXT NOT NULL,   -- active, view or committed
    parent      TEXT,            -- the name of a committed one; NULL: none
    created     INTEGER NOT NULL,
    updated     INTEGER NOT NULL,
    inodes      INTEGER,         -- of a committed one: what was counted
    size        INTEGER,         -- the same: bytes on the disk
    PRIMARY KEY (namespace, snapshotter, key)
) WITHOUT ROWID;
INSERT INTO "snapshots" VALUES('default','overlayfs','key',2,'active','sha256:aa',1767323045123466,1767323045123466,NULL,NULL);
INSERT INTO "snapshots" VALUES('default','overlayfs','sha256:aa',1,'committed',NULL,1767323045123464,1767323045123465,3,4096);
CREATE INDEX content_elsewhere ON content (namespace, digest) WHERE namespace <> 'default';
CREATE INDEX content_brefs ON content_labels (namespace, value) WHERE key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/';
CREATE INDEX content_roots ON content_labels (key) WHERE key >= 'containerd.io/gc.root' AND key < 'containerd.io/gc.roou';
CREATE INDEX content_expiring ON content_labels (key) WHERE key >= 'containerd.io/gc.expire' AND key < 'containerd.io/gc.flat';
CREATE INDEX images_targets ON images (digest);
CREATE INDEX image_brefs ON image_labels (namespace, value) WHERE key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/';
CREATE TRIGGER content_labels_touched_insert AFTER INSERT ON content_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'content', NEW.digest);
END;
CREATE TRIGGER content_labels_touched_update AFTER UPDATE ON content_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'content', NEW.digest);
END;
CREATE TRIGGER images_touched_insert AFTER INSERT ON images WHEN 1 AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'image', NEW.name);
END;
CREATE TRIGGER images_touched_update AFTER UPDATE ON images WHEN 1 AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'image', NEW.name);
END;
CREATE TRIGGER image_labels_touched_insert AFTER INSERT ON image_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'image', NEW.name);
END;
CREATE TRIGGER image_labels_touched_update AFTER UPDATE ON image_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'image', NEW.name);
END;
CREATE TRIGGER lease_resources_touched_insert AFTER INSERT ON lease_resources WHEN 1 AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, NEW.type, NEW.key);
END;
CREATE UNIQUE INDEX snapshots_ids ON snapshots (snapshotter, id);
CREATE INDEX snapshots_parents ON snapshots (parent, snapshotter, namespace) WHERE parent IS NOT NULL;
CREATE INDEX snapshot_brefs ON snapshot_labels (namespace, value) WHERE key >= 'containerd.io/gc.bref.' AND key < 'containerd.io/gc.bref/';
CREATE INDEX snapshot_roots ON snapshot_labels (key) WHERE key >= 'containerd.io/gc.root' AND key < 'containerd.io/gc.roou';
CREATE INDEX snapshot_expiring ON snapshot_labels (key) WHERE key >= 'containerd.io/gc.expire' AND key < 'containerd.io/gc.flat';
CREATE TRIGGER snapshots_touched_insert AFTER INSERT ON snapshots WHEN 1 AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'snapshots/' || NEW.snapshotter, NEW.key);
END;
CREATE TRIGGER snapshots_touched_update AFTER UPDATE ON snapshots WHEN 1 AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'snapshots/' || NEW.snapshotter, NEW.key);
END;
CREATE TRIGGER snapshot_labels_touched_insert AFTER INSERT ON snapshot_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'snapshots/' || NEW.snapshotter, NEW.name);
END;
CREATE TRIGGER snapshot_labels_touched_update AFTER UPDATE ON snapshot_labels WHEN NEW.key >= 'containerd.io/gc.' AND NEW.key < 'containerd.io/gc/' AND EXISTS (SELECT 1 FROM gc_run) BEGIN
    INSERT INTO gc_touched (namespace, kind, key) VALUES (NEW.namespace, 'snapshots/' || NEW.snapshotter, NEW.name);
END;
COMMIT;
