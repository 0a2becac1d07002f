use std::{sync::mpsc, thread, time::Duration};

use super::*;
use crate::{endpoint::IssuedToken, refresh::RefreshPolicy};

struct Fixed;

impl crate::TokenEndpoint for Fixed {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        Ok(IssuedToken::new("opaque").expires_in(Duration::from_secs(300)))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }
}

#[tokio::test]
async fn reading_a_valid_token_takes_no_lock() {
    let core = Arc::new(Core::new(
        Box::new(Fixed),
        None,
        Rotation::Exclusive,
        "Bearer".into(),
        RefreshPolicy::default(),
        false,
    ));
    let Acquired::Waiting(landed) = core.get(&Want::Usable) else { panic!("there is no token yet") };
    landed.outcome.await.unwrap().result.unwrap();
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
