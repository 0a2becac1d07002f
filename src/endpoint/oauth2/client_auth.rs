//! [`ClientAuth`]: how the client says who it is.

use crate::assertion::{AssertionSource, BoxAssertionSource};

/// How a client says who it is at the token endpoint (RFC 6749, section 2.3). The names in
/// parentheses are those of RFC 8414's `token_endpoint_auth_methods_supported`.
///
/// No other way is tried if the server refuses this one.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// HTTP Basic, of which RFC 6749 says that every server has to take it (`client_secret_basic`).
    /// Client id and secret are form-encoded first (section 2.3.1).
    #[default]
    Basic,
    /// HTTP Basic without the form encoding, for servers that do not decode. It makes no difference
    /// unless the id or the secret has characters other than letters, digits and `*-._`. A client
    /// id with a colon can't be sent in this way.
    BasicUnencoded,
    /// Client id and secret as parameters (`client_secret_post`).
    Post,
    /// A new assertion for each request (RFC 7523, section 2.2; `private_key_jwt`,
    /// `client_secret_jwt`). [`ClientAuth::assertion`] makes this variant of any source.
    Assertion(BoxAssertionSource),
    /// The client id alone, because the HTTP service shows a certificate (RFC 8705;
    /// `tls_client_auth`, `self_signed_tls_client_auth`). The built-in client takes one with
    /// `client_certificate` of `client::builder`.
    Tls,
    /// Nothing at all (`none`). A public client's id is a
    /// [`param`](super::OAuth2Builder::param).
    None,
}

impl ClientAuth {
    /// Returns the authentication by assertions of `source`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tower_reauth::{assertion, endpoint::oauth2::ClientAuth};
    ///
    /// let auth = ClientAuth::assertion(assertion::from_fn(|_| async {
    ///     Ok("an assertion of the cloud's identity service".into())
    /// }));
    /// # let _ = auth;
    /// ```
    pub fn assertion(source: impl AssertionSource) -> Self {
        Self::Assertion(BoxAssertionSource::new(source))
    }

    /// Returns the source of assertions, if there is one.
    pub(super) fn source(&self) -> Option<&BoxAssertionSource> {
        match self {
            Self::Assertion(source) => Some(source),
            _ => None,
        }
    }

    pub(super) fn needs_secret(&self) -> bool {
        matches!(self, Self::Basic | Self::BasicUnencoded | Self::Post)
    }

    pub(super) fn needs_client_id(&self) -> bool {
        !matches!(self, Self::None)
    }
}
