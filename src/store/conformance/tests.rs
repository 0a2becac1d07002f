//! Stores that keep the rules, and stores that break one, to show that each check can fail.

use std::error::Error;

use super::{
    ConformanceError, Rule, conformance, conformance_between,
    faulty::{Fault, Faulty},
};
use crate::store::MemoryStore;

/// Each rule, with the faults that break it.
const FAULTS: [(Rule, &[Fault]); 16] = [
    (Rule::Responds, &[Fault::NeverResponds, Fault::Fails]),
    (Rule::StartsEmpty, &[Fault::HasAValueAlready]),
    (Rule::Replaces, &[Fault::CreatesNothing, Fault::SaysDoneOnly]),
    (Rule::Conflicts, &[Fault::IgnoresOld, Fault::HidesTheConflict, Fault::ConflictWrites]),
    (Rule::Revision, &[Fault::NumbersByItself, Fault::HasSmallNumbers]),
    (Rule::Bytes, &[Fault::IsTextOnly, Fault::Cuts, Fault::Trims]),
    (Rule::NamesApart, &[Fault::ShortensNames]),
    (Rule::OneWinner, &[Fault::ComparesFirst]),
    (Rule::Keeps, &[Fault::ForgetsEarly]),
    (
        Rule::AgeNotLess,
        &[
            Fault::IsAlwaysYoung,
            Fault::RoundsDown,
            Fault::ConflictRestartsAge,
            Fault::ObservesInSecret,
            Fault::ObservesNothing,
        ],
    ),
    (Rule::AgeNotMore, &[Fault::IsTooOld, Fault::CountsFromCreation, Fault::SameBytesKeepTheAge]),
    (Rule::GapFirst, &[Fault::StartsWithoutGap, Fault::NeverWatches]),
    (Rule::Notices, &[Fault::IsDeaf, Fault::Ends, Fault::ServesOneWatcher, Fault::LosesTheNewest]),
    (Rule::NoticesTrue, &[Fault::GoesBack, Fault::MixesNames]),
    (Rule::Quiet, &[Fault::IsNoisy]),
    (Rule::CancelSafe, &[Fault::StaysLocked, Fault::Tears]),
];

#[tokio::test(start_paused = true)]
async fn a_store_in_memory_keeps_every_rule() {
    conformance(&MemoryStore::new()).await.unwrap();
    let store = MemoryStore::new();
    conformance_between(&store, &store.clone()).await.unwrap();
    // Another run in the same store.
    conformance(&store).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_without_a_clock_keeps_every_rule() {
    conformance(&Faulty::new(Fault::None)).await.unwrap();
    conformance(&Faulty::new(Fault::Observes)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_fault_is_found() {
    for (rule, faults) in FAULTS {
        for fault in faults {
            match conformance(&Faulty::new(*fault)).await {
                Ok(()) => panic!("{fault:?} is not found"),
                Err(error) => assert_eq!(error.rule(), rule, "{fault:?}: {error}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_stores_that_share_nothing_are_found() {
    let error = conformance_between(&MemoryStore::new(), &MemoryStore::new()).await.unwrap_err();
    assert_eq!(error.rule(), Rule::Replaces);
}

#[tokio::test(start_paused = true)]
async fn an_error_tells_the_rule_and_the_cause() {
    let error: ConformanceError = conformance(&Faulty::new(Fault::Fails)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store breaks a rule: every operation responds within ten seconds, without an error; \
         found: `get` failed"
    );
    let cause = error.source().unwrap();
    assert_eq!(cause.to_string(), "the token store denies access: HGET");
}
