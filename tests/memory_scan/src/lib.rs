//! An allocator that counts the blocks that are freed with a secret in them.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    slice,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// The secret that is looked for.
pub const SECRET: &str = "c00kie-of-the-caller-0123456789";

struct Scan;

static ON: AtomicBool = AtomicBool::new(false);
static FOUND: AtomicUsize = AtomicUsize::new(0);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: all blocks come from `System` and go back there. `dealloc` and `realloc` read a block
// while it is still allocated, within its size.
unsafe impl GlobalAlloc for Scan {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Zeroed, because reading what was never written is undefined.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if ON.load(SeqCst) && layout.size() >= SECRET.len() {
            let bytes = unsafe { slice::from_raw_parts(block, layout.size()) };
            let is_secret = |window: &[u8]| window == SECRET.as_bytes();
            if bytes.windows(SECRET.len()).any(is_secret) {
                FOUND.fetch_add(1, SeqCst);
            }
        }
        unsafe { System.dealloc(block, layout) }
    }

    // `realloc` is that of the trait, which allocates, copies and frees.
}

#[global_allocator]
static ALLOCATOR: Scan = Scan;

/// Returns how many blocks were freed with the secret in them while `scanned` ran, on any thread.
pub fn freed_with_the_secret(scanned: impl FnOnce()) -> usize {
    let _one: MutexGuard<'_, ()> = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    FOUND.store(0, SeqCst);
    ON.store(true, SeqCst);
    scanned();
    ON.store(false, SeqCst);
    FOUND.load(SeqCst)
}
