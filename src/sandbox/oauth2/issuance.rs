//! [`Issuance`]: what a request for a token does to the one in use.

/// The effect of a request for a token on the one that is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Issuance {
    /// Each request gets a new token, and the old ones live on until they expire. Most servers do
    /// this.
    #[default]
    Overlapping,
    /// Each request gets a new token, which kills those before it of the same client. Zoom does
    /// this.
    Exclusive,
    /// A request gets the token in use again, with what is left of its lifetime, as long as it
    /// lives. PayPal does this.
    Same,
}
