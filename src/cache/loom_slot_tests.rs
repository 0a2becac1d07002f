use super::{
    super::super::{
        lease::{Drained, Leases, OnResponse},
        slot::{CachedLease, Slot},
        verdict::{Refusal, Verdict},
    },
    *,
};
use crate::route::Route;

#[test]
fn a_slot_that_was_withdrawn_gives_no_lease_and_the_last_one_that_it_gave_signals_its_end() {
    model(|| {
        let server = Server::default();
        let slot = Arc::new(Slot::default());
        let (leases, gone) = Lease::copies(&fresh(1), 0, &nobody());
        slot.publish(&leases, clock::now() + Duration::from_secs(1));
        let readers = [(); 2].map(|()| {
            let (slot, server) = (Arc::clone(&slot), server.clone());
            thread::spawn(move || {
                if let Some(lease) = slot.lease() {
                    server.serve(lease);
                }
            })
        });
        slot.withdraw();
        assert!(slot.lease().is_none());
        drop(leases);
        assert!(block_on(gone).is_err());
        server.kill(1);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_service_gets_the_lease_that_it_had_no_more_once_the_slot_was_withdrawn() {
    model(|| {
        let server = Server::default();
        let (slot, leases, gone, recent) = used();
        let service = {
            let server = server.clone();
            thread::spawn(move || {
                if let Some(lease) = recent.lease() {
                    server.serve(lease);
                }
            })
        };
        // The reader that looks last drops the published leases.
        let reader = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || drop(slot.lease()))
        };
        slot.withdraw();
        if is_unused(&leases) {
            server.kill(1);
        }
        drop(leases);
        assert!(block_on(gone).is_err());
        server.kill(1);
        for thread in [service, reader] {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_reader_that_found_a_lease_open_does_not_open_it_again_once_the_slot_was_withdrawn() {
    model(|| {
        let (slot, leases, _gone, recent) = used();
        // A flight starts like this. From then on the service's copy is open, and not fresh.
        slot.publish(&leases, clock::now() + Duration::from_secs(2));
        let reader = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || drop(slot.lease()))
        };
        slot.withdraw();
        if is_unused(&leases) {
            assert!(recent.lease().is_none());
        }
        reader.join().unwrap();
    });
}

/// A slot, and a service that has had its lease a moment ago.
fn used() -> (Arc<Slot>, Leases, Drained, CachedLease) {
    let (slot, mut recent) = (Arc::new(Slot::default()), CachedLease::default());
    let (leases, gone) = Lease::copies(&fresh(1), 0, &nobody());
    slot.publish(&leases, clock::now() + Duration::from_secs(1));
    // The copies take turns. The last one that the service has is the one that a reader gets when
    // the slot is published again.
    for _ in 0..3 {
        recent.keep(&slot.lease().unwrap());
    }
    (slot, leases, gone, recent)
}

/// Returns whether the caller's references are the only ones.
fn is_unused(leases: &Leases) -> bool {
    leases.iter().all(|lease| sync::Arc::strong_count(lease) == 1)
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
