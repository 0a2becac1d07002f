//! What "refused" looks like, for APIs that do not answer 401 when a token has expired.
//!
//! By default the [`AuthLayer`](crate::AuthLayer) follows the RFCs: see [`Unauthorized`].
//! [`AuthLayer::refusals`](crate::AuthLayer::refusals) takes another [`Classify`]:
//!
//! | a refusal is | classification | for example |
//! |---|---|---|
//! | a 401 | [`Unauthorized`] | most APIs |
//! | another status | [`statuses`] | Vault (403), Laravel (419) |
//! | a challenge | [`challenge()`] | a 403 with `Bearer error="invalid_token"` |
//! | a mark of an inner layer | [`marked`] | a body with a code |
//! | one of several | [`Classify::or`] | |
//! | anything else in the head | a [`Classify`] of your own | |
//!
//! A request whose token is refused is sent once more, so name only what says that the request was
//! not applied. The default costs nothing for the choice: it has no size, and only the head of the
//! response is read.
//!
//! # Examples
//!
//! ```
//! use tower_reauth::refusal::{self, Classify, Unauthorized};
//!
//! # fn f(auth: tower_reauth::AuthLayer) -> Result<(), tower_reauth::ConfigError> {
//! let auth = auth.refusals(Unauthorized.or(refusal::statuses([419])?));
//! # Ok(())
//! # }
//! ```

mod conditions;

pub use self::conditions::{Challenge, Mark, Marked, Statuses, challenge, marked, statuses};
pub use super::classify::{Classification, Classify, Or, Unauthorized};
