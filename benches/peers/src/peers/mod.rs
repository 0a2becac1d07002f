//! Those compared, one file each.

pub mod aws;
pub mod azure;
pub mod floor;
pub mod gcp;
pub mod google;
pub mod kube;
pub mod moka;
pub mod ours;
pub mod plain;
pub mod reqwest;
pub mod yup;

use crate::report::Unreachable;

/// What a peer's public interface does not give, and so is not in the tables.
pub fn unreachable() -> Vec<Unreachable> {
    [
        (
            "kube token file: burst, failures",
            "reads the file while it is built, and again at once, without waiting, in the call \
             that finds it old",
        ),
        (
            "reqwest-middleware: burst, failures",
            "keeps no token; what a refresh costs is up to the middleware that one writes",
        ),
        (
            "azure_core: http's Request",
            "signs its own request type only; its GET has the same URL and headers, and is made \
             outside of the time",
        ),
        (
            "aws-smithy-runtime: its signer",
            "signs its own request type only; the cache's token is put on the request by the \
             bench, as gcp_auth's and yup's",
        ),
    ]
    .map(|(name, why)| Unreachable { name, why })
    .into()
}
