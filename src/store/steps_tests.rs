use super::*;
use crate::store::value::Head;

const LEASE: Duration = Duration::from_secs(3);
const NOW: Duration = Duration::ZERO;

fn wish(owner: Owner, floor: u64) -> Wish {
    Wish {
        owner,
        floor,
        forced: false,
        holds: true,
        passes: None,
        longest_back_off: Duration::MAX,
        cooldown: SharedCooldown::default(),
        lease: LEASE,
    }
}

/// Returns the value with token 5, which nobody replaces.
fn served() -> Value {
    let head = Head { fence: 5, sequence: 5, ..Head::default() };
    Value { head, token: "five".into() }
}

fn granted(entry: Entry) -> Value {
    match entry {
        Entry::Granted(value) => value,
        other => panic!("{other:?}"),
    }
}

/// Returns the value with token 5, for whose successor `owner` asks under fence 9.
fn held(owner: Owner) -> Value {
    granted(enter(&served(), NOW, &wish(owner, 5), 9))
}

fn published(publication: Publication) -> Value {
    match publication {
        Publication::Write(value) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_one_gets_the_lease_and_the_others_wait() {
    let value = held(1);
    assert_eq!(value.head.lease, Some(Lease { owner: 1, hold: true, takeover: false }));
    assert_eq!((value.head.fence, value.head.sequence), (9, 5));
    assert_eq!(enter(&value, NOW, &wish(2, 5), 10), Entry::Held);
    let almost = LEASE.checked_sub(Duration::from_millis(1)).expect("positive");
    assert_eq!(enter(&value, almost, &wish(2, 5), 10), Entry::Held);
}

#[test]
fn a_wish_for_the_successor_of_an_older_token_gets_the_newer_one() {
    assert_eq!(enter(&served(), NOW, &wish(2, 4), 10), Entry::Newer);
    // Back-off, or a lease that holds nobody, does not change that.
    let mut value = granted(enter(&served(), NOW, &Wish { holds: false, ..wish(1, 5) }, 9));
    assert_eq!(enter(&value, NOW, &wish(2, 4), 10), Entry::Newer);
    value.head.gate = Some(gate());
    assert_eq!(enter(&value, NOW, &wish(2, 4), 10), Entry::Newer);
}

#[test]
fn a_token_that_is_about_to_die_is_not_adopted() {
    assert_eq!(enter(&held(1), NOW, &wish(2, 4), 10), Entry::Held);
    assert_eq!(enter(&held(1), LEASE, &wish(2, 4), 10), Entry::Newer);
}

#[test]
fn a_lease_that_is_too_old_is_taken_over_under_a_greater_fence() {
    let value = granted(enter(&held(1), LEASE, &wish(2, 5), 12));
    assert_eq!(value.head.lease, Some(Lease { owner: 2, hold: true, takeover: true }));
    assert_eq!(value.head.fence, 12);
    // The former holder is late.
    assert_eq!(extend(&value, 1, 9), None);
    assert_eq!(leave(&value, 1, 9, Fate::Unknown, None), None);
    let late = publish(&value, 9, &"late".into(), SharedCooldown::default());
    assert_eq!(late, Publication::Fenced);
    // Its successor is not, and says that the token may be killed by a late request.
    let value = published(publish(&value, 12, &"new".into(), SharedCooldown::default()));
    assert!(value.head.takeover);
    assert!(
        !published(publish(&held(1), 9, &"new".into(), SharedCooldown::default())).head.takeover
    );
}

#[test]
fn a_lease_under_a_former_fence_is_lost_even_to_the_same_owner() {
    let given_back = leave(&held(1), 1, 9, Fate::NotIssued, None).expect("it is the holder");
    let value = granted(enter(&given_back, NOW, &wish(1, 5), 12));
    assert_eq!(extend(&value, 1, 9), None);
    assert_eq!(leave(&value, 1, 9, Fate::Unknown, None), None);
    assert_eq!(extend(&value, 1, 12), Some(value));
}

#[test]
fn the_own_lease_goes_on_under_its_fence() {
    let again = granted(enter(&held(1), LEASE, &wish(1, 5), 12));
    assert_eq!(again.head.fence, held(1).head.fence);
    assert_eq!(again.head.lease, Some(Lease { owner: 1, hold: true, takeover: true }));
}

#[test]
fn a_token_is_published_once() {
    let value = published(publish(&held(1), 9, &"nine".into(), SharedCooldown::default()));
    assert_eq!((value.head.sequence, value.head.lease, &*value.token), (9, None, &b"nine"[..]));
    let again = publish(&value, 9, &"nine".into(), SharedCooldown::default());
    assert_eq!(again, Publication::Published);
    let other = publish(&value, 9, &"another".into(), SharedCooldown::default());
    assert_eq!(other, Publication::Fenced);
}

#[test]
fn only_a_living_token_is_held_for() {
    let held = |value: &Value, wish: &Wish| {
        granted(enter(value, NOW, wish, 9)).head.lease.is_some_and(|lease| lease.hold)
    };
    assert!(held(&served(), &wish(1, 5)));
    assert!(!held(&served(), &Wish { holds: false, ..wish(1, 5) }));
    assert!(!held(&Value::default(), &wish(1, 0)));
    for state in [TokenState::Suspect, TokenState::Dead] {
        let value = Value { head: Head { state, ..served().head }, ..served() };
        assert!(!held(&value, &wish(1, 5)));
    }
}

#[test]
fn the_state_of_the_token_only_gets_worse_until_it_is_replaced() {
    use TokenState::{Alive, Dead, Suspect};
    for (before, fate, after) in [
        (Alive, Fate::NotIssued, Alive),
        (Alive, Fate::Unknown, Suspect),
        (Alive, Fate::Issued, Dead),
        (Suspect, Fate::NotIssued, Suspect),
        (Suspect, Fate::Unknown, Suspect),
        (Suspect, Fate::Issued, Dead),
        (Dead, Fate::NotIssued, Dead),
        (Dead, Fate::Unknown, Dead),
    ] {
        let mut value = held(1);
        value.head.state = before;
        let left = leave(&value, 1, 9, fate, None).expect("it is the holder");
        assert_eq!((left.head.state, left.head.lease), (after, None), "{before:?} {fate:?}");
        let next = granted(enter(&left, NOW, &wish(2, 5), 11));
        let next = published(publish(&next, 11, &"new".into(), SharedCooldown::default()));
        assert_eq!(next.head.state, Alive);
    }
}

#[test]
fn a_lease_that_was_not_given_back_leaves_the_token_suspect() {
    // Nothing is known of what was sent under it before. The same owner may have been in another
    // flight.
    for owner in [1, 2] {
        let value = granted(enter(&held(1), LEASE, &wish(owner, 5), 12));
        let fence = value.head.fence;
        let left = leave(&value, owner, fence, Fate::NotIssued, None).expect("it is the holder");
        assert_eq!(left.head.state, TokenState::Suspect, "{owner}");
        // One that was given back is no reason.
        let next = granted(enter(&left, NOW, &wish(3, 5), 14));
        assert!(next.head.lease.is_some_and(|lease| !lease.takeover));
        // But the late request of the one before may kill the next token, whoever brings that, and
        // not the one after it.
        let left = leave(&next, 3, 14, Fate::Unknown, None).expect("it is the holder");
        let next = granted(enter(&left, NOW, &wish(1, 5), 16));
        let value = published(publish(&next, 16, &"new".into(), SharedCooldown::default()));
        assert!(value.head.takeover);
        let next = granted(enter(&value, NOW, &wish(1, 16), 18));
        let value = published(publish(&next, 18, &"newer".into(), SharedCooldown::default()));
        assert!(!value.head.takeover);
    }
}

fn gate() -> SharedGate {
    SharedGate { kind: "transient".into(), status: Some(503), pause_ms: 400, credentials: None }
}

#[test]
fn a_failure_holds_all_of_them_back_for_its_pause() {
    let value = leave(&held(1), 1, 9, Fate::NotIssued, Some(gate())).expect("it is the holder");
    let age = Duration::from_millis(100);
    let left = Duration::from_millis(300);
    assert_eq!(enter(&value, age, &wish(2, 5), 10), Entry::BackingOff(gate(), left));
    let forced = Wish { forced: true, ..wish(2, 5) };
    let next = granted(enter(&value, age, &forced, 10));
    assert_eq!(next.head.gate, None, "a lease that is granted ends it");
    assert!(matches!(enter(&value, age + left, &wish(2, 5), 10), Entry::Granted(_)));
}

#[test]
fn refused_credentials_hold_back_only_those_who_have_them() {
    let gate = SharedGate { credentials: Some(7), ..gate() };
    let value = leave(&held(1), 1, 9, Fate::NotIssued, Some(gate)).expect("it is the holder");
    let passing = |passes| enter(&value, NOW, &Wish { passes, ..wish(2, 5) }, 10);
    assert!(matches!(passing(None), Entry::BackingOff(..)));
    assert!(matches!(passing(Some(8)), Entry::BackingOff(..)));
    assert!(matches!(passing(Some(7)), Entry::Granted(_)));
}

#[test]
fn the_greater_count_of_early_refusals_counts() {
    let shared = |early, never_accepted, jitter| SharedCooldown { early, never_accepted, jitter };
    let mut value = served();
    value.head.cooldown = shared(3, 0, 0.3);
    let cooldown = shared(1, 2, 0.1);
    let next = granted(enter(&value, NOW, &Wish { cooldown, ..wish(1, 5) }, 9));
    assert_eq!(next.head.cooldown, shared(3, 2, 0.3));
    let next = published(publish(&next, 9, &"new".into(), shared(0, 0, 0.0)));
    assert_eq!(next.head.cooldown, shared(0, 0, 0.0));
}
