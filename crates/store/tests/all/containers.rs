//! Records of containers.

use knarr_store::{Durability, Error, Store};

use crate::support::{container, fresh, id, image};

fn add(store: &Store, start: &str, name: &str) {
    store.insert_container(&container(start, name, None), Durability::Normal).unwrap();
}

fn finds(store: &Store, text: &str, start: &str) {
    assert_eq!(store.container(text).expect(text).id, id(start), "{text}");
}

fn fails(store: &Store, text: &str, message: &str) {
    assert_eq!(store.container(text).expect_err(text).to_string(), message);
}

#[test]
fn a_record_comes_back_as_it_was() {
    let fresh = fresh();
    let mut record = container("ab", "web", Some(&image(&fresh.store, &["base"], &[])));
    record.command = vec!["sh".to_owned(), "-c".to_owned(), "echo \"ü\"".to_owned()];
    record.labels.insert("key".to_owned(), "value".to_owned());
    record.volumes = vec!["data".to_owned()];
    record.options = serde_json::json!({"version": 3, "nested": [1, null, "x"]});
    fresh.store.insert_container(&record, Durability::Full).unwrap();
    assert_eq!(fresh.again().container("web").unwrap(), record);
    assert_eq!(fresh.again().containers().unwrap(), [record]);
}

#[test]
fn a_container_is_found_by_id_name_slash_name_and_the_beginning_of_its_id() {
    let fresh = fresh();
    add(&fresh.store, "ab1", "web");
    add(&fresh.store, "ab2", "db");
    for text in [id("ab1").as_str(), "web", "/web", "ab1"] {
        finds(&fresh.store, text, "ab1");
    }
}

#[test]
fn a_name_that_looks_like_the_beginning_of_an_id_wins() {
    let fresh = fresh();
    add(&fresh.store, "abc", "web");
    add(&fresh.store, "123", "abc");
    finds(&fresh.store, "abc", "123");
}

#[test]
fn what_is_not_found_is_said_in_dockers_words() {
    let fresh = fresh();
    add(&fresh.store, "ab1", "one");
    add(&fresh.store, "ab2", "two");
    fails(&fresh.store, "nobody", "No such container: nobody");
    fails(&fresh.store, "ab", "Multiple IDs found with provided prefix: ab");
    fails(&fresh.store, "", "No such container: ");
    fails(&fresh.store, "%", "No such container: %");
}

#[test]
fn a_name_belongs_to_one_container_and_the_refusal_names_the_holder() {
    let fresh = fresh();
    add(&fresh.store, "a", "web");
    let error = fresh.store.insert_container(&container("b", "web", None), Durability::Normal).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Conflict. The container name \"/web\" is already in use by container \"{}\". You have to remove (or rename) \
             that container to be able to reuse that name.",
            id("a")
        )
    );
}

#[test]
fn a_container_of_an_image_that_is_gone_is_refused() {
    let fresh = fresh();
    let stored = image(&fresh.store, &["base"], &["a"]);
    fresh.again().remove_image("a", false).unwrap();
    let error = fresh.store.insert_container(&container("a", "web", Some(&stored)), Durability::Normal).unwrap_err();
    assert!(matches!(error, Error::NoSuchImage(_)), "{error}");
    assert!(fresh.store.containers().unwrap().is_empty());
}

#[test]
fn a_record_can_be_renamed_but_not_to_a_name_in_use() {
    let fresh = fresh();
    add(&fresh.store, "a", "web");
    add(&fresh.store, "b", "db");
    let mut record = fresh.store.container("web").unwrap();
    record.name = "db".to_owned();
    let error = fresh.store.update_container(&record, Durability::Normal).unwrap_err();
    assert!(matches!(error, Error::ContainerNameInUse { .. }), "{error}");
    finds(&fresh.store, "web", "a");
    record.name = "front".to_owned();
    fresh.store.update_container(&record, Durability::Normal).unwrap();
    finds(&fresh.store, "front", "a");
    assert!(fresh.store.container("web").is_err());
}

#[test]
fn a_removed_container_frees_its_name_and_is_gone_once() {
    let fresh = fresh();
    add(&fresh.store, "a", "web");
    assert!(fresh.store.remove_container(&id("a")).unwrap());
    assert!(!fresh.store.remove_container(&id("a")).unwrap());
    add(&fresh.store, "b", "web");
}

#[test]
fn threads_share_a_store() {
    let fresh = fresh();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &fresh.store;
            scope.spawn(move || {
                for round in 0..20 {
                    add(store, &format!("{thread}{round:02}"), &format!("c{thread}-{round}"));
                }
            });
        }
    });
    assert_eq!(fresh.store.containers().unwrap().len(), 160);
}
