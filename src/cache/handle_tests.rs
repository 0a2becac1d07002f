use std::{
    future::poll_fn,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use futures_util::FutureExt;

use super::*;
use crate::{
    cache::{TokenFuture, state::Rules},
    endpoint::{IssuedToken, Rotation},
    error::AuthError,
    refresh::RefreshPolicy,
    token::{Times, schedule::schedule},
};

/// Issues tokens of 300 s by its own clock.
struct Fixed;

impl crate::TokenEndpoint for Fixed {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        Ok(IssuedToken::new("opaque").server_date(date).expires_at(date + Duration::from_secs(300)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

/// Issues nothing.
struct Failing;

impl crate::TokenEndpoint for Failing {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Err(AuthError::rejected("a wrong secret"))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

/// A cache. It is used as its clones use it.
fn handle() -> Handle {
    handle_of(Fixed)
}

fn handle_of(endpoint: impl crate::TokenEndpoint) -> Handle {
    let rules =
        Rules { rotation: Rotation::Exclusive, policy: RefreshPolicy::default(), shared: false };
    let nowhere = (None, Vec::new());
    Handle::new(
        Core::new(Box::new(endpoint), nowhere, rules, "Bearer".into(), None),
        Tasks::default(),
    )
}

async fn token(handle: &Handle) -> AccessToken {
    match handle.acquire(&Requirement::Usable, CanScout::No, On::default()) {
        Acquired::Token(token) => token,
        Acquired::Waiting(mut flight) => {
            poll_fn(|cx| {
                flight.outcome.poll(cx).map(|outcome| outcome.unwrap().result.clone().unwrap())
            })
            .await
        }
        Acquired::Scout(lease) => lease.token.clone(),
        Acquired::Failed(error) => panic!("{error:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_whose_flight_failed_gets_the_token_that_has_come_by_then() {
    let token = |sequence| {
        let lifetime = Duration::from_secs(300);
        let schedule = schedule(lifetime, &RefreshPolicy::default().windows, 0.5);
        let times = Times { sent: clock::moment(), lifetime, schedule };
        AccessToken::new("Bearer", &format!("token-{sequence}"), sequence, times).unwrap()
    };
    for (requirement, expected) in [
        (Requirement::Usable, Some(7)),
        (Requirement::NewerThan(token(6)), Some(7)),
        (Requirement::NewerThan(token(7)), None),
        (Requirement::Fresh, None),
    ] {
        let handle = Arc::new(handle_of(Failing));
        let mut waiter = TokenFuture::new(Arc::clone(&handle), requirement.clone());
        assert!((&mut waiter).now_or_never().is_none());
        while handle.core().stored_error().is_none() {
            tokio::task::yield_now().await;
        }
        // The waiter has been woken, and another process' token comes before it runs.
        let arrival = Arrival { adopted: true, ..Arrival::default() };
        handle.core().adopt(&token(7), arrival);
        let served = waiter.now_or_never().unwrap();
        assert_eq!(served.ok().map(|token| token.sequence()), expected, "{requirement:?}");
    }
}

#[tokio::test]
async fn a_machine_that_slept_past_the_expiry_renews_first() {
    let handle = handle();
    let slot = &handle.core().slot;
    assert_eq!(token(&handle).await.sequence(), 1);
    assert!(handle.lease().is_some());
    // Its monotonic clock has stood still meanwhile.
    clock::tests::sleep(Duration::from_secs(3600));
    // The sleep is noticed after a little time awake.
    while slot.lease().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(handle.lease().is_none() && handle.core().current().is_none(), "not sent");
    assert_eq!(token(&handle).await.sequence(), 2);
    assert!(handle.lease().is_some());
    clock::tests::sleep(Duration::from_secs(100));
    while slot.lease().is_some_and(|lease| lease.token.time_left() > Duration::from_secs(200)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(token(&handle).await.sequence(), 2, "a shorter sleep costs nothing");
}

#[tokio::test]
async fn reading_a_valid_token_takes_no_lock() {
    let handle = Arc::new(handle());
    token(&handle).await;
    let held = handle.core().lock();
    let (read, done) = mpsc::channel();
    let reader = Arc::clone(&handle);
    thread::spawn(move || {
        let acquired = reader.acquire(&Requirement::Usable, CanScout::No, On::default());
        let is_served = matches!(acquired, Acquired::Token(_));
        let _ = read.send(reader.lease().is_some() && is_served);
    });
    let served = done.recv_timeout(Duration::from_secs(20));
    assert_eq!(served, Ok(true), "the reader waits for the lock");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_local_clock_that_is_wrong_and_jumps_costs_no_request_and_no_expired_send() {
    let handle = handle();
    let hour = Duration::from_secs(3600);
    let right = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut issued = clock::now();
    let mut sequence = 0;
    for second in 0..3000_u32 {
        // An hour fast, an hour slow, and back, again and again.
        let walls = [right + hour, right - hour, right, SystemTime::UNIX_EPOCH];
        clock::tests::WALL.set(Some(walls[second as usize / 7 % 4]));
        let token = token(&handle).await;
        if token.sequence() != sequence {
            (sequence, issued) = (token.sequence(), token.times().sent.at);
        }
        assert!(clock::now() - issued < Duration::from_secs(300));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    clock::tests::WALL.set(None);
    // One for each 80 % of 294 s, less or more the jitter.
    let requests = handle.core().tally.snapshot().token_requests;
    assert!((12..=14).contains(&requests), "{requests} requests in 3000 s");
}

#[tokio::test]
async fn a_lease_that_another_thread_holds_counts_as_well() {
    let handle = handle();
    token(&handle).await;
    let leases = || handle.core().lock().leases.take().unwrap();
    let mut leases = leases();
    let local = Arc::clone(leases.current().local());
    let lease = (0..100)
        .map(|_| thread::scope(|scope| scope.spawn(|| handle.lease().unwrap()).join().unwrap()))
        .find(|lease| !Arc::ptr_eq(lease, &local))
        .unwrap();
    drop(local);
    handle.core().slot.withdraw();
    assert!(!leases.is_idle());
    drop(leases.advance());
    let earlier = leases.earlier();
    let over = |drained: &super::super::lease::Drained| drained.clone().now_or_never().is_some();
    assert!(!earlier.iter().all(over) && !leases.is_idle());
    drop(lease);
    assert!(earlier.iter().all(over) && leases.is_idle());
}
