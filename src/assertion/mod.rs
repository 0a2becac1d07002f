//! Sources of signed assertions, by which a client says who it is without a secret (RFC 7523).
//!
//! | source | for |
//! |---|---|
//! | [`from_fn`] | an async function: a key management service, a vault, a cloud's identity token |
//!
//! An [`AssertionSource`] is asked each time an assertion is sent, and each time for a new one. A
//! rotated key or a changed file is therefore used from the next refresh on, and a server that
//! takes each `jti` once (RFC 7523, section 3) never sees one twice.

mod from_fn;
mod source;

pub use self::{
    from_fn::{FromFn, from_fn},
    source::{AssertionAsk, AssertionSource, BoxAssertionSource},
};
