//! What a response means for the token that its request was signed with. Pure.

use http::{Response, StatusCode};

/// The verdict on one response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The caller's business.
    Accepted,
    /// The resource refused the token, and has not applied the request.
    TokenRefused,
}

/// 401 alone speaks of the token. 403 says that it is known and not enough, 407 speaks of a proxy.
pub(crate) fn triage<B>(response: &Response<B>) -> Verdict {
    match response.status() {
        StatusCode::UNAUTHORIZED => Verdict::TokenRefused,
        _ => Verdict::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_401_speaks_of_the_token() {
        for status in [100, 200, 201, 204, 301, 400, 402, 403, 404, 407, 409, 429, 498, 500, 503, 511] {
            let response = Response::builder().status(status).body(()).unwrap();
            assert_eq!(triage(&response), Verdict::Accepted, "{status}");
        }
        let refused = Response::builder().status(401).body(()).unwrap();
        assert_eq!(triage(&refused), Verdict::TokenRefused);
    }
}
