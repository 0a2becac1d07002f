//! [`ResponseFields`]: where a response has its fields.

use serde_json::Value;

use crate::error::ConfigError;

/// The places of a response's fields, as JSON pointers (RFC 6901), for a provider whose names are
/// not those of RFC 6749, section 5.1.
///
/// # Examples
///
/// Lark answers `{"code": 0, "tenant_access_token": "...", "expire": 7200}`, with a status of 200
/// for a failure too:
///
/// ```
/// use tower_reauth::endpoint::oauth2::ResponseFields;
///
/// let fields = ResponseFields::default()
///     .access_token("/tenant_access_token")
///     .expires_in("/expire")
///     .success_code("/code", 0)
///     .transient_codes([99_991_400]);
/// # let _ = fields;
/// ```
#[derive(Clone, Debug)]
pub struct ResponseFields {
    access_token: String,
    expires_in: String,
    error: String,
    success: Option<(String, String)>,
    transient: Vec<String>,
}

impl Default for ResponseFields {
    /// The fields of RFC 6749, sections 5.1 and 5.2.
    fn default() -> Self {
        Self {
            access_token: "/access_token".into(),
            expires_in: "/expires_in".into(),
            error: "/error".into(),
            success: None,
            transient: Vec::new(),
        }
    }
}

/// A provider's own code of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnCode {
    pub(super) code: String,
    pub(super) is_transient: bool,
}

impl ResponseFields {
    /// Sets the place of the token. Defaults to `/access_token`.
    #[must_use]
    pub fn access_token(mut self, pointer: impl Into<String>) -> Self {
        self.access_token = pointer.into();
        self
    }

    /// Sets the place of the lifetime, in seconds. Defaults to `/expires_in`.
    #[must_use]
    pub fn expires_in(mut self, pointer: impl Into<String>) -> Self {
        self.expires_in = pointer.into();
        self
    }

    /// Sets the place of the error code. A response with a string there that is not empty is a
    /// refusal, whatever its status. Defaults to `/error`.
    #[must_use]
    pub fn error(mut self, pointer: impl Into<String>) -> Self {
        self.error = pointer.into();
        self
    }

    /// Sets the place of a code of the provider's own, and its value in a success, such as
    /// `"/errcode"` and 0. A response with another value there is a refusal, whatever its status.
    ///
    /// The refusal is [rejected](crate::AuthError::is_rejected), unless the code is one of the
    /// [`transient_codes`](Self::transient_codes). A response without the field is judged by the
    /// others. Defaults to none.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a code is written without a reference")]
    pub fn success_code(mut self, pointer: impl Into<String>, value: impl ToString) -> Self {
        self.success = Some((pointer.into(), value.to_string()));
        self
    }

    /// Sets the codes of [`success_code`](Self::success_code) after which another attempt may
    /// succeed, because the provider is busy. Defaults to none.
    #[must_use]
    pub fn transient_codes(mut self, codes: impl IntoIterator<Item: ToString>) -> Self {
        self.transient = codes.into_iter().map(|code| code.to_string()).collect();
        self
    }

    /// Returns the token, if it is a string that is not empty.
    pub(super) fn token<'a>(&self, body: &'a Value) -> Option<&'a str> {
        body.pointer(&self.access_token)?.as_str().filter(|token| !token.is_empty())
    }

    pub(super) fn lifetime<'a>(&self, body: &'a Value) -> Option<&'a Value> {
        body.pointer(&self.expires_in)
    }

    /// Returns the error code of OAuth 2, if there is one.
    pub(super) fn code<'a>(&self, body: &'a Value) -> Option<&'a str> {
        body.pointer(&self.error)?.as_str().filter(|code| !code.is_empty())
    }

    /// Returns the provider's own code, if it is that of a failure.
    pub(super) fn own_code(&self, body: &Value) -> Option<OwnCode> {
        let (pointer, success) = self.success.as_ref()?;
        let code = match body.pointer(pointer)? {
            Value::String(code) => code.clone(),
            code @ (Value::Number(_) | Value::Bool(_)) => code.to_string(),
            _ => return None,
        };
        let is_transient = self.transient.contains(&code);
        (code != *success).then_some(OwnCode { code, is_transient })
    }

    /// Refuses what is no JSON pointer.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let own = self.success.as_ref().map(|(pointer, _)| pointer);
        let pointers = [&self.access_token, &self.expires_in, &self.error].into_iter().chain(own);
        for pointer in pointers {
            let has_bad_escape =
                || pointer.split('~').skip(1).any(|part| !part.starts_with(['0', '1']));
            if !pointer.starts_with('/') || has_bad_escape() {
                return Err(ConfigError::InvalidSetting {
                    setting: format!("the JSON pointer {pointer:?}"),
                    reason: "it must begin with a slash, such as \"/data/token\", and have \"~0\" \
                             for \"~\" and \"~1\" for a slash in a name",
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pointer_that_is_none_is_a_typed_error() {
        for pointer in ["", "token", "/a~2", "/a~"] {
            for fields in [
                ResponseFields::default().access_token(pointer),
                ResponseFields::default().expires_in(pointer),
                ResponseFields::default().error(pointer),
                ResponseFields::default().success_code(pointer, 0),
            ] {
                assert!(fields.check().is_err(), "{pointer}");
            }
        }
        ResponseFields::default().access_token("/a~1b/0/~0c").check().unwrap();
    }

    #[test]
    fn a_code_of_the_providers_own_is_a_number_or_a_string() {
        let fields = ResponseFields::default().success_code("/errcode", 0).transient_codes([-1]);
        let code = |body| fields.own_code(&body).map(|it| (it.code, it.is_transient));
        assert_eq!(code(json!({"errcode": 0})), None);
        assert_eq!(code(json!({"errcode": "0"})), None);
        assert_eq!(code(json!({"access_token": "x"})), None);
        assert_eq!(code(json!({"errcode": null})), None);
        assert_eq!(code(json!({"errcode": 40001})), Some(("40001".into(), false)));
        assert_eq!(code(json!({"errcode": -1})), Some(("-1".into(), true)));
    }
}
