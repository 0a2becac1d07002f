use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, Service, service_fn};

use super::{
    super::{
        lease::OnResponse,
        verdict::{Refusal, Verdict},
    },
    *,
};
use crate::{
    AuthLayer, BoxError, Credentials, Error, SendPayments, TokenCache, clock,
    route::Route,
    token::{AccessToken, Times, Windows, schedule::schedule},
};

fn leases(sequence: u64) -> Leases {
    let lifetime = Duration::from_secs(300);
    let schedule = schedule(lifetime, &Windows::default(), 0.5);
    let times = Times { sent: clock::moment(), lifetime, schedule };
    Lease::copies(&AccessToken::new("Bearer", "x", sequence, times).unwrap(), 0, &nobody()).0
}

/// A cache that is gone.
fn nobody() -> std::sync::Weak<dyn OnResponse> {
    struct Nobody;
    impl OnResponse for Nobody {
        fn refused(&self, _: &Refusal<'_>) -> Verdict {
            Verdict::Return
        }
        fn accepted(&self, _: &AccessToken, _: Option<Route>) {}
    }
    std::sync::Weak::<Nobody>::new()
}

fn later(time: Duration) -> Instant {
    clock::now() + time
}

/// A slot with a token, and a service that had it several times.
fn used() -> (Slot, Leases, CachedLease) {
    let (slot, leases, mut cached) = (Slot::default(), leases(1), CachedLease::default());
    slot.publish(&leases, later(Duration::from_secs(100)));
    for _ in 0..2 {
        cached.keep(&slot.lease().unwrap());
    }
    (slot, leases, cached)
}

/// Takes the lease again, without the slot. It tries often, because a busy machine may take longer
/// than a lease stays fresh.
fn again(slot: &Slot, cached: &CachedLease) -> Option<Arc<Lease>> {
    (0..1000).find_map(|_| {
        drop(slot.lease()?);
        cached.lease()
    })
}

#[test]
fn a_lease_is_had_again_and_counts_as_long_as_it_is_out() {
    let (slot, leases, cached) = used();
    let unused = |leases: &Leases| leases.iter().all(|lease| Arc::strong_count(lease) == 2);
    assert!(unused(&leases), "the service's own does not count");
    let lease = again(&slot, &cached).unwrap();
    assert!(!unused(&leases));
    drop(lease);
    assert!(unused(&leases));
}

#[test]
fn of_a_service_that_is_made_for_one_call_nothing_is_kept() {
    let (slot, leases, _) = used();
    let mut cached = CachedLease::default();
    assert!(cached.lease().is_none());
    cached.keep(&slot.lease().unwrap());
    assert!(cached.lease().is_none());
    assert!(leases.iter().all(|lease| Arc::weak_count(lease) == 0));
}

#[test]
fn another_thread_has_a_copy_of_its_own() {
    let (slot, _, mut cached) = used();
    std::thread::scope(|scope| {
        let elsewhere = || {
            assert!(cached.lease().is_none());
            (0..2).for_each(|_| cached.keep(&slot.lease().unwrap()));
            assert!(again(&slot, &cached).is_some());
        };
        scope.spawn(elsewhere).join().unwrap();
    });
    assert!(cached.lease().is_none());
}

#[test]
fn a_lease_that_was_withdrawn_is_not_had_again_until_it_is_published_and_asked_for() {
    let (slot, leases, cached) = used();
    slot.withdraw();
    assert!(cached.lease().is_none() && slot.lease().is_none());
    slot.publish(&leases, later(Duration::from_secs(100)));
    assert!(cached.lease().is_none(), "somebody has to ask first");
    assert!(again(&slot, &cached).is_some());
}

#[test]
fn a_reader_that_saw_the_slot_before_does_not_open_a_lease_that_was_withdrawn() {
    let (slot, leases, cached) = used();
    slot.withdraw();
    leases.iter().for_each(|lease| lease.freshen(u64::MAX));
    assert!(cached.lease().is_none());
}

#[test]
fn a_newer_token_takes_the_place_of_a_lease() {
    let (slot, _, mut cached) = used();
    slot.publish(&self::leases(2), later(Duration::from_secs(100)));
    assert!(cached.lease().is_none());
    cached.keep(&slot.lease().unwrap());
    assert_eq!(again(&slot, &cached).unwrap().token.sequence(), 2);
}

#[test]
fn a_lease_is_never_had_again_after_its_time() {
    let (slot, leases, cached) = used();
    let until = later(Duration::from_millis(200));
    slot.publish(&leases, until);
    let mut had = 0;
    loop {
        let asked = clock::now();
        let again = cached.lease();
        if again.is_none() && slot.lease().is_none() {
            break;
        }
        assert!(asked < until, "{:?} after its time", asked - until);
        had += u32::from(again.is_some());
    }
    assert!(had > 0);
}

#[test]
fn a_lease_is_not_had_again_when_the_machine_has_slept() {
    let (slot, _, cached) = used();
    clock::tests::sleep(Duration::from_secs(3600));
    // Looked at after a little time awake.
    while cached.lease().is_some() {}
    assert!(slot.lease().is_none());
}

#[tokio::test(start_paused = true)]
async fn with_a_paused_clock_the_slot_is_asked_each_time() {
    let (slot, _, cached) = used();
    assert!(cached.lease().is_none() && slot.lease().is_some());
    tokio::time::advance(Duration::from_secs(100)).await;
    assert!(slot.lease().is_none());
}

#[tokio::test]
async fn a_service_that_is_used_again_does_not_ask_the_slot() {
    let endpoint = service_fn(async |_: Request<Full<Bytes>>| {
        let body = r#"{"accessToken": "x", "expiresAt": "2100-01-01T00:00:00Z"}"#;
        Ok::<_, BoxError>(Response::builder().status(201).body(Full::<Bytes>::from(body)).unwrap())
    });
    let endpoint =
        SendPayments::new("https://host", endpoint, Credentials::new("id", "secret")).unwrap();
    let cache = TokenCache::new(endpoint);
    let inner = service_fn(async |_: Request<String>| Ok::<_, BoxError>(Response::new(())));
    let layer = AuthLayer::new(cache.clone());
    let (mut with, mut without) = (layer.clone().layer(inner), layer.without_replay().layer(inner));
    assert!(is_served_without_the_slot(&mut with, &cache.handle().core().slot).await);
    assert!(is_served_without_the_slot(&mut without, &cache.handle().core().slot).await);
}

/// Tried often, since a busy machine may take longer than a lease stays fresh.
async fn is_served_without_the_slot<S>(service: &mut S, slot: &Slot) -> bool
where
    S: Service<Request<String>, Response = Response<()>, Error = Error>,
{
    let get = || Request::get("https://host/").body(String::new()).unwrap();
    for _ in 0..1000 {
        service.call(get()).await.unwrap();
        let published = slot.published.swap(None);
        service.call(get()).await.unwrap();
        // Whoever asks a slot that is empty fills it again.
        if slot.published.load().is_none() {
            slot.published.store(published);
            return true;
        }
    }
    false
}
