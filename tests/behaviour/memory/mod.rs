//! What must not grow unseen, by an allocator that counts what each thread allocates.

mod bounds;
mod limits;
mod replay;
