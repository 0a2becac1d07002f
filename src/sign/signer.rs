//! [`Signer`]: what is signed, and how.

use http::{HeaderMap, HeaderName, Method, Uri, Version};

use super::guard::{self, Admission, Guard};
use crate::{
    cache::{CachedLease, Lease, TokenCache},
    error::{AuthError, Kind},
    replay::KeptHead,
    sync::Arc,
};

/// Decides over an `Authorization` header, or whichever header carries the token, that the caller
/// has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallerAuthorization {
    /// The token replaces it, so the header is never doubled.
    #[default]
    Replace,
    /// It stays. The request is the caller's own: it is not signed, and not replayed after a 401.
    Keep,
}

/// The settings that every service of a layer shares.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    pub(crate) cache: TokenCache,
    pub(crate) guard: Guard,
    pub(crate) header: HeaderName,
    pub(crate) caller_authorization: CallerAuthorization,
}

/// The reason why a request is not signed.
pub(crate) enum NotSigned {
    /// There is no token yet.
    NoToken,
    /// The request goes to another origin, or its caller has signed it.
    PassThrough,
    Refused(AuthError),
}

impl Signer {
    /// Fast path. Returns the cached lease and, if `keep`, a copy of the head. `None` means that
    /// the caller takes [`admit_slow`](Self::admit_slow).
    ///
    /// It is one function that is not generic, because a real client finds none of its code in the
    /// first-level cache when a request comes. Spread over several functions, it took 0.3 % more
    /// of the time of hyper's requests.
    pub(crate) fn admit(
        &self,
        cached: &CachedLease,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
        keep: bool,
    ) -> Option<(Arc<Lease>, KeptHead)> {
        if !self.guard.is_fast_path(method, uri) || self.is_callers_own(headers) {
            return None;
        }
        let lease = cached.lease()?;
        if !keep {
            // There are few headers, so comparing each name is quicker than a lookup.
            let is_fast_path = !headers.keys().any(guard::overrides_authority);
            return is_fast_path.then(|| (lease, KeptHead::default()));
        }
        // The names are compared while the head is copied, to go through them once.
        let mut is_fast_path = true;
        let visit = |name: &HeaderName| is_fast_path &= !guard::overrides_authority(name);
        let head = KeptHead::visiting(visit, method, uri, version, headers);
        is_fast_path.then_some((lease, head))
    }

    /// Slow path. Checks everything, takes the lease from the cache, and keeps it for the fast
    /// path.
    pub(crate) fn admit_slow(
        &self,
        cached: &mut CachedLease,
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
        if self.is_callers_own(headers) {
            return Err(NotSigned::PassThrough);
        }
        let lease = self.cache.lease().ok_or(NotSigned::NoToken)?;
        cached.keep(&lease);
        let head =
            if keep { KeptHead::of(method, uri, version, headers) } else { KeptHead::default() };
        Ok((lease, head))
    }

    /// Returns whether the caller has signed the request, and that signature stays.
    #[inline]
    fn is_callers_own(&self, headers: &HeaderMap) -> bool {
        self.caller_authorization == CallerAuthorization::Keep && headers.contains_key(&self.header)
    }

    /// Inserts the token, in place of whatever the header held. The error is that of a request
    /// with so many headers that none can be added.
    #[inline]
    pub(crate) fn sign(&self, headers: &mut HeaderMap, lease: &Lease) -> Result<(), AuthError> {
        match headers.try_insert(self.header.clone(), lease.header.clone()) {
            Ok(_) => Ok(()),
            Err(_) => self.sign_full(headers, lease),
        }
    }

    /// Signs a request whose headers leave no place for another, if it has the token's header
    /// already.
    #[cold]
    fn sign_full(&self, headers: &mut HeaderMap, lease: &Lease) -> Result<(), AuthError> {
        // A full map takes no header, not even in place of one that it has.
        headers.remove(&self.header);
        match headers.try_insert(self.header.clone(), lease.header.clone()) {
            Ok(_) => Ok(()),
            Err(_) => Err(AuthError::new(
                Kind::Permanent,
                "the request has as many headers as a request can hold, which leaves no place for \
                 the token; send fewer",
            )),
        }
    }
}
