//! [`provider`]: the cryptography under every TLS connection that this crate makes.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// Returns the process's default provider if one is installed, else `aws-lc-rs`.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}
