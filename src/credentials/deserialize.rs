//! [`Credentials`] of a configuration.

use std::fmt;

use secrecy::SecretString;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use super::client_credentials::Credentials;

/// Reads `clientId` and `clientSecret`, or `client_id` and `client_secret`.
///
/// The format has to be self-describing, as JSON, TOML and YAML are.
///
/// # Errors
///
/// An error names the field that is missing, doubled or unknown. This crate's part of its text does
/// not hold the secret, not even if that is no string.
///
/// <div class="warning">
///
/// A format may add the text that it was reading, and the secret with it. The error of `toml` shows
/// the line in its `Display`, and the whole document in its `Debug`. Log neither of them, but
/// `error.message()`, which has none of the text.
///
/// </div>
///
/// # Examples
///
/// ```
/// use tower_reauth::Credentials;
///
/// let json = r#"{"client_id": "my-client-id", "client_secret": "my-client-secret"}"#;
/// let credentials: Credentials = serde_json::from_str(json)?;
/// assert_eq!(credentials.client_id(), "my-client-id");
///
/// let error = serde_json::from_str::<Credentials>(r#"{"client_id": "a"}"#).unwrap_err();
/// assert!(error.to_string().contains("missing field `clientSecret`"));
/// # Ok::<(), serde_json::Error>(())
/// ```
impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for a struct or a string, a format may quote what it finds instead by itself.
        deserializer.deserialize_any(Fields)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    #[serde(alias = "client_id")]
    ClientId,
    #[serde(alias = "client_secret")]
    ClientSecret,
}

/// Serde quotes a value of the wrong type. These values are secrets, so each of them gets an error
/// that does not.
macro_rules! quote_nothing {
    ($($visit:ident: $type:ty),* $(,)?) => {
        $(
            fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
                Err(E::custom(format_args!("expected {}", &self as &dyn serde::de::Expected)))
            }
        )*
    };
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Credentials;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields clientId and clientSecret")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Credentials, A::Error> {
        let (mut client_id, mut client_secret) = (None, None);
        while let Some(field) = map.next_key()? {
            let (place, name) = match field {
                Field::ClientId => (&mut client_id, "clientId"),
                Field::ClientSecret => (&mut client_secret, "clientSecret"),
            };
            if place.is_some() {
                return Err(A::Error::duplicate_field(name));
            }
            *place = Some(map.next_value::<Text>()?.0);
        }
        let client_id = client_id.ok_or_else(|| A::Error::missing_field("clientId"))?;
        let secret = client_secret.ok_or_else(|| A::Error::missing_field("clientSecret"))?;
        Ok(Credentials::new(secrecy::ExposeSecret::expose_secret(&client_id), secret))
    }

    quote_nothing! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128,
        visit_f64: f64, visit_str: &str, visit_bytes: &[u8],
    }
}

/// A string that an error does not quote.
struct Text(SecretString);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("clientId and clientSecret to be strings")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.into()))
    }

    fn visit_string<E>(self, text: String) -> Result<Text, E> {
        Ok(Text(text.into()))
    }

    quote_nothing! {
        visit_bool: bool, visit_i64: i64, visit_i128: i128, visit_u64: u64, visit_u128: u128,
        visit_f64: f64, visit_bytes: &[u8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Credentials, String> {
        serde_json::from_str(json).map_err(|error| format!("{error} {error:?}"))
    }

    #[test]
    fn both_spellings_are_read() {
        for json in [
            r#"{"clientId": "id", "clientSecret": "hunter2"}"#,
            r#"{"client_secret": "hunter2", "client_id": "id"}"#,
        ] {
            let credentials = read(json).unwrap();
            assert_eq!((credentials.client_id(), credentials.expose_secret()), ("id", "hunter2"));
        }
    }

    #[test]
    fn an_error_names_the_field() {
        for (json, named) in [
            (r#"{"clientId": "id"}"#, "missing field `clientSecret`"),
            (r#"{"client_secret": "hunter2"}"#, "missing field `clientId`"),
            (r#"{"clientId": "id", "clientsecret": "hunter2"}"#, "unknown field `clientsecret`"),
            (
                r#"{"clientSecret": "hunter2", "client_secret": "hunter2", "clientId": "id"}"#,
                "duplicate field `clientSecret`",
            ),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_error_holds_no_secret_whatever_the_type_of_the_value() {
        for value in [
            "12345678",
            "-12345678",
            "12345678.5",
            "true",
            "[12345678]",
            r#"{"a": 12345678}"#,
            r#"["hunter2"]"#,
            "340282366920938463463374607431768211455",
        ] {
            for json in
                [value.to_owned(), format!(r#"{{"clientId": "id", "clientSecret": {value}}}"#)]
            {
                let error = read(&json).unwrap_err();
                for shown in ["12345678", "hunter2", "true", "34028236", "3.4"] {
                    assert!(!error.contains(shown), "{json}: {error}");
                }
            }
        }
        let error = read(r#""hunter2""#).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
