//! Wakers of other people: one that panics, and one that polls where it is woken. None is woken
//! under the cache's lock, and a panic in it costs nobody else.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use support::Endpoint;
use tower_reauth::TokenCache;

use super::foreign_code::{threads, within_seconds};

/// A waker that panics.
struct Panics(AtomicUsize);

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
        panic!("a waker panics, as it was told to");
    }
}

/// Polls `future` once with a waker that panics.
fn poll_with_a_waker_that_panics(future: Pin<&mut impl Future>) -> Arc<Panics> {
    let panics = Arc::new(Panics(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&panics));
    assert!(future.poll(&mut Context::from_waker(&waker)).is_pending());
    panics
}

#[test]
fn a_waker_that_panics_leaves_no_other_waiter_asleep() {
    let runtime = threads();
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint);
    let _context = runtime.enter();
    let mut updates = cache.subscribe();
    let mut update = Box::pin(updates.next());
    let mut first = Box::pin(cache.token());
    let wakers = [
        poll_with_a_waker_that_panics(update.as_mut()),
        poll_with_a_waker_that_panics(first.as_mut()),
    ];
    let others: Vec<_> = (0..5).map(|_| runtime.spawn(cache.token())).collect();
    let mut watcher = cache.subscribe();
    let watcher = runtime.spawn(async move { watcher.next().await.map(|it| it.sequence()) });
    while cache.counters().joined < 5 {
        thread::yield_now();
    }
    gate.send(()).unwrap();
    for other in others {
        let result =
            runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), other).await });
        assert_eq!(result.expect("it hangs").unwrap().unwrap().sequence(), 1);
    }
    let seen =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), watcher).await });
    assert_eq!(seen.expect("it hangs").unwrap(), Some(1));
    assert!(wakers.iter().all(|waker| waker.0.load(SeqCst) == 1));
    assert_eq!(runtime.block_on(first).unwrap().sequence(), 1, "its token is there all the same");
}

/// Polls its future where it is woken, as an inline executor does.
struct Inline {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    done: AtomicBool,
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        if let Ok(mut future) = self.future.try_lock()
            && let Some(it) = future.as_mut()
            && it.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *future = None;
            self.done.store(true, SeqCst);
        }
    }
}

#[test]
fn a_waker_may_poll_where_it_is_woken() {
    let served = within_seconds(|| {
        let runtime = threads();
        let endpoint = Endpoint::exclusive();
        let gate = endpoint.gate();
        let cache = TokenCache::new(endpoint);
        let waits = {
            let cache = cache.clone();
            async move {
                let token = cache.token().await.unwrap();
                let newer = cache.refresh().await.unwrap();
                assert!(newer.sequence() > token.sequence());
            }
        };
        let inline =
            Arc::new(Inline { future: Mutex::new(Some(Box::pin(waits))), done: false.into() });
        {
            let _context = runtime.enter();
            Arc::clone(&inline).wake();
        }
        gate.send(()).unwrap();
        let other = runtime.block_on(cache.token()).is_ok();
        while !inline.done.load(SeqCst) {
            thread::yield_now();
        }
        other
    });
    assert_eq!(served, Some(true));
}
