//! [`Settings`]: what a request for a token is made of, apart from what sources supply.

use std::{fmt, time::Duration};

use http::{HeaderMap, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{
    super::{response::TokenResponse, token_endpoint::Rotation},
    address::Address,
    client_auth::ClientAuth,
    fields::ResponseFields,
    refresh_token::Kept,
    response::Granted,
};
use crate::{
    assertion::{AssertionSource, BoxAssertionSource},
    error::{AuthError, Fate, Kind},
    origin::ApiOrigins,
    token::Identity,
};

/// The grant, by what its requests have beside `grant_type`.
pub(super) enum Grant {
    /// Nothing.
    Named(Box<str>),
    /// `assertion` (RFC 7523, section 2.1).
    JwtBearer(BoxAssertionSource),
    /// `subject_token` and `subject_token_type` (RFC 8693, section 2.1).
    TokenExchange { subject: BoxAssertionSource, token_type: Box<str> },
    /// `refresh_token` (RFC 6749, section 6).
    RefreshToken(Kept),
}

/// Where one request goes, and how the client says there who it is.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) uri: Uri,
    /// Client id and secret go into the parameters, whatever the client authentication is, because
    /// the metadata says so.
    pub(super) wants_post: bool,
}

/// Everything that a builder has set.
pub(super) struct Settings {
    pub(super) address: Address,
    pub(super) grant: Grant,
    pub(super) client_auth: ClientAuth,
    /// Nobody has chosen it, so the metadata of a server may.
    pub(super) is_auth_open: bool,
    /// Sorted and without doubles.
    pub(super) scope: Vec<String>,
    pub(super) require_scope: bool,
    pub(super) resources: Vec<String>,
    pub(super) audiences: Vec<String>,
    pub(super) params: Vec<(String, SecretString)>,
    pub(super) headers: HeaderMap,
    pub(super) json: bool,
    pub(super) fields: ResponseFields,
    pub(super) issuer: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) assumed_lifetime: Duration,
    pub(super) rotation: Rotation,
    pub(super) origins: ApiOrigins,
}

impl Grant {
    /// Returns the value of `grant_type`.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Named(name) => name,
            Self::JwtBearer(_) => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::TokenExchange { .. } => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::RefreshToken(_) => "refresh_token",
        }
    }

    /// Returns the source of the assertion or token that is the grant itself.
    pub(super) fn source(&self) -> Option<&BoxAssertionSource> {
        match self {
            Self::Named(_) | Self::RefreshToken(_) => None,
            Self::JwtBearer(source) | Self::TokenExchange { subject: source, .. } => Some(source),
        }
    }

    /// Returns where the refresh token is kept, if the grant has one.
    pub(super) fn refresh_token(&self) -> Option<&Kept> {
        match self {
            Self::RefreshToken(kept) => Some(kept),
            _ => None,
        }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Settings {
    /// Returns how the client says who it is at this target.
    pub(super) fn auth(&self, target: &Target) -> &ClientAuth {
        const POST: &ClientAuth = &ClientAuth::Post;
        if target.wants_post { POST } else { &self.client_auth }
    }

    /// Returns an error if one of the scopes that were asked for was not granted, and that matters.
    ///
    /// The server has issued a token then.
    pub(super) fn check_scope(
        &self,
        granted: &Granted,
        response: &TokenResponse,
    ) -> Result<(), AuthError> {
        let lacking = granted.lacks(&self.scope);
        if !self.require_scope || lacking.is_empty() {
            return Ok(());
        }
        // The server's text is whatever it likes, and as long.
        let granted = granted.scope().filter(|scope| response.may_show(scope));
        let granted: String = granted.unwrap_or_default().chars().take(200).collect();
        let text = format!(
            "{} granted the scope {granted:?}, and of the scope {:?} that was asked for it lacks \
             {:?}; check what this client may ask for",
            response.endpoint(),
            self.scope.join(" "),
            lacking.join(" "),
        );
        let error = AuthError::responded(Kind::Permanent, text, response.status());
        Err(error.with_fate(Fate::Issued))
    }

    /// Returns everything by which the tokens of this client differ from others.
    pub(super) fn identity(&self, client_id: &str) -> Identity {
        let mut identity = Identity::new(client_id)
            .with("grant_type", self.grant.name())
            .with("scope", self.scope.join(" "));
        // The address of the token endpoint is not known to the cache.
        if let Some(discovery) = self.address.discovery() {
            identity = identity.with("issuer", discovery.issuer());
        }
        for (key, values) in [("resource", &self.resources), ("audience", &self.audiences)] {
            identity = values.iter().fold(identity, |it, value| it.with(key, value));
        }
        for (name, value) in &self.params {
            let value = value.expose_secret().as_bytes();
            identity = identity.with_hidden(format!("param {name}"), Sha256::digest(value));
        }
        // The name of a program changes with its version, and no token changes with it.
        let of_program = [header::ACCEPT, header::USER_AGENT];
        for (name, value) in self.headers.iter().filter(|it| !of_program.contains(it.0)) {
            let digest = Sha256::digest(value.as_bytes());
            identity = identity.with_hidden(format!("header {name}"), digest);
        }
        if let Grant::TokenExchange { token_type, .. } = &self.grant {
            identity = identity.with("subject_token_type", &**token_type);
        }
        if let Some(claims) = self.grant.source().and_then(AssertionSource::identity) {
            identity = identity.with_hidden("assertion", Sha256::digest(claims));
        }
        self.subject.iter().fold(identity, |it, subject| it.with("subject", subject))
    }

    /// Returns all sources of assertions.
    pub(super) fn sources(&self) -> impl Iterator<Item = &BoxAssertionSource> {
        self.grant.source().into_iter().chain(self.client_auth.source())
    }
}
