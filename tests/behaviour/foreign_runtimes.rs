//! Runtimes that shut down, stand still, lack timers, or are not the one where a caller began.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use support::{Endpoint, Resource, Step, URI, get, known_at_once, settle};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, ServiceExt};
use tower_reauth::{AuthLayer, RefreshPolicy, TokenCache, cache::TokenFuture};

/// A runtime whose clock goes on when nothing else is left to do.
fn paused() -> Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

fn without_timers() -> Runtime {
    Builder::new_current_thread().enable_io().build().unwrap()
}

/// A runtime that runs by itself.
fn running() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs a future on this thread, and on no runtime.
fn without_a_runtime<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Starts a refresh on `runtime`, by a caller that goes away at once. The runtime has not polled
/// the refresh yet.
fn lead(runtime: &Runtime, cache: &TokenCache) {
    runtime.block_on(async { assert_pending!(task::spawn(cache.token()).poll()) });
}

/// Drives the tasks of `runtime` until each of them waits.
fn drive(runtime: &Runtime) {
    runtime.block_on(settle());
}

#[test]
fn a_waiter_outlives_every_runtime_that_led_its_refresh() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let own = paused();
    let mut waiter = {
        let _own = own.enter();
        task::spawn(cache.token())
    };
    for _ in 0..3 {
        endpoint.then(Step::Hang);
        let leading = paused();
        lead(&leading, &cache);
        let _own = own.enter();
        assert_pending!(waiter.poll());
        drive(&leading);
        drop(leading);
        assert!(waiter.is_woken());
    }
    assert_eq!(own.block_on(waiter).unwrap().sequence(), 4);
    assert_eq!(endpoint.calls(), 4, "each refresh reached the endpoint");
}

#[test]
fn a_request_that_waits_or_was_refused_outlives_the_runtime_that_led_its_refresh() {
    for refused in [false, true] {
        let endpoint = Endpoint::exclusive();
        let cache = known_at_once(endpoint.clone());
        let own = paused();
        let accepted = if refused { "token-3" } else { "token-2" };
        let resource = Resource::accepting(accepted);
        if refused {
            own.block_on(cache.token()).unwrap();
        }
        let service = AuthLayer::new(cache.clone()).layer(resource);
        endpoint.then(Step::Hang);
        let leading = paused();
        // The first poll starts the refresh on `leading`. For a refused request, the one that
        // brings the 401 does.
        let mut request = task::spawn(service.oneshot(get(URI)));
        for _ in 0..3 {
            let _leading = leading.enter();
            assert_pending!(request.poll());
        }
        drive(&leading);
        drop(leading);
        assert!(request.is_woken());
        assert_eq!(own.block_on(request).unwrap().status(), 200, "{refused}");
        assert_eq!(cache.counters().replays, u64::from(refused));
    }
}

#[test]
fn a_waiter_that_moves_to_another_runtime_does_not_rely_on_the_first() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let (first, second, third) = (paused(), paused(), paused());
    let mut waiter = task::spawn(cache.token());
    first.block_on(async { assert_pending!(waiter.poll()) });
    // Nobody drives the first runtime any longer. The second one sets an alarm, and goes.
    second.block_on(async { assert_pending!(waiter.poll()) });
    drop(second);
    assert_eq!(third.block_on(waiter).unwrap().sequence(), 2);
    drop(first);
}

#[test]
fn a_waiter_on_a_runtime_that_stood_still_gets_the_token_of_the_refresh_that_took_over() {
    let cache = TokenCache::new(Endpoint::exclusive());
    let (still, driven) = (paused(), paused());
    let mut early = task::spawn(cache.token());
    still.block_on(async { assert_pending!(early.poll()) });
    assert_eq!(driven.block_on(cache.token()).unwrap().sequence(), 2);
    assert_eq!(still.block_on(early).unwrap().sequence(), 2);
}

#[test]
fn a_worker_that_blocks_delays_callers_on_others_by_the_bound_of_a_refresh_at_most() {
    let short = RefreshPolicy::default()
        .attempt_timeout(Duration::from_millis(300))
        .deadline(Duration::from_millis(500))
        .drain_timeout(Duration::from_millis(100));
    for (policy, bound) in [
        (RefreshPolicy::default(), Duration::from_secs(2 + 2 * 30)),
        (short, Duration::from_millis(100 + 2 * 500)),
    ] {
        let endpoint = Endpoint::exclusive();
        let cache = TokenCache::builder(endpoint.clone()).refresh_policy(policy).build().unwrap();
        // The refresh lies in the queue of a worker of a server with a runtime per core, whose
        // next task computes for long.
        let (blocked, other) = (paused(), paused());
        lead(&blocked, &cache);
        let waited = other.block_on(async {
            let started = Instant::now();
            cache.token().await.unwrap();
            started.elapsed()
        });
        assert!(waited <= bound + Duration::from_millis(10), "{waited:?} of {bound:?}");
        assert_eq!(endpoint.calls(), 1);
    }
}

#[test]
fn a_worker_that_blocks_for_less_costs_no_second_request_for_a_token() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::new(endpoint.clone());
    let (blocked, other) = (paused(), paused());
    lead(&blocked, &cache);
    other.block_on(async {
        let mut waiter = task::spawn(cache.token());
        assert_pending!(waiter.poll());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!waiter.is_woken());
        thread::scope(|scope| scope.spawn(|| drive(&blocked)).join().unwrap());
        assert!(waiter.is_woken());
        assert_ready_ok!(waiter.poll());
    });
    assert_eq!(endpoint.calls(), 1);
}

#[test]
fn a_waiter_may_be_polled_where_no_timer_works() {
    let endpoint = Endpoint::exclusive();
    let gate = endpoint.gate();
    let cache = TokenCache::new(endpoint);
    let leading = paused();
    lead(&leading, &cache);
    let mut waiter = task::spawn(cache.token());
    let (gone, poor) = (paused(), without_timers());
    let handle = gone.handle().clone();
    let poll = |waiter: &mut task::Spawn<TokenFuture>, on: &tokio::runtime::Handle| {
        let _on = on.enter();
        assert_pending!(waiter.poll());
    };
    // With timers, after these are gone, without any, and on no runtime.
    poll(&mut waiter, &handle);
    drop(gone);
    poll(&mut waiter, &handle);
    poll(&mut waiter, poor.handle());
    poll(&mut waiter, poor.handle());
    assert_pending!(waiter.poll());
    gate.send(()).unwrap();
    drive(&leading);
    assert!(waiter.is_woken());
    assert_ready_ok!(waiter.poll());
}

#[test]
fn a_runtime_without_timers_is_named_and_held_against_nobody_else() {
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint.clone()).keep_warm(true).build().unwrap();
    let (poor, own) = (without_timers(), paused());
    for _ in 0..10 {
        let error = poor.block_on(cache.token()).unwrap_err();
        assert!(error.is_no_runtime() && !error.is_transient(), "{error:?}");
        assert!(error.to_string().contains("enable_time"), "{error}");
    }
    let request = AuthLayer::new(cache.clone()).layer(Resource::accepting("token-1"));
    let error = poor.block_on(request.clone().oneshot(get(URI))).unwrap_err();
    assert!(error.as_auth().unwrap().is_no_runtime(), "{error:?}");
    assert_eq!((endpoint.calls(), cache.counters().refreshes), (0, 1), "it is found out once");
    // Others have no back-off to wait for, and their token serves there too.
    assert!(own.block_on(request.clone().oneshot(get(URI))).is_ok());
    assert!(poor.block_on(request.oneshot(get(URI))).is_ok());
    let error = poor.block_on(cache.refresh()).unwrap_err();
    assert!(error.is_no_runtime() && cache.current().is_some(), "{error:?}");
    assert_eq!((endpoint.calls(), cache.counters().refreshes), (1, 2));
}

#[test]
fn a_named_runtime_without_timers_is_named_too() {
    let (poor, own) = (without_timers(), paused());
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint).runtime(poor.handle().clone()).build().unwrap();
    let error = without_a_runtime(cache.token()).unwrap_err();
    assert!(error.to_string().contains("enable_time"), "{error}");
    // Callers with a runtime that can do it do not depend on it.
    assert!(own.block_on(cache.token()).is_ok());
}

#[test]
fn a_waiter_without_a_runtime_joins_the_refresh_that_replaces_a_lost_one() {
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Hang);
    let cache = TokenCache::new(endpoint);
    let (leading, other) = (paused(), paused());
    lead(&leading, &cache);
    let (mut joins, mut alone) = (task::spawn(cache.token()), task::spawn(cache.token()));
    assert_pending!(joins.poll());
    assert_pending!(alone.poll());
    drive(&leading);
    drop(leading);
    // Nobody has replaced it yet.
    let error = tokio_test::assert_ready_err!(alone.poll());
    assert!(error.is_no_runtime(), "{error:?}");
    lead(&other, &cache);
    assert_pending!(joins.poll());
    drive(&other);
    assert_ready_ok!(joins.poll());
}

#[test]
fn all_refreshes_run_on_the_runtime_that_was_named() {
    let named = running();
    let endpoint = Endpoint::exclusive();
    let cache = TokenCache::builder(endpoint).runtime(named.handle().clone()).build().unwrap();
    // Their own runtime stands still, or there is none.
    let still = paused();
    lead(&still, &cache);
    assert_eq!(without_a_runtime(cache.token()).unwrap().sequence(), 1);
    assert_eq!(without_a_runtime(cache.refresh()).unwrap().sequence(), 2);
    let resource = Resource::accepting("token-3");
    let request = AuthLayer::new(cache.clone()).layer(resource).oneshot(get(URI));
    assert_eq!(without_a_runtime(request).unwrap().status(), 200);
}

#[test]
fn if_the_named_runtime_is_gone_or_stands_still_callers_use_their_own() {
    let (named, own) = (paused(), paused());
    let endpoint = Endpoint::exclusive();
    endpoint.then(Step::Hang);
    let cache =
        TokenCache::builder(endpoint.clone()).runtime(named.handle().clone()).build().unwrap();
    // It stands still.
    assert_eq!(own.block_on(cache.token()).unwrap().sequence(), 2);
    // It goes away under a refresh.
    endpoint.then(Step::Hang);
    let mut waiter = task::spawn(cache.refresh());
    own.block_on(async { assert_pending!(waiter.poll()) });
    drive(&named);
    drop(named);
    assert_eq!(own.block_on(waiter).unwrap().sequence(), 4);
    // It is gone. No refresh is started there in vain.
    assert_eq!(own.block_on(cache.refresh()).unwrap().sequence(), 5);
    assert_eq!(cache.counters().refreshes, 5);
    // There is no other.
    let error = without_a_runtime(cache.refresh()).unwrap_err();
    assert!(error.is_interrupted(), "{error:?}");
}
