//! [`conformance`]: what every store has to do, as a test.

mod ages;
mod changes;
mod dropped;
mod error;
#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
mod trial;
mod watching;

pub use self::error::{ConformanceError, Rule};
use self::trial::Trial;
use super::token_store::TokenStore;

/// Tests that `store` keeps every [`Rule`].
///
/// A test of the store runs it against a real server. It takes about two seconds, and writes some
/// 30 values under names of its own, each to be kept for a minute. With a paused Tokio clock it
/// takes no time, which only a store without I/O can stand.
///
/// One handle can't tell whether two processes exclude each other: see [`conformance_between`].
///
/// # Errors
///
/// Returns the first rule that is broken, with what was found.
///
/// # Panics
///
/// Panics outside of a Tokio runtime with timers.
///
/// # Examples
///
/// ```
/// use tower_reauth::store::{self, ConformanceError, MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), ConformanceError> {
/// store::conformance(&MemoryStore::new()).await?;
/// # Ok(())
/// # }
/// ```
pub async fn conformance<S: TokenStore>(store: &S) -> Result<(), ConformanceError> {
    conformance_between(store, store).await
}

/// Tests that two handles to the same values keep every [`Rule`] between them.
///
/// The handles stand for two processes: two connections to a server, or a folder that was opened
/// twice. Otherwise this is [`conformance`].
///
/// # Errors
///
/// Returns the first rule that is broken, with what was found.
///
/// # Panics
///
/// Panics outside of a Tokio runtime with timers.
pub async fn conformance_between<S: TokenStore>(
    one: &S,
    other: &S,
) -> Result<(), ConformanceError> {
    let trial = Trial::new(one, other);
    trial.check_creation().await?;
    trial.check_conflicts().await?;
    trial.check_bytes().await?;
    trial.check_names().await?;
    trial.check_one_winner().await?;
    trial.check_ages().await?;
    trial.check_watches().await?;
    trial.check_dropped_futures().await
}
