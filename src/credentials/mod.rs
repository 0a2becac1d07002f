//! Sources of the client id and the secret.
//!
//! A [`CredentialsSource`] is asked each time a token is requested. A rotated secret is therefore
//! used from the next refresh on, without a restart.
//!
//! | source | for |
//! |---|---|
//! | [`Credentials`] itself | fixed values, which may be read from a configuration with serde |
//! | [`EnvCredentials`] | environment variables |
//! | [`FileCredentials`] | files, as Docker and Kubernetes mount secrets |
//! | [`ClientId`] | a client without a secret |
//! | [`from_fn`] | an async function, for example one that asks a vault |
//!
//! While a source fails, or does not answer, it is asked about once a second, as long as somebody
//! needs a token. What it supplies then is used at once.
//!
//! # Examples
//!
//! ```
//! use tower_reauth::credentials::{self, Credentials};
//!
//! async fn ask_vault() -> Result<Credentials, std::io::Error> {
//!     Ok(Credentials::new("my-client-id", "the current secret"))
//! }
//!
//! let source = credentials::from_fn(ask_vault);
//! # let _ = source;
//! ```

mod bounded;
mod boxed;
mod client_credentials;
mod client_id;
mod deserialize;
mod env;
mod file;
mod from_fn;
mod source;
mod watched;

pub(crate) use self::{
    bounded::{bounded, in_time, soon, within},
    boxed::BoxCredentialsSource,
    watched::Watched,
};
pub use self::{
    client_credentials::Credentials,
    client_id::ClientId,
    env::EnvCredentials,
    file::FileCredentials,
    from_fn::{FromFn, from_fn},
    source::CredentialsSource,
};
