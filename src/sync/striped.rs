//! [`Striped`]: several copies of what would otherwise be one reference count, which all cores write to.
//!
//! Cloning one shared `Arc` or header value from two cores at once is slower than from one: its count is one cache
//! line, and only one core can have it. So each thread has a copy of its own, or shares it with few others.

use std::{ops::Deref, sync::LazyLock};

use super::Turn;

/// As many copies as there are cores, or a few more: a power of two, up to a limit.
pub(crate) struct Striped<T> {
    copies: Box<[T]>,
    turn: Turn,
}

impl<T> Striped<T> {
    pub(crate) fn new(copy: impl FnMut() -> T) -> Self {
        // A cgroup's limit has to be read from a file.
        static COPIES: LazyLock<usize> = LazyLock::new(|| {
            std::thread::available_parallelism()
                .map_or(1, usize::from)
                .next_power_of_two()
                .clamp(2, 32)
        });
        let copies = if cfg!(all(test, tower_reauth_loom)) { 2 } else { *COPIES };
        Self { copies: std::iter::repeat_with(copy).take(copies).collect(), turn: Turn::default() }
    }

    /// The copy of this thread.
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
        // Other tests have threads as well, so not just any two differ.
        let mut others =
            (0..100).map(|_| std::thread::scope(|scope| scope.spawn(local).join().unwrap()[0]));
        assert!(others.any(|copy| copy != here[0]));
    }
}
