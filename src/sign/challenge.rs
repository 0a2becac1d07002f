//! Reads `WWW-Authenticate` (RFC 9110, section 11.6.1): does a 401 blame the token? Pure.

use std::iter;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The header with the nonce that the next DPoP proof has to hold (RFC 9449, section 8).
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Returns whether a 401 with these headers blames the token.
///
/// A `Bearer` challenge with the error `invalid_token` does (RFC 6750, section 3.1), and so does a
/// `Bearer` challenge without an error. One with another error, such as `insufficient_scope`,
/// blames the request: a new token would be refused as well. Challenges of other schemes say
/// nothing, and neither does a value that can't be read. Without a `Bearer` challenge the token is
/// blamed.
pub(crate) fn blames_token(headers: &HeaderMap) -> bool {
    let mut blames_request = false;
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let mut challenges = Challenges::new(value);
        while let Some(error) = challenges.next_error("Bearer") {
            if error.value_is("invalid_token") {
                return true;
            }
            blames_request = true;
        }
    }
    !blames_request
}

/// Returns whether a 401 with these headers asks for another DPoP proof with the same token (RFC
/// 9449, section 9).
///
/// A `DPoP` challenge has the error `use_dpop_nonce` then, and the nonce is beside it. A `Bearer`
/// challenge with the error `invalid_token` blames the token all the same.
pub(crate) fn asks_for_nonce(headers: &HeaderMap) -> bool {
    headers.contains_key(DPOP_NONCE)
        && has_error(headers, "DPoP", "use_dpop_nonce")
        && !has_error(headers, "Bearer", "invalid_token")
}

/// Returns whether a challenge of this scheme has this error. Both are compared in any case.
pub(super) fn has_error(headers: &HeaderMap, scheme: &str, error: &str) -> bool {
    headers.get_all(header::WWW_AUTHENTICATE).iter().any(|value| {
        let mut challenges = Challenges::new(value);
        iter::from_fn(|| challenges.next_error(scheme)).any(|param| param.value_is(error))
    })
}

/// Returns whether `scheme` can be the scheme of a challenge (RFC 9110, section 11.1).
pub(super) fn is_scheme(scheme: &str) -> bool {
    !scheme.is_empty() && scheme.bytes().all(|byte| is_token(byte) && byte != b'/')
}

/// The challenges of one header value.
struct Challenges<'a> {
    rest: &'a [u8],
    /// The scheme of the challenge that is being read. Empty before the first one.
    scheme: &'a [u8],
}

struct Param<'a> {
    name: &'a [u8],
    /// The value as written: a token, or the inside of a quoted string with its escapes.
    value: &'a [u8],
}

impl Param<'_> {
    /// Compares the value without its escapes, in any case.
    fn value_is(&self, expected: &str) -> bool {
        let mut bytes = self.value.iter();
        let mut unescaped = iter::from_fn(|| match bytes.next()? {
            b'\\' => bytes.next(),
            byte => Some(byte),
        });
        let is_prefix = expected
            .bytes()
            .all(|byte| unescaped.next().is_some_and(|it| it.eq_ignore_ascii_case(&byte)));
        is_prefix && unescaped.next().is_none()
    }
}

impl<'a> Challenges<'a> {
    fn new(value: &'a HeaderValue) -> Self {
        Self { rest: value.as_bytes(), scheme: &[] }
    }

    /// Returns the next `error` of a challenge of this scheme.
    fn next_error(&mut self, scheme: &str) -> Option<Param<'a>> {
        loop {
            let param = self.next_param()?;
            if self.scheme.eq_ignore_ascii_case(scheme.as_bytes())
                && param.name.eq_ignore_ascii_case(b"error")
            {
                return Some(param);
            }
        }
    }

    /// Returns the next parameter, of this challenge or a later one.
    fn next_param(&mut self) -> Option<Param<'a>> {
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b','));
            let name = self.take(is_token);
            if name.is_empty() {
                // Not of the grammar. The next comma may begin something that is.
                self.skip(|byte| byte != b',');
                if self.rest.is_empty() {
                    return None;
                }
                continue;
            }
            let after_name = self.rest;
            self.skip(is_blank);
            if self.rest.first() != Some(&b'=') {
                // A token without `=` is a scheme. What follows it, after a blank, are its
                // parameters, or one `token68`.
                self.scheme = name;
                continue;
            }
            self.skip(|byte| byte == b'=');
            let signs = after_name.len() - self.rest.len();
            self.skip(is_blank);
            let value = match self.rest.split_first() {
                Some((b'"', inside)) => self.quoted(inside),
                _ => self.take(is_token),
            };
            // `abc==` is the end of a `token68`, which has no name.
            if !value.is_empty() || signs == 1 {
                return Some(Param { name, value });
            }
        }
    }

    /// Takes the inside of a quoted string. Without a closing quote it is the rest.
    fn quoted(&mut self, inside: &'a [u8]) -> &'a [u8] {
        let mut end = 0;
        while let Some(&byte) = inside.get(end) {
            match byte {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        let end = end.min(inside.len());
        self.rest = inside.get(end + 1..).unwrap_or_default();
        &inside[..end]
    }

    fn skip(&mut self, of: impl Fn(u8) -> bool) {
        self.take(of);
    }

    fn take(&mut self, of: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !of(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Returns whether `byte` is of a token (RFC 9110, section 5.6.2), or of a `token68`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn blames(values: &[&str]) -> bool {
        blames_token(&headers(values))
    }

    #[test]
    fn a_bearer_challenge_with_another_error_blames_the_request() {
        for (values, expected) in [
            (&[][..], true),
            (&[""], true),
            (&["Bearer"], true),
            (&[r#"Bearer realm="x""#], true),
            (&[r#"Bearer error="invalid_token""#], true),
            (&[r#"Bearer error="insufficient_scope", scope="admin""#], false),
            (&["Bearer error=insufficient_scope"], false),
            (&[r#"bEARER realm="a", ERROR="insufficient_scope""#], false),
            (&[r#"Bearer error = "insufficient_scope""#], false),
            (&[r#"Bearer error="invalid_request""#], false),
            (&[r#"Bearer error="insufficient_user_authentication""#], false),
            // Other schemes say nothing, whatever their parameters are.
            (&[r#"Basic realm="corporate proxy""#], true),
            (&[r#"DPoP error="use_dpop_nonce""#], true),
            (&[r#"Basic realm="x", error="insufficient_scope""#], true),
            // Several challenges, in one value or in two.
            (&[r#"Basic realm="x", Bearer error="insufficient_scope""#], false),
            (&[r#"Bearer error="insufficient_scope", Basic realm="x""#], false),
            (&["Negotiate abc==", r#"Bearer error="insufficient_scope""#], false),
            (&[r#"Negotiate abc==, Bearer error="insufficient_scope""#], false),
            (&[r#"Bearer error="insufficient_scope", Bearer error="invalid_token""#], true),
            // Quoted strings that look like something else.
            (&[r#"Bearer realm="Basic, error=\"insufficient_scope\"""#], true),
            (&[r#"Basic realm="a, Bearer error=x""#], true),
            (&[r#"Bearer error="invalid\_token""#], true),
            (&[r#"Bearer error="in\valid_token""#], true),
            (&[r#"Bearer error="insufficient_scope"#], false),
            (&[r#"Bearer ,, ,error="insufficient_scope""#], false),
            (&[r#"Bearer @@@, error="insufficient_scope""#], false),
            (&[r#"Bearer error="""#], false),
        ] {
            assert_eq!(blames(values), expected, "{values:?}");
        }
    }

    #[test]
    fn a_nonce_is_asked_for_by_a_dpop_challenge_that_comes_with_one() {
        const ASKS: &str = r#"DPoP error="use_dpop_nonce", algs="ES256""#;
        for (values, expected) in [
            (&[ASKS][..], true),
            (&["dpop error=USE_DPOP_NONCE"], true),
            (&["Bearer", ASKS], true),
            (&[r#"Bearer error="insufficient_scope""#, ASKS], true),
            (&[r#"Bearer error="invalid_token""#, ASKS], false),
            (&[ASKS, r#"Bearer error="invalid_token""#], false),
            (&[r#"DPoP error="invalid_token""#], false),
            (&[r#"DPoP error="invalid_dpop_proof""#], false),
            (&["DPoP algs=ES256"], false),
            (&[r#"Bearer error="use_dpop_nonce""#], false),
            (&[], false),
        ] {
            let mut headers = headers(values);
            assert!(!asks_for_nonce(&headers), "no nonce: {values:?}");
            headers.insert(DPOP_NONCE, HeaderValue::from_static("eyJ7S_zG"));
            assert_eq!(asks_for_nonce(&headers), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in vec(any::<u8>(), 0..200)) {
            let bytes: Vec<_> = bytes.into_iter().filter(|it| *it >= 32 && *it != 127).collect();
            let value = HeaderValue::from_bytes(&bytes).unwrap();
            blames_token(&HeaderMap::from_iter([(header::WWW_AUTHENTICATE, value)]));
        }

        #[test]
        fn what_stands_around_a_bearer_challenge_does_not_matter(
            before in "(Basic realm=\"[a-z,= ]{0,8}\", |Negotiate [a-z]{1,5}={0,2}, ){0,3}",
            after in "(, [a-z]{1,5}=\"[A-Z ,]{0,5}\"){0,3}(, Digest qop=auth)?",
        ) {
            let refused = format!("{before}Bearer error=\"insufficient_scope\"{after}");
            prop_assert!(!blames(&[&refused]), "{refused}");
            let invalid = format!("{before}Bearer error=\"invalid_token\"{after}");
            prop_assert!(blames(&[&invalid]), "{invalid}");
        }
    }
}
