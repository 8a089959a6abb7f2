//! The tables, brought up to date by the first instance that needs them so.

use sqlx::{AssertSqlSafe, PgPool};

use super::SCHEMA;

/// Each entry brings a database from the version of its index to the next. Names and digests are in byte order, whatever
/// the database's own order is.
const MIGRATIONS: &[&str] = &[
    r#"
    CREATE TABLE repositories(id BIGSERIAL PRIMARY KEY, name TEXT COLLATE "C" NOT NULL UNIQUE);
    CREATE TABLE blobs(id BIGSERIAL PRIMARY KEY, digest TEXT COLLATE "C" NOT NULL UNIQUE, size BIGINT NOT NULL, stored BIGINT NOT NULL);
    CREATE TABLE links(repository BIGINT NOT NULL, blob BIGINT NOT NULL, linked BIGINT NOT NULL, PRIMARY KEY(repository, blob));
    CREATE INDEX links_by_blob ON links(blob);
    CREATE TABLE manifests(id BIGSERIAL PRIMARY KEY, repository BIGINT NOT NULL, digest TEXT COLLATE "C" NOT NULL, media_type TEXT NOT NULL,
                           bytes BYTEA NOT NULL, subject TEXT COLLATE "C", artifact_type TEXT, annotations TEXT, pushed BIGINT NOT NULL,
                           pulled BIGINT, UNIQUE(repository, digest));
    CREATE INDEX referrers ON manifests(repository, subject, digest) WHERE subject IS NOT NULL;
    CREATE INDEX manifests_by_digest ON manifests(digest);
    CREATE TABLE uses(repository BIGINT NOT NULL, digest TEXT COLLATE "C" NOT NULL, manifest BIGINT NOT NULL,
                      PRIMARY KEY(repository, digest, manifest));
    CREATE INDEX uses_by_manifest ON uses(manifest);
    CREATE TABLE tags(repository BIGINT NOT NULL, name TEXT COLLATE "C" NOT NULL, manifest BIGINT NOT NULL, moved BIGINT NOT NULL,
                      pulled BIGINT, PRIMARY KEY(repository, name));
    CREATE INDEX tags_by_manifest ON tags(manifest);
    CREATE TABLE changes(number BIGSERIAL PRIMARY KEY, repository TEXT NOT NULL, digest TEXT NOT NULL);
    CREATE TABLE uploads(id TEXT PRIMARY KEY, repository TEXT NOT NULL, algorithm TEXT NOT NULL, whole BOOLEAN NOT NULL,
                         version BIGINT NOT NULL, size BIGINT NOT NULL, segments TEXT[] NOT NULL, digest TEXT,
                         writing TEXT[] NOT NULL, touched_ms BIGINT NOT NULL);
"#,
    r#"
    -- Blobs nobody knows any more whose bytes may still be there.
    CREATE TABLE leaving(digest TEXT COLLATE "C" PRIMARY KEY);
"#,
];

/// Brings the schema up to date.
pub async fn migrate(pool: &PgPool) -> sqlx::Result<()> {
    let mut step = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA).execute(&mut *step).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS knarr_schema(version BIGINT NOT NULL)").execute(&mut *step).await?;
    let version: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM knarr_schema").fetch_one(&mut *step).await?;
    let version = version.unwrap_or(0);
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if version > known {
        let message = format!("its tables are of version {version}, this program knows {known}");
        return Err(sqlx::Error::Configuration(message.into()));
    }
    for (at, migration) in MIGRATIONS.iter().enumerate().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(AssertSqlSafe(*migration)).execute(&mut *step).await?;
        let version = i64::try_from(at + 1).unwrap_or(i64::MAX);
        sqlx::query("INSERT INTO knarr_schema(version) VALUES($1)").bind(version).execute(&mut *step).await?;
    }
    step.commit().await
}
