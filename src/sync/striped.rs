//! [`Striped`]: several copies of a value whose reference count all cores would otherwise write to.
//!
//! Two cores that clone one shared `Arc` or header value at once are slower than one core alone.
//! The count is in one cache line, which only one core at a time can write to. With several copies
//! a thread has one to itself, or shares it with few others.

use std::{ops::Deref, sync::LazyLock};

use super::Turn;

/// Copies of one value, of which each thread always gets the same one.
///
/// Their number is that of the available CPUs, rounded up to a power of two and kept in 2..=32.
pub(crate) struct Striped<T> {
    copies: Box<[T]>,
    turn: Turn,
}

impl<T> Striped<T> {
    pub(crate) fn new(copy: impl FnMut() -> T) -> Self {
        // Read once, because a cgroup's limit on cores is read from a file each time.
        static COPIES: LazyLock<usize> = LazyLock::new(|| {
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .next_power_of_two()
                .clamp(2, 32)
        });
        let copies = if cfg!(all(test, tower_reauth_loom)) { 2 } else { *COPIES };
        Self { copies: std::iter::repeat_with(copy).take(copies).collect(), turn: Turn::default() }
    }

    /// Returns the copy of this thread.
    #[inline]
    pub(crate) fn local(&self) -> &T {
        &self.copies[self.turn.of(self.copies.len())]
    }
}

impl<T> Deref for Striped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.copies
    }
}

impl<T: Clone> Clone for Striped<T> {
    fn clone(&self) -> Self {
        Self { copies: self.copies.clone(), turn: Turn::default() }
    }
}

#[cfg(all(test, not(tower_reauth_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_thread_stays_with_its_copy_and_others_have_another() {
        let mut next = 0;
        let striped = Striped::new(|| {
            next += 1;
            next
        });
        let local = || (0..10).map(|_| *striped.local()).collect::<Vec<_>>();
        let here = local();
        assert!(here.iter().all(|copy| *copy == here[0]));
        // Other tests start threads as well, so two given threads may share a copy.
        let mut others =
            (0..100).map(|_| std::thread::scope(|scope| scope.spawn(local).join().unwrap()[0]));
        assert!(others.any(|copy| copy != here[0]));
    }
}
