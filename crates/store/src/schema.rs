//! The tables, and how older databases become current.
//!
//! Law: a released step is never edited; a new version is a new string at the end. `PRAGMA user_version` counts the steps
//! done, and reading it is the only check an ordinary start makes.
//! Not here: opening and transactions (`database`).

/// Each step brings a database from version `index` to `index + 1`.
pub(crate) const STEPS: &[&str] = &[FIRST, SECOND, THIRD];

/// The version this program writes.
pub(crate) const VERSION: i64 = STEPS.len() as i64;

/// `0x6b6e6172` is `knar`: what `file(1)` shows as the application id.
pub(crate) const APPLICATION_ID: i64 = 0x6b6e_6172;

/// Every table, parents before children.
pub(crate) const TABLES: &[&str] = &[
    "blobs",
    "layers",
    "layer_implied",
    "images",
    "image_layers",
    "image_blobs",
    "tags",
    "repo_digests",
    "containers",
    "snapshots",
    "snapshot_layers",
    "volumes",
    "container_volumes",
    "leases",
    "lease_blobs",
    "lease_layers",
    "documents",
    "document_blobs",
    "settings",
];

/// Removes what refers to rows that were lost, parents before children.
pub(crate) const ORPHANS: &[&str] = &[
    "DELETE FROM layer_implied WHERE number NOT IN (SELECT number FROM layers)",
    "UPDATE images SET implied = NULL WHERE implied NOT IN (SELECT number FROM layers)",
    "DELETE FROM image_layers WHERE image NOT IN (SELECT id FROM images)",
    "DELETE FROM image_blobs WHERE image NOT IN (SELECT id FROM images)",
    "DELETE FROM tags WHERE image NOT IN (SELECT id FROM images)",
    "DELETE FROM repo_digests WHERE image NOT IN (SELECT id FROM images)",
    "DELETE FROM snapshots WHERE container NOT IN (SELECT id FROM containers)",
    "DELETE FROM snapshot_layers WHERE container NOT IN (SELECT container FROM snapshots)",
    "DELETE FROM snapshot_layers WHERE number NOT IN (SELECT number FROM layers)",
    "DELETE FROM container_volumes WHERE container NOT IN (SELECT id FROM containers)",
    "DELETE FROM lease_blobs WHERE token NOT IN (SELECT token FROM leases)",
    "DELETE FROM lease_layers WHERE token NOT IN (SELECT token FROM leases)",
    "DELETE FROM document_blobs WHERE NOT EXISTS
         (SELECT 1 FROM documents WHERE documents.name = document_blobs.name AND documents.tag = document_blobs.tag)",
];

const FIRST: &str = "
CREATE TABLE blobs (
    digest     TEXT PRIMARY KEY,
    bytes      INTEGER NOT NULL,
    stored_ns  INTEGER NOT NULL
) WITHOUT ROWID;

-- number is the directory layers/<number>. A layer has a diff id; the directories that the entries of a whole chain
-- implied have that chain instead. AUTOINCREMENT: a number is never used twice, so no stale path finds another's files.
-- A layer that is unpacked again gets a new number, and everything that stands on it follows.
CREATE TABLE layers (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    diff_id    TEXT UNIQUE,
    chain      TEXT UNIQUE,
    blob       TEXT,
    tar_bytes  INTEGER NOT NULL,
    tree_bytes INTEGER NOT NULL,
    entries    INTEGER NOT NULL,
    opaque     INTEGER NOT NULL,
    stored_ns  INTEGER NOT NULL,
    CHECK ((diff_id IS NULL) <> (chain IS NULL))
);
CREATE TABLE layer_implied (
    number     INTEGER NOT NULL REFERENCES layers ON DELETE CASCADE ON UPDATE CASCADE,
    path       BLOB NOT NULL,
    PRIMARY KEY (number, path)
) WITHOUT ROWID;

CREATE TABLE images (
    id         TEXT PRIMARY KEY,
    manifest   TEXT NOT NULL,
    document   TEXT,
    config     BLOB NOT NULL,
    implied    INTEGER REFERENCES layers ON UPDATE CASCADE,
    stored_ns  INTEGER NOT NULL
);
CREATE TABLE image_layers (
    image      TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    diff_id    TEXT NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layers_of ON image_layers (diff_id);
-- Every document and blob an image came with, other manifests of the same config included.
CREATE TABLE image_blobs (
    image      TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    digest     TEXT NOT NULL,
    PRIMARY KEY (image, digest)
) WITHOUT ROWID;
CREATE INDEX image_blobs_of ON image_blobs (digest);
CREATE TABLE tags (
    name       TEXT NOT NULL,
    tag        TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    manifest   TEXT NOT NULL,
    PRIMARY KEY (name, tag)
) WITHOUT ROWID;
CREATE INDEX tags_of ON tags (image);
CREATE TABLE repo_digests (
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    image      TEXT NOT NULL REFERENCES images ON DELETE CASCADE,
    PRIMARY KEY (name, digest)
) WITHOUT ROWID;
CREATE INDEX repo_digests_of ON repo_digests (image);

CREATE TABLE containers (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    image      TEXT,
    image_name TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    command    TEXT NOT NULL,
    labels     TEXT NOT NULL,
    options    TEXT NOT NULL
);
CREATE INDEX containers_of ON containers (image);
CREATE TABLE snapshots (
    container  TEXT PRIMARY KEY REFERENCES containers ON DELETE CASCADE,
    created_ns INTEGER NOT NULL
) WITHOUT ROWID;
-- position 0 is the top.
CREATE TABLE snapshot_layers (
    container  TEXT NOT NULL REFERENCES snapshots ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    number     INTEGER NOT NULL REFERENCES layers ON UPDATE CASCADE,
    PRIMARY KEY (container, position)
) WITHOUT ROWID;
CREATE INDEX snapshot_layers_of ON snapshot_layers (number);

CREATE TABLE volumes (
    name       TEXT PRIMARY KEY,
    created_ns INTEGER NOT NULL,
    anonymous  INTEGER NOT NULL,
    driver     TEXT NOT NULL,
    labels     TEXT NOT NULL,
    options    TEXT NOT NULL,
    removing   INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE container_volumes (
    container  TEXT NOT NULL REFERENCES containers ON DELETE CASCADE,
    volume     TEXT NOT NULL,
    PRIMARY KEY (container, volume)
) WITHOUT ROWID;
CREATE INDEX container_volumes_of ON container_volumes (volume);

-- What a living process has in its hands. The holder keeps an flock on leases/<token>; a free lock means it is dead.
CREATE TABLE leases (
    token      TEXT PRIMARY KEY,
    created_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE lease_blobs (
    token      TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    digest     TEXT NOT NULL,
    PRIMARY KEY (token, digest)
) WITHOUT ROWID;
CREATE INDEX lease_blobs_of ON lease_blobs (digest);
CREATE TABLE lease_layers (
    token      TEXT NOT NULL REFERENCES leases ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    PRIMARY KEY (token, number)
) WITHOUT ROWID;
CREATE INDEX lease_layers_of ON lease_layers (number);
";

const SECOND: &str = "
-- The boot in which a layer was made, until its files are on the disk: after a power cut it counts no more.
ALTER TABLE layers ADD COLUMN boot TEXT;
-- When a container was last made of it.
ALTER TABLE images ADD COLUMN used_ns INTEGER NOT NULL DEFAULT 0;

-- Manifests that are no images of ours: lists of images, and artifacts.
CREATE TABLE documents (
    name       TEXT NOT NULL,
    tag        TEXT NOT NULL,
    kind       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    stored_ns  INTEGER NOT NULL,
    PRIMARY KEY (name, tag)
) WITHOUT ROWID;
CREATE TABLE document_blobs (
    name       TEXT NOT NULL,
    tag        TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (name, tag, digest),
    FOREIGN KEY (name, tag) REFERENCES documents ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX document_blobs_of ON document_blobs (digest);

CREATE TABLE settings (
    name       TEXT PRIMARY KEY,
    value      TEXT NOT NULL
) WITHOUT ROWID;
";

const THIRD: &str = "
-- The blob has no file: it is the tar of the layer with its diff id, and is made again when asked for.
ALTER TABLE blobs ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
";
