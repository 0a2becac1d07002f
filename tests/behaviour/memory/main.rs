//! What must not grow unseen. A process of its own, since its allocator counts.

mod bounds;
mod limits;
mod replay;
