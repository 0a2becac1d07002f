//! [`TokenAddress`]: where tokens are asked for.

use http::Uri;

use super::discovery::Discovery;
use crate::error::{ConfigError, shown};

/// The identifier of an authorization server (RFC 8414, section 2), in place of the address of its
/// token endpoint.
///
/// The server's metadata is fetched when a token is first asked for, and again a day later, or if
/// the token endpoint answers 404, 405 or 410 or its host is gone. What was fetched before is used
/// if there is no response within two seconds, or none with a document that can be used. It is not
/// used after a document of another issuer or a refused TLS handshake. The `issuer` of a document
/// must be the one given (section 3.3), and an https issuer's token endpoint may not be one over
/// plain http. A document is looked for at the address of section 3.1. If that has none, or has not
/// answered within a second, the address of `OpenID` Connect is tried too.
///
/// The issuer becomes the audience of assertions. Unless a
/// [`client_auth`](super::OAuth2Builder::client_auth) is given, client id and secret are sent as
/// the metadata says.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "client")]
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_reauth::{Credentials, client, endpoint::{OAuth2, oauth2::Issuer}};
///
/// let issuer = Issuer::new("https://login.example.com/realms/shop");
/// let credentials = Credentials::new("my-client-id", "my-client-secret");
/// let endpoint = OAuth2::client_credentials(issuer, client::https()?, credentials)
///     .for_api("https://api.example.com")
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(String);

impl Issuer {
    /// Creates the identifier from the URL that the server calls itself.
    pub fn new(issuer: impl Into<String>) -> Self {
        Self(issuer.into())
    }
}

/// Where tokens are asked for: the URL of a token endpoint, or an [`Issuer`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TokenAddress(Given);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Given {
    Url(String),
    Issuer(String),
}

/// The address as an endpoint uses it.
pub(super) enum Address {
    Fixed(Uri),
    Discovered(Discovery),
}

impl TokenAddress {
    /// Checks the address, for a client that shows a certificate or does not.
    ///
    /// # Errors
    ///
    /// Returns an error if it is no absolute http or https URL.
    pub(super) fn checked(self, has_certificate: bool) -> Result<Address, ConfigError> {
        Ok(match self.0 {
            Given::Url(url) => Address::Fixed(crate::origin::parse_with_query(&url)?),
            Given::Issuer(issuer) => Address::Discovered(Discovery::new(issuer, has_certificate)?),
        })
    }
}

impl Address {
    /// Returns the first address that is spoken to.
    pub(super) fn first(&self) -> &Uri {
        match self {
            Self::Fixed(uri) => uri,
            Self::Discovered(discovery) => discovery.first_address(),
        }
    }

    /// Returns the address of the token endpoint, if it is known from the start.
    pub(super) fn fixed(&self) -> Option<&Uri> {
        match self {
            Self::Fixed(uri) => Some(uri),
            Self::Discovered(_) => None,
        }
    }

    pub(super) fn discovery(&self) -> Option<&Discovery> {
        match self {
            Self::Fixed(_) => None,
            Self::Discovered(discovery) => Some(discovery),
        }
    }
}

impl From<&str> for TokenAddress {
    fn from(url: &str) -> Self {
        Self(Given::Url(url.to_owned()))
    }
}

impl From<String> for TokenAddress {
    fn from(url: String) -> Self {
        Self(Given::Url(url))
    }
}

impl From<&String> for TokenAddress {
    fn from(url: &String) -> Self {
        Self(Given::Url(url.clone()))
    }
}

impl From<Issuer> for TokenAddress {
    fn from(issuer: Issuer) -> Self {
        Self(Given::Issuer(issuer.0))
    }
}

/// Shows scheme, host and port.
impl std::fmt::Debug for TokenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Given::Url(url) | Given::Issuer(url)) = &self.0;
        let url = url.parse::<Uri>().map(|uri| shown(&uri)).unwrap_or_default();
        f.debug_tuple("TokenAddress").field(&url).finish()
    }
}
