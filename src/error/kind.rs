//! [`Kind`] of an [`AuthError`](super::AuthError), and the [`Fate`] of the request for a token.

/// The fate of the request for a token, as far as the client can tell.
///
/// On an exclusive endpoint it decides whether the token in use is kept, suspect or dead. The
/// variants are in ascending order of harm. The fate of a refresh is the greatest among those of
/// its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// No token was issued, because the request was not sent or was refused.
    NotIssued,
    /// A token may have been issued. There was no response, or one that does not tell. A success
    /// without a token does not tell, because a proxy in front may have made it.
    Unknown,
    /// A token was issued and has expired.
    Issued,
}

/// The kinds of failure. The `is_*` methods of
/// [`AuthError`](super::AuthError) group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Another attempt may succeed: no connection, a reset, 408, 409, 410, 425, 429, 5xx, a
    /// response that was cut off.
    Transient,
    /// The endpoint's host has no address. Another attempt of the same refresh would only repeat
    /// the question, but a later call may find it.
    Unresolved,
    /// An attempt or the whole refresh ran out of time.
    Timeout,
    /// The endpoint refused the credentials.
    Rejected,
    /// The endpoint answered with a redirect, or with a success that holds no usable token. A
    /// success that was cut off or is empty is [`Transient`](Self::Transient).
    InvalidResponse,
    /// The token had expired before it arrived.
    Expired,
    /// The credentials source failed, or gave credentials that can't be sent.
    Credentials,
    /// The endpoint or the credentials source panicked.
    Interrupted,
    /// The runtime of the refresh shut down, or did not drive it. Waiters on other runtimes start
    /// over before they get this.
    RuntimeGone,
    /// There is no Tokio runtime to run the refresh on.
    NoRuntime,
    /// The runtime of the refresh has no timers.
    NoTimers,
    /// Tokens were refused soon after they were issued, so no new one is asked for yet.
    CoolingDown,
    /// The store that processes share can't be used, and no token is asked for without it.
    StoreDown,
    /// The request's origin may not see the token.
    RefusedOrigin,
    /// Any other failure that another attempt does not mend.
    Permanent,
}

/// Returns the fate to assume where nothing but the kind is known.
pub(super) fn default_fate(kind: Kind) -> Fate {
    match kind {
        Kind::Transient
        | Kind::Timeout
        | Kind::Interrupted
        | Kind::RuntimeGone
        | Kind::InvalidResponse => Fate::Unknown,
        Kind::Expired => Fate::Issued,
        Kind::Unresolved
        | Kind::Rejected
        | Kind::Credentials
        | Kind::NoRuntime
        | Kind::NoTimers
        | Kind::CoolingDown
        | Kind::StoreDown
        | Kind::RefusedOrigin
        | Kind::Permanent => Fate::NotIssued,
    }
}

/// The kinds that processes tell each other, and their names in the shared value.
const NAMES: [(Kind, &str); 7] = [
    (Kind::Transient, "transient"),
    (Kind::Unresolved, "unresolved"),
    (Kind::Timeout, "timeout"),
    (Kind::Rejected, "rejected"),
    (Kind::InvalidResponse, "invalid_response"),
    (Kind::Expired, "expired"),
    (Kind::Credentials, "credentials"),
];

impl Kind {
    /// Returns the name under which other processes hear of the failure.
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(kind, _)| *kind == self).map_or("permanent", |(_, name)| name)
    }

    /// Returns the kind with this name. A name of a newer version is a kind that another attempt
    /// does not mend.
    pub(crate) fn named(name: &str) -> Self {
        NAMES.iter().find(|(_, it)| *it == name).map_or(Self::Permanent, |(kind, _)| *kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_was_named() {
        for (kind, name) in NAMES {
            assert_eq!((kind.name(), Kind::named(name)), (name, kind));
        }
        assert_eq!(Kind::named(Kind::Permanent.name()), Kind::Permanent);
        assert_eq!(Kind::named("of a newer version"), Kind::Permanent);
    }
}
