//! Rights and passwords: what is missing is named.

use std::{error::Error, time::Duration};

use tower_reauth::store::{RedisStore, StoreError};

use crate::server::{Notices, Server, USER, change, eventually, revision};

/// Does all that a fleet does, and returns the first error.
async fn use_all(store: &RedisStore) -> Result<(), StoreError> {
    let notices = Notices::of(store, "payments");
    let found = revision(store).await?;
    change(store, found, found + 1).await?;
    // A conflict.
    change(store, found, found + 1).await?;
    drop(notices);
    Ok(())
}

#[tokio::test]
async fn each_right_is_needed_and_one_that_is_missing_is_named() {
    let server = Server::start();
    use_all(&server.store()).await.unwrap();
    let rights = RedisStore::ACL.split(' ').filter(|right| right.starts_with(['~', '&', '+']));
    let mut tried = 0;
    for right in rights {
        let without = match right.split_at(1) {
            ("~", _) => "resetkeys".to_owned(),
            ("&", _) => "resetchannels".to_owned(),
            (_, command) => format!("-{command}"),
        };
        server.allow(&without);
        server.ask(&["SCRIPT", "FLUSH"]);
        let error = use_all(&server.store()).await.unwrap_err();
        assert!(error.is_denied(), "{right}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{right}`")), "{right}: {text}");
        assert!(text.contains(RedisStore::ACL), "{text}");
        tried += 1;
    }
    assert_eq!(tried, 13);
}

#[tokio::test]
async fn a_subscription_that_is_refused_later_is_an_error_of_the_next_operation() {
    let server = Server::start();
    let store = server.store();
    revision(&store).await.unwrap();
    // The server closes connections whose channels are taken away, so commands are.
    server.allow("-subscribe");
    let _notices = Notices::of(&store, "payments");
    let mut failed = None;
    for _ in 0..100 {
        if let Err(error) = revision(&store).await {
            failed = Some(error);
            if failed.as_ref().is_some_and(StoreError::is_denied) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = failed.expect("no error");
    assert!(error.is_denied() && error.to_string().contains("`+subscribe`"), "{error}");
}

#[tokio::test]
async fn a_wrong_password_is_denied_until_it_is_set_right_and_never_shown() {
    let server = Server::start();
    let wrong = "hunter3-hunter3";
    let url = format!("redis://{USER}:{wrong}@127.0.0.1:{}", server.port);
    let store = RedisStore::connect(&url).unwrap();
    let error = revision(&store).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    let mut shown = vec![format!("{store:?} {error:?} {error}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        shown.push(format!("{error:?} {error}"));
        cause = error.source();
    }
    assert!(!shown.concat().contains("hunter"), "{shown:?}");
    server.ask(&["ACL", "SETUSER", USER, &format!(">{wrong}")]);
    eventually(Duration::from_secs(6), async || revision(&store).await).await;
}

#[tokio::test]
async fn a_server_that_wants_a_password_is_denied_without_one() {
    let server = Server::start();
    server.ask(&["CONFIG", "SET", "requirepass", "hunter4"]);
    let store = RedisStore::connect(format!("redis://127.0.0.1:{}", server.port)).unwrap();
    let error = revision(&store).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    let store = RedisStore::connect(format!("redis://:hunter4@127.0.0.1:{}", server.port)).unwrap();
    assert_eq!(revision(&store).await.unwrap(), 0);
}

#[tokio::test]
async fn a_password_for_a_user_who_has_none_is_denied() {
    let server = Server::start();
    let store = RedisStore::connect(format!("redis://:hunter4@127.0.0.1:{}", server.port)).unwrap();
    let error = revision(&store).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
}
