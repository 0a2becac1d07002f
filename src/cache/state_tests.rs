use std::{
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};

use super::*;
use crate::{clock, endpoint::IssuedToken, refresh::RefreshPolicy};

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

fn core() -> Arc<Core> {
    let endpoint = Box::new(Fixed);
    Arc::new(Core::new(
        endpoint,
        None,
        Rotation::Exclusive,
        "Bearer".into(),
        RefreshPolicy::default(),
        false,
    ))
}

async fn token(core: &Arc<Core>) -> AccessToken {
    match core.get(&Requirement::Usable) {
        Acquired::Token(token) => token,
        Acquired::Waiting(landed) => landed.outcome.await.unwrap().result.unwrap(),
        Acquired::Failed(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_machine_that_slept_past_the_expiry_renews_first() {
    let core = core();
    assert_eq!(token(&core).await.sequence(), 1);
    assert!(core.lease().is_some());
    // Its monotonic clock has stood still meanwhile.
    clock::tests::sleep(Duration::from_secs(3600));
    // Looked at after a little time awake.
    while core.slot.lease().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(core.lease().is_none() && core.current().is_none(), "not sent");
    assert_eq!(token(&core).await.sequence(), 2);
    assert!(core.lease().is_some());
    clock::tests::sleep(Duration::from_secs(100));
    while core.slot.lease().is_some_and(|lease| lease.token.time_left() > Duration::from_secs(200))
    {
        tokio::task::yield_now().await;
    }
    assert_eq!(token(&core).await.sequence(), 2, "a shorter sleep costs nothing");
}

#[tokio::test]
async fn reading_a_valid_token_takes_no_lock() {
    let core = core();
    token(&core).await;
    let held = core.lock();
    let (read, done) = mpsc::channel();
    let reader = Arc::clone(&core);
    thread::spawn(move || {
        let token = reader.lease().is_some()
            && matches!(reader.get(&Requirement::Usable), Acquired::Token(_));
        let _ = read.send(token);
    });
    assert_eq!(
        done.recv_timeout(Duration::from_secs(20)),
        Ok(true),
        "the reader waits for the lock"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_local_clock_that_is_wrong_and_jumps_costs_no_request_and_no_expired_send() {
    let core = core();
    let hour = Duration::from_secs(3600);
    let right = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut issued = clock::now();
    let mut sequence = 0;
    for second in 0..3000_u32 {
        // An hour fast, an hour slow, and back, again and again.
        let walls = [right + hour, right - hour, right, SystemTime::UNIX_EPOCH];
        clock::tests::WALL.set(Some(walls[second as usize / 7 % 4]));
        let token = token(&core).await;
        if token.sequence() != sequence {
            (sequence, issued) = (token.sequence(), token.times().sent);
        }
        assert!(clock::now() - issued < Duration::from_secs(300));
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    clock::tests::WALL.set(None);
    // One per 80 % of 294 s, less or more the jitter.
    let requests = core.tally.snapshot().token_requests;
    assert!((12..=14).contains(&requests), "{requests} requests in 3000 s");
}

#[tokio::test]
#[cfg(not(tower_reauth_loom))]
async fn a_lease_that_another_thread_holds_counts_as_well() {
    let core = core();
    token(&core).await;
    let mine = Arc::clone(core.lock().newest.as_ref().unwrap().leases.local());
    let lease = (0..100)
        .map(|_| thread::scope(|scope| scope.spawn(|| core.lease().unwrap()).join().unwrap()))
        .find(|lease| !Arc::ptr_eq(lease, &mine))
        .unwrap();
    drop(mine);
    core.slot.withdraw();
    let mut state = core.lock();
    let newest = state.newest.as_mut().unwrap();
    assert!(!newest.is_unused());
    let gone = newest.hand_over();
    assert!(gone.iter().any(|gone| gone.clone().now_or_never().is_none()) && !newest.is_unused());
    drop(lease);
    assert!(gone.iter().all(|gone| gone.clone().now_or_never().is_some()) && newest.is_unused());
}
