use std::{sync::mpsc, thread, time::Duration};

use super::*;
use crate::{clock, endpoint::IssuedToken, refresh::RefreshPolicy};

struct Fixed;

impl crate::TokenEndpoint for Fixed {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Ok(IssuedToken::new("opaque").expires_in(Duration::from_secs(300)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

fn core() -> Arc<Core> {
    let endpoint = Box::new(Fixed);
    Arc::new(Core::new(endpoint, None, Rotation::Exclusive, "Bearer".into(), RefreshPolicy::default(), false))
}

async fn token(core: &Arc<Core>) -> AccessToken {
    match core.get(&Want::Usable) {
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
    while core.slot.lease().is_some_and(|lease| lease.token.time_left() > Duration::from_secs(200)) {
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
        let token = reader.lease().is_some() && matches!(reader.get(&Want::Usable), Acquired::Token(_));
        let _ = read.send(token);
    });
    assert_eq!(done.recv_timeout(Duration::from_secs(20)), Ok(true), "the reader waits for the lock");
    drop(held);
}
