//! The classifications beside the default: by status, by challenge, by mark. Pure.

use http::{Response, StatusCode};

use super::super::{
    challenge::{has_error, is_scheme},
    classify::{Classification, Classify, unless_refused},
};
use crate::error::ConfigError;

/// Creates a classification by which the token is refused with one of `statuses`, and with no other
/// response. A 2xx and a 304 accept the token.
///
/// A 401 counts only if it is among them, and then whatever its challenge says.
/// `Unauthorized.or(statuses([403])?)` leaves the 401 as it is by default.
///
/// # Errors
///
/// [`ConfigError::InvalidRefusal`] if there are none, or one is not from 300 to 999. A 1xx is no
/// final response, and a 2xx says that the request was applied.
///
/// # Examples
///
/// ```
/// use tower_reauth::refusal::{self, Classification, Classify};
///
/// let vault = refusal::statuses([403])?;
/// let response = http::Response::builder().status(403).body(())?;
/// assert_eq!(vault.classify(&response), Classification::TokenRefused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn statuses<const N: usize>(statuses: [u16; N]) -> Result<Statuses<N>, ConfigError> {
    if N == 0 {
        return Err(invalid("", "there is no status; name at least one"));
    }
    let mut checked = [StatusCode::UNAUTHORIZED; N];
    for (place, status) in checked.iter_mut().zip(statuses) {
        *place = StatusCode::from_u16(status)
            .ok()
            .filter(|status| !status.is_informational() && !status.is_success())
            .ok_or_else(|| {
                let reason = "it is no status of a refusal; name one from 300 to 999";
                invalid(&status.to_string(), reason)
            })?;
    }
    Ok(Statuses(checked))
}

/// Classifies by status. Made by [`statuses`].
#[derive(Clone, Copy, Debug)]
pub struct Statuses<const N: usize>([StatusCode; N]);

impl<const N: usize> Classify for Statuses<N> {
    fn classify<B>(&self, response: &Response<B>) -> Classification {
        if self.0.contains(&response.status()) {
            Classification::TokenRefused
        } else {
            unless_refused(response.status())
        }
    }
}

/// Creates a classification by which the token is refused with a 4xx whose `WWW-Authenticate` has a
/// challenge of this scheme with this `error` (RFC 6750, section 3), and with no other response. A
/// 2xx and a 304 accept the token.
///
/// Both are compared in any case.
///
/// # Errors
///
/// [`ConfigError::InvalidRefusal`] if the scheme is not a token as in RFC 9110, section 5.6.2, or
/// if the error is empty.
///
/// # Examples
///
/// ```
/// use tower_reauth::refusal::{self, Classification, Classify, Unauthorized};
///
/// let either = Unauthorized.or(refusal::challenge("Bearer", "invalid_token")?);
/// let response = http::Response::builder()
///     .status(403)
///     .header("www-authenticate", r#"Bearer error="invalid_token""#)
///     .body(())?;
/// assert_eq!(either.classify(&response), Classification::TokenRefused);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn challenge(scheme: &'static str, error: &'static str) -> Result<Challenge, ConfigError> {
    if !is_scheme(scheme) {
        let reason = "it is no scheme; use letters, digits and hyphens, such as \"Bearer\"";
        return Err(invalid(scheme, reason));
    }
    if error.is_empty() {
        return Err(invalid("", "it is no error; give a word such as \"invalid_token\""));
    }
    Ok(Challenge { scheme, error })
}

/// Classifies by challenge. Made by [`challenge()`].
#[derive(Clone, Copy, Debug)]
pub struct Challenge {
    scheme: &'static str,
    error: &'static str,
}

impl Classify for Challenge {
    fn classify<B>(&self, response: &Response<B>) -> Classification {
        let (status, headers) = (response.status(), response.headers());
        if status.is_client_error() && has_error(headers, self.scheme, self.error) {
            Classification::TokenRefused
        } else {
            unless_refused(status)
        }
    }
}

/// Creates a classification by which the token is refused with a response that has a [`Mark`], and
/// with no other. A 2xx and a 304 without it accept the token.
///
/// Without a [`RefusalLayer`](super::RefusalLayer) as an inner layer, or another one that sets the
/// mark, nothing is refused.
///
/// # Examples
///
/// ```
/// use tower_reauth::refusal::{self, Classify, Unauthorized};
///
/// # fn f(auth: tower_reauth::AuthLayer) {
/// let auth = auth.refusals(Unauthorized.or(refusal::marked()));
/// # }
/// ```
pub fn marked() -> Marked {
    Marked(())
}

/// Classifies by [`Mark`]. Made by [`marked`].
#[derive(Clone, Copy, Debug)]
pub struct Marked(());

impl Classify for Marked {
    fn classify<B>(&self, response: &Response<B>) -> Classification {
        if response.extensions().get::<Mark>().is_some() {
            Classification::TokenRefused
        } else {
            unless_refused(response.status())
        }
    }
}

/// Marks a response whose body says that the token is refused. Found in its extensions.
///
/// A [`RefusalLayer`](super::RefusalLayer) sets it. An inner layer of your own may do so too, for
/// bodies that are no JSON.
///
/// # Examples
///
/// ```
/// use tower_reauth::refusal::Mark;
///
/// fn mark<B>(response: &mut http::Response<B>) {
///     response.extensions_mut().insert(Mark);
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mark;

pub(super) fn invalid(given: &str, reason: &'static str) -> ConfigError {
    ConfigError::InvalidRefusal { given: given.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use Classification::{Accepted, Neutral, ProofRefused, TokenRefused};

    use super::{
        super::{Or, Unauthorized},
        *,
    };

    const NONE: &str = "";
    const INVALID: &str = r#"Bearer error="invalid_token""#;
    const NONCE: &str = r#"DPoP error="use_dpop_nonce""#;

    /// Accepts everything.
    #[derive(Clone)]
    struct Content;

    impl Classify for Content {
        fn classify<B>(&self, _: &Response<B>) -> Classification {
            Accepted
        }
    }

    fn response(status: u16, challenge: &str, is_marked: bool) -> Response<()> {
        let mut response = Response::builder().status(status);
        if !challenge.is_empty() {
            response =
                response.header("www-authenticate", challenge).header("dpop-nonce", "eyJ7S_zG");
        }
        let mut response = response.body(()).unwrap();
        if is_marked {
            response.extensions_mut().insert(Mark);
        }
        response
    }

    #[test]
    fn each_condition_refuses_what_it_names_and_nothing_else() {
        let by_status = statuses([403, 419]).unwrap();
        let by_challenge = challenge("bearer", "Invalid_Token").unwrap();
        for (status, challenge, is_marked, of_status, of_challenge, of_mark) in [
            (200, NONE, false, Accepted, Accepted, Accepted),
            (200, NONE, true, Accepted, Accepted, TokenRefused),
            (200, INVALID, false, Accepted, Accepted, Accepted),
            (204, NONE, false, Accepted, Accepted, Accepted),
            (304, NONE, false, Accepted, Accepted, Accepted),
            (302, NONE, false, Neutral, Neutral, Neutral),
            (400, NONE, true, Neutral, Neutral, TokenRefused),
            (400, INVALID, false, Neutral, TokenRefused, Neutral),
            (401, NONE, false, Neutral, Neutral, Neutral),
            (401, INVALID, false, Neutral, TokenRefused, Neutral),
            (401, NONCE, false, Neutral, Neutral, Neutral),
            (403, NONE, false, TokenRefused, Neutral, Neutral),
            (403, INVALID, false, TokenRefused, TokenRefused, Neutral),
            (404, NONE, false, Neutral, Neutral, Neutral),
            (419, NONE, false, TokenRefused, Neutral, Neutral),
            (500, INVALID, false, Neutral, Neutral, Neutral),
        ] {
            let response = response(status, challenge, is_marked);
            let case = format!("{status} {challenge} {is_marked}");
            assert_eq!(by_status.classify(&response), of_status, "{case}");
            assert_eq!(by_challenge.classify(&response), of_challenge, "{case}");
            assert_eq!(marked().classify(&response), of_mark, "{case}");
        }
    }

    #[test]
    fn either_of_two_refuses_and_the_first_decides_the_rest() {
        let either = Unauthorized.or(statuses([401, 403]).unwrap()).or(marked());
        for (status, challenge, is_marked, expected) in [
            (200, NONE, false, Accepted),
            (200, NONE, true, TokenRefused),
            (401, NONE, false, TokenRefused),
            (401, NONCE, false, ProofRefused),
            (401, r#"Bearer error="insufficient_scope""#, false, TokenRefused),
            (403, NONE, false, TokenRefused),
            (404, NONE, false, Neutral),
        ] {
            let response = response(status, challenge, is_marked);
            assert_eq!(either.classify(&response), expected, "{status} {challenge} {is_marked}");
        }

        let missing = response(404, NONE, false);
        assert_eq!(Content.or(Unauthorized).classify(&missing), Accepted);
        assert_eq!(Unauthorized.or(Content).classify(&missing), Neutral);
    }

    #[test]
    fn the_default_has_no_size_and_neither_has_the_mark() {
        assert_eq!((size_of::<Unauthorized>(), size_of::<Or<Unauthorized, Marked>>()), (0, 0));
    }

    #[test]
    fn what_can_not_be_a_refusal_is_a_typed_error() {
        let reason = |error: ConfigError| match error {
            ConfigError::InvalidRefusal { given, .. } => given,
            other => panic!("{other}"),
        };
        assert_eq!(reason(statuses([]).unwrap_err()), "");
        for status in [0, 100, 199, 200, 299, 1000] {
            let error = statuses([401, status]).unwrap_err();
            assert_eq!(reason(error), status.to_string());
        }
        assert!(statuses([300, 999]).is_ok());
        for (scheme, error, given) in
            [("", "x", ""), ("Bearer ", "x", "Bearer "), ("a/b", "x", "a/b"), ("Bearer", "", "")]
        {
            assert_eq!(reason(challenge(scheme, error).unwrap_err()), given);
        }
    }
}
