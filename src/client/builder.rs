//! [`ClientBuilder`]: the built-in client with proxies, roots and a client certificate.

use std::{env, fmt, sync::Arc};

use http::Uri;
use http_body::Body;
use hyper_util::client::proxy::matcher::Matcher;
use rustls::{
    ClientConfig, RootCertStore,
    client::WebPkiServerVerifier,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::Verifier;
use zeroize::Zeroizing;

use super::{HttpsClient, connector::Connector, pooled};
use crate::{error::ConfigError, tls};

/// Starts a client that trusts the certificate authorities of the platform, uses no proxy and has
/// no certificate of its own.
///
/// # Examples
///
/// A client with a certificate, for an endpoint with
/// [`ClientAuth::Tls`](crate::endpoint::oauth2::ClientAuth::Tls) (RFC 8705):
///
/// ```no_run
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use tower_reauth::client::{self, HttpsClient};
///
/// # fn f() -> Result<(), Box<dyn std::error::Error>> {
/// let client: HttpsClient<Full<Bytes>> = client::builder()
///     .client_certificate(std::fs::read("client.pem")?, std::fs::read("client.key")?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
pub fn builder() -> ClientBuilder {
    ClientBuilder::default()
}

/// Builds the built-in client. Made by [`builder`], and checked by [`build`](Self::build).
#[derive(Clone, Default)]
#[must_use = "a builder makes nothing until `build`"]
pub struct ClientBuilder {
    roots: Vec<Vec<u8>>,
    without_platform_roots: bool,
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    proxy: Proxy,
    no_proxy: Option<String>,
}

/// Where the address of the proxy comes from.
#[derive(Clone, Default)]
enum Proxy {
    #[default]
    None,
    Env,
    Given(String),
}

impl ClientBuilder {
    /// Trusts the certificate authorities in a PEM text, beside those of the platform. May be
    /// called more than once. Defaults to none.
    pub fn add_root_certificates(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.roots.push(pem.as_ref().to_vec());
        self
    }

    /// Trusts only the authorities of [`add_root_certificates`](Self::add_root_certificates).
    /// Defaults to trusting those of the platform too.
    pub fn without_platform_roots(mut self) -> Self {
        self.without_platform_roots = true;
        self
    }

    /// Shows a certificate to each server that asks for one. `chain` is a PEM text that begins with
    /// the certificate, and `key` is one of its private key (PKCS #8, PKCS #1 or SEC 1). Defaults
    /// to none.
    pub fn client_certificate(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some((chain.as_ref().to_vec(), Zeroizing::new(key.as_ref().to_vec())));
        self
    }

    /// Connects through the proxy that the environment names, as curl does: `HTTPS_PROXY` for https
    /// hosts, `HTTP_PROXY` for http hosts, `ALL_PROXY` for both, and `NO_PROXY` for the hosts that
    /// are reached directly. Names in lower case do as well.
    ///
    /// This machine (`localhost` and the loopback addresses) is always reached directly, so that a
    /// request over plain http never leaves it.
    ///
    /// `ALL_PROXY` is read only if one of the two others is not set.
    /// The variables are read once, by [`build`](Self::build). In a CGI program, which has
    /// `REQUEST_METHOD`, none is used, because a request could have set `HTTP_PROXY`. Defaults to
    /// no proxy.
    pub fn proxy_from_env(mut self) -> Self {
        self.proxy = Proxy::Env;
        self
    }

    /// Connects through the proxy at `url`, which has the form
    /// `http[s]://[user:password@]host[:port]`. An https host is reached through a tunnel, so the
    /// proxy reads neither the secret nor the token. This machine (`localhost` and the loopback
    /// addresses) is always reached directly. Defaults to no proxy.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = Proxy::Given(url.into());
        self
    }

    /// Sets the hosts that are reached without the proxy, in place of `NO_PROXY`: names with all
    /// that end in them, addresses, and networks such as `10.0.0.0/8`, with commas between them.
    /// Defaults to `NO_PROXY` for [`proxy_from_env`](Self::proxy_from_env), and to none for
    /// [`proxy`](Self::proxy).
    pub fn no_proxy(mut self, hosts: impl Into<String>) -> Self {
        self.no_proxy = Some(hosts.into());
        self
    }

    /// Builds the client. It connects to nothing.
    ///
    /// It uses the process's default rustls crypto provider if one is installed, else `aws-lc-rs`.
    ///
    /// # Errors
    ///
    /// Returns [`ConfigError::InvalidSetting`] if a PEM text holds no certificate or key, if the
    /// two do not fit each other, or if the address of a proxy can't be used. Returns
    /// [`ConfigError::Tls`] if the platform's certificate verifier can't be set up.
    pub fn build<B>(self) -> Result<HttpsClient<B>, ConfigError>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let proxies = self.matcher()?;
        Ok(pooled(Connector::new(self.tls_config()?, proxies)))
    }

    fn tls_config(&self) -> Result<ClientConfig, ConfigError> {
        let tls = |error: rustls::Error| ConfigError::Tls(error.to_string());
        let provider = tls::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(tls)?;
        let roots = self.root_certificates()?;
        let builder = if self.without_platform_roots {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root).map_err(|_| invalid(ROOTS, "one is malformed; check the PEM"))?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), provider);
            let verifier = verifier
                .build()
                .map_err(|_| invalid(ROOTS, "there is none; give some, or use the platform's"))?;
            builder.with_webpki_verifier(verifier)
        } else {
            let verifier = platform_verifier(roots, provider)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        let Some((chain, key)) = &self.identity else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(chain, CERTIFICATE)?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| invalid(KEY, "the text holds no private key in PEM; check the file"))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|_| invalid(KEY, "it is not the key of the certificate; check both files"))
    }

    fn root_certificates(&self) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let roots: Result<Vec<_>, _> =
            self.roots.iter().map(|pem| certificates(pem, ROOTS)).collect();
        Ok(roots?.concat())
    }

    fn matcher(&self) -> Result<Option<Matcher>, ConfigError> {
        let (http, https, no) = match &self.proxy {
            Proxy::None => return Ok(None),
            Proxy::Given(url) => {
                check_proxy(url, "the proxy")?;
                (url.clone(), url.clone(), String::new())
            }
            Proxy::Env if env::var_os("REQUEST_METHOD").is_some() => return Ok(None),
            Proxy::Env => {
                let http = proxy_variable("HTTP_PROXY")?;
                let https = proxy_variable("HTTPS_PROXY")?;
                let is_needed = http.is_none() || https.is_none();
                let all = if is_needed { proxy_variable("ALL_PROXY")? } else { None };
                let all = all.unwrap_or_default();
                let (http, https) = (http.unwrap_or_else(|| all.clone()), https.unwrap_or(all));
                (http, https, variable("NO_PROXY").unwrap_or_default())
            }
        };
        let no = self.no_proxy.clone().unwrap_or(no);
        Ok(Some(Matcher::builder().http(http).https(https).no(no).build()))
    }
}

const ROOTS: &str = "the root certificates of the HTTPS client";
const CERTIFICATE: &str = "the client certificate";
const KEY: &str = "the key of the client certificate";

fn invalid(setting: &str, reason: &'static str) -> ConfigError {
    ConfigError::InvalidSetting { setting: setting.into(), reason }
}

#[cfg(not(target_os = "android"))]
fn platform_verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Verifier, ConfigError> {
    Verifier::new_with_extra_roots(roots, provider)
        .map_err(|error| ConfigError::Tls(error.to_string()))
}

#[cfg(target_os = "android")]
fn platform_verifier(
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Verifier, ConfigError> {
    if !roots.is_empty() {
        return Err(invalid(ROOTS, "Android's can't be added to; use without_platform_roots"));
    }
    Verifier::new(provider).map_err(|error| ConfigError::Tls(error.to_string()))
}

/// Returns the certificates in a PEM text, of which there has to be one.
fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| invalid(setting, "the PEM is malformed; check the file"))?;
    if found.is_empty() {
        return Err(invalid(setting, "the text holds no certificate in PEM; check the file"));
    }
    Ok(found)
}

/// Returns an environment variable that is set to something, by its name or that in lower case.
fn variable(name: &str) -> Option<String> {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    set(name).or_else(|| set(&name.to_ascii_lowercase()))
}

/// Returns the address of a proxy in the environment. One that can't be used is an error, because
/// without the proxy the request would go where nobody expects it.
fn proxy_variable(name: &str) -> Result<Option<String>, ConfigError> {
    let Some(url) = variable(name) else { return Ok(None) };
    check_proxy(&url, &format!("the environment variable {name}"))?;
    Ok(Some(url))
}

/// Checks the address of a proxy. It may hold a password, so no error shows it.
fn check_proxy(url: &str, setting: &str) -> Result<(), ConfigError> {
    let uri = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    let Some(uri) = uri else {
        return Err(invalid(setting, "it is no address; give one such as http://proxy:3128"));
    };
    match uri.scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(invalid(
            setting,
            "only http and https proxies can be used; give one such \
                                         as http://proxy:3128",
        )),
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor the proxy's address, which may hold a password.
        f.debug_struct("ClientBuilder")
            .field("without_platform_roots", &self.without_platform_roots)
            .finish_non_exhaustive()
    }
}
