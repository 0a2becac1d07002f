//! [`Signer`]: what is signed, and how.

use http::{HeaderMap, HeaderName, Method, Uri, Version};

use super::guard::{self, Admission, Guard};
use crate::{
    cache::{CachedLease, Lease, TokenCache},
    error::AuthError,
    replay::KeptHead,
    sync::Arc,
};

/// What becomes of an `Authorization` header (or whichever carries the token) that the caller has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CallerAuthorization {
    /// It is replaced by the token; never doubled.
    #[default]
    Replace,
    /// It stays, and the request is the caller's own: not signed, and not replayed after a 401.
    Keep,
}

/// What every service of a layer has in common.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) cache: TokenCache,
    pub(crate) guard: Guard,
    pub(crate) header: HeaderName,
    pub(crate) caller_authorization: CallerAuthorization,
}

/// Why a request is not signed.
pub(crate) enum NotSigned {
    /// There is no token.
    NoToken,
    /// It is somebody else's, or its caller has signed it.
    PassThrough,
    Refused(AuthError),
}

impl Signer {
    /// What nearly every request is to be signed with, and its head, if that is to be kept: of a request that
    /// [`admit_slow`](Self::admit_slow) would admit, and of a service that has had this lease before.
    ///
    /// One function that is not generic, because in a real client none of its code is in the first-level cache when a request
    /// comes: spread over several, it took 0.3 % more of the time of hyper's requests.
    pub(crate) fn admit(
        &self,
        recent: &CachedLease,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        keep: bool,
    ) -> Option<(Arc<Lease>, KeptHead)> {
        if !self.guard.is_fast_path(method, uri) || self.is_kept(headers) {
            return None;
        }
        let lease = recent.lease()?;
        if !keep {
            // There are few, so looking at each name is quicker than a lookup.
            let is_fast_path = !headers.keys().any(guard::overrides_authority);
            return is_fast_path.then(|| (lease, KeptHead::default()));
        }
        let mut is_fast_path = true;
        let look = |name: &HeaderName| is_fast_path &= !guard::overrides_authority(name);
        let head = KeptHead::looking_at(look, method, uri, version, headers);
        is_fast_path.then_some((lease, head))
    }

    /// Whether a request may carry the token, and the same for the first ones of a service, until it has had the lease before.
    pub(crate) fn admit_slow(
        &self,
        recent: &mut CachedLease,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        keep: bool,
    ) -> Result<(Arc<Lease>, KeptHead), NotSigned> {
        match self.guard.check(method, uri, headers) {
            Admission::Refuse(error) => return Err(NotSigned::Refused(error)),
            Admission::PassUnsigned => return Err(NotSigned::PassThrough),
            Admission::Sign => {}
        }
        if self.is_kept(headers) {
            return Err(NotSigned::PassThrough);
        }
        let lease = self.cache.core().lease().ok_or(NotSigned::NoToken)?;
        recent.keep(&lease);
        let head =
            if keep { KeptHead::of(method, uri, version, headers) } else { KeptHead::default() };
        Ok((lease, head))
    }

    /// Whether the caller has signed it, and that stays.
    #[inline]
    fn is_kept(&self, headers: &HeaderMap) -> bool {
        self.caller_authorization == CallerAuthorization::Keep && headers.contains_key(&self.header)
    }

    /// Puts the token on, in place of whatever the header held.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, lease: &Lease) {
        headers.insert(self.header.clone(), lease.header.clone());
    }
}
