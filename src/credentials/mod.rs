//! Where the client id and the secret come from.
//!
//! A [`CredentialsSource`] is asked each time a token is requested, so a rotated secret is picked up with the next
//! refresh and needs no restart.
//!
//! | source | for |
//! |---|---|
//! | [`Credentials`] itself | fixed values |
//! | [`EnvCredentials`] | environment variables |
//! | [`FileCredentials`] | files, as Docker and Kubernetes mount secrets |
//! | [`from_fn`] | an async function: a vault, a secrets manager |
//!
//! # Examples
//!
//! ```
//! use tower_reauth::credentials::{self, Credentials};
//!
//! async fn ask_vault() -> Result<String, std::io::Error> {
//!     Ok("the current secret".into())
//! }
//!
//! let source = credentials::from_fn(|| async {
//!     Ok(Credentials::new("my-client-id", ask_vault().await?))
//! });
//! # let _ = source;
//! ```

mod client_credentials;
mod env;
mod file;
mod from_fn;
mod source;

pub use self::{
    client_credentials::Credentials,
    env::EnvCredentials,
    file::FileCredentials,
    from_fn::{FromFn, from_fn},
    source::CredentialsSource,
};
