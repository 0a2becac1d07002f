//! The questions that callers ask an [`AuthError`].

use super::{auth::AuthError, kind::Kind};

impl AuthError {
    /// Returns `true` if the same call may succeed later without a change of the configuration.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Transient
                | Kind::Unresolved
                | Kind::Timeout
                | Kind::Interrupted
                | Kind::RuntimeGone
                | Kind::CoolingDown
                | Kind::StoreDown
        )
    }

    /// Returns `true` if another attempt of the same refresh may succeed.
    pub(crate) fn is_worth_another_attempt(&self) -> bool {
        self.is_transient() && !matches!(self.kind(), Kind::Unresolved | Kind::StoreDown)
    }

    /// Returns `true` if an attempt, or the whole refresh, ran out of time.
    pub fn is_timeout(&self) -> bool {
        self.kind() == Kind::Timeout
    }

    /// Returns `true` if the token endpoint refused the credentials.
    ///
    /// Its error [`code`](Self::code) says so, or its status is 400, 401 or 403. A 403 that is not
    /// JSON is none of the endpoint's, but of a firewall in front of it, and is
    /// [permanent](Self::is_permanent).
    pub fn is_rejected(&self) -> bool {
        self.kind() == Kind::Rejected
    }

    /// Returns `true` if the endpoint's response holds no usable token.
    ///
    /// Such a response is not JSON, is too large, is a redirect, has an empty `accessToken` or one
    /// that no header can carry, or has a token that had already expired.
    pub fn is_invalid_response(&self) -> bool {
        matches!(self.kind(), Kind::InvalidResponse | Kind::Expired)
    }

    /// Returns `true` if the endpoint can't be used as configured, so that nothing but a change of
    /// the configuration, or of the endpoint, mends it.
    ///
    /// This is a wrong address, a refused TLS handshake, a server that does not speak HTTP, a scope
    /// or grant that the client may not ask for, and each error of [`permanent`](Self::permanent).
    pub fn is_permanent(&self) -> bool {
        self.kind() == Kind::Permanent
    }

    /// Returns `true` if the credentials source failed, or gave credentials that can't be sent.
    pub fn is_credentials(&self) -> bool {
        self.kind() == Kind::Credentials
    }

    /// Returns `true` if the task of the refresh ended early.
    ///
    /// Either the endpoint or the credentials source panicked, or the Tokio runtime of the refresh
    /// shut down and no other runtime was there to start it again. The next call starts another
    /// refresh.
    pub fn is_interrupted(&self) -> bool {
        matches!(self.kind(), Kind::Interrupted | Kind::RuntimeGone)
    }

    /// Returns `true` if no new token is asked for yet, because tokens were refused soon after they
    /// were issued.
    ///
    /// Either another process seems to use the same credentials, or the resource refuses every
    /// token. It is also `true` if the endpoint issued the refused token again.
    pub fn is_cooling_down(&self) -> bool {
        self.kind() == Kind::CoolingDown
    }

    /// Returns `true` if there was no Tokio runtime to run the refresh on, or if its timers are not
    /// enabled (`enable_time` or `enable_all` of the runtime's builder).
    pub fn is_no_runtime(&self) -> bool {
        matches!(self.kind(), Kind::NoRuntime | Kind::NoTimers)
    }

    /// Returns `true` if the runtime of the refresh is at fault, so that a refresh on another
    /// runtime may succeed.
    pub(crate) fn is_of_runtime(&self) -> bool {
        matches!(self.kind(), Kind::RuntimeGone | Kind::NoTimers)
    }

    /// Returns `true` if the request was refused because its origin may not see the token.
    pub fn is_refused_origin(&self) -> bool {
        self.kind() == Kind::RefusedOrigin
    }

    /// Returns `true` if no token was asked for, because the store that processes share can't be
    /// used.
    ///
    /// Only with [`StoreDown::Fail`](crate::store::StoreDown::Fail).
    pub fn is_store_down(&self) -> bool {
        self.kind() == Kind::StoreDown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_answers_its_predicates() {
        let table = [
            (Kind::Transient, [true, false, false, false, false]),
            (Kind::Unresolved, [true, false, false, false, false]),
            (Kind::Timeout, [true, false, false, false, false]),
            (Kind::Interrupted, [true, false, false, false, false]),
            (Kind::RuntimeGone, [true, false, false, false, false]),
            (Kind::Rejected, [false, true, false, false, false]),
            (Kind::InvalidResponse, [false, false, true, false, false]),
            (Kind::Expired, [false, false, true, false, false]),
            (Kind::Credentials, [false, false, false, true, false]),
            (Kind::CoolingDown, [true, false, false, false, false]),
            (Kind::StoreDown, [true, false, false, false, false]),
            (Kind::NoRuntime, [false, false, false, false, false]),
            (Kind::NoTimers, [false, false, false, false, false]),
            (Kind::RefusedOrigin, [false, false, false, false, false]),
            (Kind::Permanent, [false, false, false, false, true]),
        ];
        for (kind, expected) in table {
            let error = AuthError::new(kind, "x");
            let actual = [
                error.is_transient(),
                error.is_rejected(),
                error.is_invalid_response(),
                error.is_credentials(),
                error.is_permanent(),
            ];
            assert_eq!(actual, expected, "{kind:?}");
        }
    }
}
