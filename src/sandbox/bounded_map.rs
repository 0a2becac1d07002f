//! [`BoundedMap`]: a map that drops its oldest entries.

use std::collections::{HashMap, VecDeque};

/// A map of at most `max_entries` entries and at most `max_bytes` bytes.
///
/// The caller states the size of each entry in bytes. When a bound is exceeded, the oldest entries
/// are dropped until it holds again.
pub(super) struct BoundedMap<V> {
    /// Each value with its size.
    entries: HashMap<String, (V, usize)>,
    oldest_first: VecDeque<String>,
    /// The sum of all sizes.
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl<V> BoundedMap<V> {
    pub(super) fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self {
            entries: HashMap::new(),
            oldest_first: VecDeque::new(),
            bytes: 0,
            max_entries,
            max_bytes,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Inserts an entry under a key that the map does not hold yet.
    pub(super) fn insert(&mut self, key: String, value: V, size: usize) {
        self.bytes += size;
        self.oldest_first.push_back(key.clone());
        self.entries.insert(key, (value, size));
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(oldest) = self.oldest_first.pop_front() else { break };
            if let Some((_, size)) = self.entries.remove(&oldest) {
                self.bytes -= size;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_goes_first() {
        let mut map = BoundedMap::new(2, 100);
        for key in ["a", "b", "c"] {
            map.insert(key.to_owned(), key.to_owned(), 1);
        }
        assert!(map.get("a").is_none());
        assert_eq!(map.get("b").map(String::as_str), Some("b"));
        assert_eq!(map.get("c").map(String::as_str), Some("c"));
    }

    #[test]
    fn a_large_entry_pushes_out_as_many_as_it_takes() {
        let mut map = BoundedMap::new(10, 100);
        for key in ["a", "b", "c"] {
            map.insert(key.to_owned(), (), 40);
        }
        map.insert("d".to_owned(), (), 60);
        assert!(map.get("b").is_none());
        assert!(map.get("c").is_some());
        assert_eq!(map.bytes, 100);
    }
}
