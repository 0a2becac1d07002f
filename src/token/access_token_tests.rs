use super::*;
use crate::token::schedule::{Windows, schedule};

fn times() -> Times {
    let lifetime = Duration::from_secs(300);
    let schedule = schedule(lifetime, &Windows::default(), 0.5);
    Times { sent: clock::moment(), lifetime, schedule }
}

#[test]
fn a_sleep_of_the_machine_takes_from_the_lifetime() {
    let token = AccessToken::new("Bearer", "abc", 1, times()).unwrap();
    assert!(token.is_usable() && token.time_left() > Duration::from_secs(299));
    clock::tests::sleep(Duration::from_secs(290));
    assert!(token.is_usable() && token.time_left() <= Duration::from_secs(10));
    clock::tests::sleep(Duration::from_secs(10));
    assert!(!token.is_usable() && token.time_left().is_zero());
}

#[test]
fn the_header_value_is_prebuilt_and_sensitive() {
    let token = AccessToken::new("Bearer", "abc.def", 7, times()).unwrap();
    assert_eq!(token.header_value(), "Bearer abc.def");
    assert!(token.header_value().is_sensitive());
    assert_eq!(token.expose_secret(), "abc.def");
    assert_eq!(token.scheme(), "Bearer");
    assert_eq!(token.sequence(), 7);
}

#[test]
fn the_values_of_a_response_stay_with_its_token() {
    let token = AccessToken::new("Bearer", "abc", 7, times()).unwrap();
    let mut extensions = Extensions::new();
    extensions.insert("eu7");
    let token = token.with_extensions(extensions);
    assert_eq!((token.get::<&str>(), token.get::<u8>()), (Some(&"eu7"), None));
    assert_eq!(token.clone().get::<&str>(), Some(&"eu7"));
}

#[test]
fn an_empty_scheme_leaves_the_bare_token() {
    let token = AccessToken::new("", "abc", 1, times()).unwrap();
    assert_eq!(token.scheme(), "");
    assert_eq!(token.header_value(), "abc");
    assert_eq!(token.expose_secret(), "abc");
}

#[test]
fn an_unsendable_token_is_refused() {
    for (secret, why) in [
        ("", Unsendable::Empty),
        ("a b", Unsendable::Characters),
        ("a\nb", Unsendable::Characters),
        ("a\u{e9}", Unsendable::Characters),
        (" a", Unsendable::Characters),
    ] {
        assert_eq!(AccessToken::new("Bearer", secret, 1, times()).unwrap_err(), why, "{secret:?}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let token = AccessToken::new("Bearer", "hunter2hunter2", 1, times()).unwrap();
    let shown = format!("{token:?} {:?}", token.header_value());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn claims_of_something_that_is_no_jwt_are_a_typed_error() {
    let token = AccessToken::new("Bearer", "hunter2", 1, times()).unwrap();
    let error = token.claims::<serde_json::Value>().unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
