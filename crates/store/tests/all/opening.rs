//! Opening: what a store says when it cannot be opened.

use std::os::unix::fs::PermissionsExt;

use knarr_store::{Error, Kind, Store, StoreOptions};

use crate::support::{fresh, put};

fn database(fresh: &crate::support::Fresh) -> std::path::PathBuf {
    fresh.store.state().join("knarr.db")
}

#[test]
fn a_new_store_is_its_owners_alone_and_leaves_no_scaffolding() {
    let fresh = fresh();
    let mode = fresh.store.state().metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    let names: Vec<_> =
        std::fs::read_dir(fresh.store.state()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| *name == "reserve" || name.to_string_lossy().starts_with("knarr.db")), "{names:?}");
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("new")), "{names:?}");
}

#[test]
fn many_openers_of_a_store_that_is_not_there_yet_all_get_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("deep/state");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| put(&Store::open(&state, &StoreOptions::default()).unwrap(), b"x"));
        }
    });
    assert_eq!(
        std::fs::read_dir(&state)
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().contains(".new-") })
            .count(),
        0
    );
}

#[test]
fn a_newer_schema_is_left_alone_and_said_so() {
    let fresh = fresh();
    let connection = rusqlite::Connection::open(database(&fresh)).unwrap();
    connection.pragma_update(None, "user_version", 1_000_000).unwrap();
    drop(connection);
    let error = Store::open(fresh.store.state(), &StoreOptions::default()).err().unwrap();
    assert!(matches!(error, Error::TooNew { found: 1_000_000, .. }), "{error}");
    assert!(error.hint().unwrap().contains("newer"));
}

#[test]
fn a_file_that_is_no_database_is_called_damaged_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("knarr.db"), "this is not SQLite, whatever its name says".repeat(100)).unwrap();
    let error = Store::open(dir.path(), &StoreOptions::default()).err().unwrap();
    assert_eq!(error.kind(), Kind::Damaged);
    assert!(error.to_string().contains("knarr.db"), "{error}");
    assert!(error.hint().unwrap().contains("system check --repair"));
}

#[test]
fn a_store_of_another_user_is_refused_with_both_ids() {
    let fresh = fresh();
    if std::os::unix::fs::chown(fresh.store.state(), Some(12345), None).is_err() {
        eprintln!("skipped: only root can give a directory away");
        return;
    }
    let error = Store::open(fresh.store.state(), &StoreOptions::default()).err().unwrap();
    assert!(matches!(error, Error::NotOurs { owner: 12345, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Denied);
}

#[test]
fn a_read_only_file_system_is_named_with_a_way_out() {
    let Ok(state) = std::env::var("KNARR_TEST_READ_ONLY") else { return read_only_outside() };
    let refused = |error: Error| {
        assert_eq!(error.kind(), Kind::Denied, "{error}: {:?}", std::error::Error::source(&error));
        assert!(error.hint().is_some(), "{error}");
    };
    // Reading is not refused where the log's index is there from the last boot; writing always is.
    match Store::open(state.as_ref(), &StoreOptions::default()) {
        Ok(store) => refused(store.put_blob(b"x").unwrap_err()),
        Err(error) => refused(error),
    }
}

/// The test above again, on a read-only mount in a mount namespace of its own.
fn read_only_outside() {
    let fresh = fresh();
    put(&fresh.store, b"before");
    let (state, _dir) = fresh.close();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit 77
                  exec \"$2\" --exact opening::a_read_only_file_system_is_named_with_a_way_out --nocapture";
    let namespace = if knarr_sys::credentials::effective_user() == 0 { "-m" } else { "-rm" };
    let output = std::process::Command::new("unshare")
        .args([namespace, "sh", "-c", script, "sh"])
        .arg(&state)
        .arg(std::env::current_exe().unwrap())
        .env("KNARR_TEST_READ_ONLY", &state)
        .output();
    match output {
        Ok(output) if output.status.success() => {}
        Ok(output) if output.status.code() == Some(101) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        other => eprintln!("skipped: a read-only mount cannot be made here: {other:?}"),
    }
}

#[test]
fn a_state_directory_that_is_a_file_is_an_error_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    std::fs::write(&state, "").unwrap();
    let error = Store::open(&state, &StoreOptions::default()).err().unwrap();
    assert!(error.to_string().contains("state"), "{error}");
}
