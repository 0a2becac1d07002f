use std::{collections::VecDeque, task::Waker};

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::replay::ReplayableBody;

/// A body that takes these steps. `Wait` is pending once.
struct Steps {
    steps: VecDeque<Step>,
    /// The length that it announces.
    says: Option<u64>,
}

impl From<Vec<Step>> for Steps {
    fn from(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), says: None }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Trailers,
    Wait,
    Fail,
}

impl Body for Steps {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.steps.pop_front() {
            None => None,
            Some(Step::Wait) => return Poll::Pending,
            Some(Step::Fail) => {
                self.steps.clear();
                Some(Err("the body fails".into()))
            }
            Some(Step::Data(data)) => Some(Ok(Frame::data(data.into()))),
            Some(Step::Trailers) => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("17"));
                Some(Ok(Frame::trailers(trailers)))
            }
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.says.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Polls for one frame. Returns `None` for pending.
#[expect(clippy::option_option, reason = "pending, the end, and a frame are three things")]
fn poll(body: &mut ReplayBody<Steps>) -> Option<Option<Result<Frame<Bytes>, BoxError>>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(frame) => Some(frame),
    }
}

/// Reads to the end. Returns all bytes, the trailers, and whether it ended well.
fn read(body: &mut ReplayBody<Steps>) -> (Vec<u8>, Option<HeaderMap>, bool) {
    let (mut bytes, mut trailers) = (Vec::new(), None);
    loop {
        match poll(body) {
            None => {}
            Some(None) => return (bytes, trailers, true),
            Some(Some(Err(_))) => return (bytes, trailers, false),
            Some(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let data = prop::collection::vec(any::<u8>(), 0..12).prop_map(Step::Data);
    let step = prop_oneof![6 => data, 1 => Just(Step::Wait), 1 => Just(Step::Fail)];
    (prop::collection::vec(step, 0..12), any::<bool>()).prop_map(|(mut steps, trailers)| {
        if trailers {
            steps.push(Step::Trailers);
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    })]

    /// Replays bodies that are cut into frames in any way, after a first attempt that has come any
    /// distance, and is still there or not.
    #[test]
    fn a_replay_is_identical_or_declined(
        steps in steps(),
        cap in 0_usize..60,
        polls in 0_usize..16,
        alive in any::<bool>(),
        again in any::<bool>(),
    ) {
        let expected = read(&mut ReplayBody::new(Steps::from(steps.clone()), usize::MAX));
        let mut first = ReplayBody::new(Steps::from(steps), cap);
        let kept = ReplayableBody::keep(&first);
        let (mut read_by_first, mut failed) = (0, false);
        for _ in 0..polls {
            match poll(&mut first) {
                Some(Some(Ok(frame))) => {
                    read_by_first += frame.data_ref().map_or(0, Bytes::len);
                }
                Some(Some(Err(_))) => failed = true,
                Some(None) | None => {}
            }
        }
        if !alive {
            drop(first);
            first = ReplayBody::new(Steps::from(Vec::new()), 0);
        }
        let Some(mut second) = <ReplayBody<Steps> as ReplayableBody>::restore(kept) else {
            prop_assert!(failed || read_by_first > cap, "declined without a reason");
            // The first attempt goes on untouched.
            return Ok(());
        };
        prop_assert!(!failed && read_by_first <= cap);
        if again {
            // A replay that is not read to its end leaves nothing behind for anybody.
            poll(&mut second);
        } else {
            prop_assert_eq!(read(&mut second), expected);
        }
        if alive {
            let polled = poll(&mut first);
            prop_assert!(matches!(polled, Some(Some(Err(_)))), "the first attempt is over");
        }
    }

    /// Cuts a body into frames of lengths around those at which frames are merged. Each attempt
    /// reads a part of it, and the last one all.
    #[test]
    fn merged_frames_are_the_bytes_of_the_body_in_their_order(
        lengths in prop::collection::vec(
            prop::sample::select(&[0, 1, 500, 1023, 1024, 1025, 3000][..]), 0..24),
        attempts in prop::collection::vec(0_usize..20, 1..5),
    ) {
        let data = |(number, length)| vec![u8::try_from(number).unwrap(); length];
        let frames: Vec<_> = lengths.into_iter().enumerate().map(data).collect();
        let expected = frames.concat();
        let mut steps: Vec<_> = frames.into_iter().map(Step::Data).collect();
        steps.push(Step::Trailers);
        let mut body = ReplayBody::new(Steps::from(steps), usize::MAX);
        for polls in attempts {
            let kept = ReplayableBody::keep(&body);
            let mut read = Vec::new();
            for _ in 0..polls {
                if let Some(Some(Ok(frame))) = poll(&mut body) {
                    read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
            }
            prop_assert!(expected.starts_with(&read));
            let left = body.size_hint().lower();
            prop_assert!(left <= (expected.len() - read.len()) as u64);
            body = <ReplayBody<Steps> as ReplayableBody>::restore(kept).unwrap();
        }
        let (bytes, trailers, ended) = read(&mut body);
        prop_assert!(bytes == expected && trailers.is_some() && ended);
    }

    /// Clones bodies that announce their length, truthfully or not.
    #[test]
    fn a_clone_is_identical_or_an_error_and_never_looks_empty(
        steps in steps(),
        says in 0_u64..80,
        cap in 0_usize..60,
        polls in 0_usize..16,
    ) {
        let expected = read(&mut ReplayBody::new(Steps::from(steps.clone()), usize::MAX));
        let mut first = ReplayBody::new(Steps { says: Some(says), ..steps.into() }, cap);
        let Some(mut clone) = first.try_clone() else { return Ok(()) };
        for _ in 0..polls {
            poll(&mut first);
        }
        // A client asks this before it reads.
        if clone.is_end_stream() || clone.size_hint().exact() == Some(0) {
            prop_assert!(expected.0.is_empty() && expected.2 || says == 0);
        }
        let again = read(&mut clone);
        prop_assert!(again == expected || !again.2, "{again:?} of {expected:?}");
    }

    #[test]
    fn a_body_over_the_cap_is_sent_untouched(steps in steps(), cap in 0_usize..20) {
        let expected = read(&mut ReplayBody::new(Steps::from(steps.clone()), usize::MAX));
        prop_assert_eq!(read(&mut ReplayBody::new(Steps::from(steps), cap)), expected);
    }
}

#[test]
fn a_body_that_says_it_is_too_long_is_not_kept_at_all() {
    let body = ReplayBody::new(http_body_util::Full::new(Bytes::from_static(b"hello")), 4);
    assert!(ReplayableBody::keep(&body).restore().is_none());
    let body = ReplayBody::new(http_body_util::Full::new(Bytes::from_static(b"hello")), 5);
    assert!(ReplayableBody::keep(&body).restore().is_some());
}

fn full(data: &'static [u8], cap: usize) -> ReplayBody<http_body_util::Full<Bytes>> {
    ReplayBody::new(http_body_util::Full::new(Bytes::from_static(data)), cap)
}

fn next<B>(body: &mut ReplayBody<B>) -> Option<Result<Frame<Bytes>, BoxError>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("a frame is there"),
    }
}

#[test]
fn a_body_is_cloned_for_a_retry_only_if_all_of_it_will_be_kept() {
    assert!(full(b"hello", 4).try_clone().is_none(), "longer than the cap");
    assert!(
        ReplayBody::new(Steps::from(Vec::new()), 100).try_clone().is_none(),
        "says nothing of its length"
    );
    let mut first = full(b"hello", 5);
    let mut clone = first.try_clone().unwrap();
    let mut third = clone.try_clone().unwrap();
    for body in [&mut first, &mut clone, &mut third] {
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(5), false));
        assert_eq!(next(body).unwrap().unwrap().into_data().unwrap(), "hello");
        assert!(body.is_end_stream());
    }
    assert!(next(&mut first).unwrap().is_err(), "the attempt before is over");
    assert!(third.try_clone().is_some(), "what was read is kept");
}

#[test]
fn a_clone_of_a_body_that_failed_does_not_pass_for_an_empty_one() {
    let steps = vec![Step::Data(b"he".to_vec()), Step::Fail];
    let mut first = ReplayBody::new(Steps { says: Some(5), ..steps.into() }, 100);
    let mut clone = first.try_clone().unwrap();
    assert!(!read(&mut first).2);
    assert!(!clone.is_end_stream());
    assert_eq!(clone.size_hint().exact(), None);
    assert!(next(&mut clone).unwrap().is_err());
}

#[test]
fn a_clone_that_is_sent_does_not_take_over_from_its_own_replay() {
    let first = full(b"hello", 5);
    let mut clone = first.try_clone().unwrap();
    let kept = ReplayableBody::keep(&clone);
    assert!(kept.pause());
    let mut replay = kept.restore().unwrap();
    // Refused before it was read, and read only now.
    assert!(next(&mut clone).unwrap().is_err());
    assert_eq!(next(&mut replay).unwrap().unwrap().into_data().unwrap(), "hello");
}

#[test]
fn what_was_kept_of_an_attempt_that_is_over_changes_nothing() {
    let first = full(b"hello", 5);
    let old = ReplayableBody::keep(&first);
    let mut clone = first.try_clone().unwrap();
    let kept = ReplayableBody::keep(&clone);
    assert!(!old.pause() && old.restore().is_none());
    assert!(kept.pause());
    drop(old);
    assert!(Pin::new(&mut clone).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(kept);
    assert_eq!(next(&mut clone).unwrap().unwrap().into_data().unwrap(), "hello");
}

#[test]
fn a_paused_attempt_that_has_read_everything_learns_that() {
    let mut first = full(b"hello", 5);
    let kept = ReplayableBody::keep(&first);
    assert!(next(&mut first).unwrap().is_ok());
    assert!(kept.pause());
    assert!(next(&mut first).is_none());
}

#[test]
fn a_paused_attempt_goes_on_if_there_is_no_replay_and_is_over_if_there_is() {
    for replayed in [false, true] {
        let steps = vec![Step::Data(b"he".to_vec()), Step::Data(b"llo".to_vec())];
        let mut first = ReplayBody::new(Steps::from(steps), 100);
        let kept = ReplayableBody::keep(&first);
        assert!(next(&mut first).unwrap().is_ok());
        assert!(kept.pause());
        let (waker, count) = counting_waker();
        assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());
        let second = replayed.then(|| kept.restore().unwrap());
        drop(kept);
        assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
        match second {
            None => assert_eq!(read(&mut first), (b"llo".to_vec(), None, true)),
            Some(mut second) => {
                assert_eq!(read(&mut second), (b"hello".to_vec(), None, true));
                assert!(next(&mut first).unwrap().is_err());
            }
        }
    }
    let too_long = ReplayableBody::keep(&full(b"hello", 4));
    assert!(!too_long.pause());
}

#[test]
fn a_clone_of_a_body_that_is_longer_than_it_said_is_an_error_and_the_first_attempt_goes_on() {
    struct Liar(http_body_util::Full<Bytes>);
    impl Body for Liar {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Pin::new(&mut self.0).poll_frame(cx).map_err(Into::into)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(2)
        }
    }
    let mut first =
        ReplayBody::new(Liar(http_body_util::Full::new(Bytes::from_static(b"hello"))), 4);
    let mut clone = first.try_clone().unwrap();
    assert_eq!(next(&mut first).unwrap().unwrap().into_data().unwrap(), "hello");
    assert!(next(&mut clone).unwrap().is_err());
    assert!(next(&mut first).is_none());
}

#[test]
fn bytes_are_kept_by_reference_count() {
    let bytes = Bytes::from(vec![7; 60_000]);
    let mut first = ReplayBody::new(http_body_util::Full::new(bytes.clone()), 64 * 1024);
    let kept = ReplayableBody::keep(&first);
    let next = |body: &mut _| next(body).unwrap().unwrap().into_data().unwrap();
    assert_eq!(next(&mut first).as_ptr(), bytes.as_ptr());
    let mut second = kept.restore().unwrap();
    assert_eq!(second.size_hint().exact(), Some(60_000));
    assert_eq!(next(&mut second).as_ptr(), bytes.as_ptr(), "the same memory, not a copy");
    assert!(second.is_end_stream());
}

#[test]
fn a_first_attempt_that_waits_for_more_is_woken_to_learn_that_it_is_over() {
    let (waker, count) = counting_waker();
    let mut first = ReplayBody::new(Steps::from(vec![Step::Wait, Step::Wait]), 100);
    let kept = ReplayableBody::keep(&first);
    assert!(Pin::new(&mut first).poll_frame(&mut Context::from_waker(&waker)).is_pending());
    let second = kept.restore().unwrap();
    assert_eq!(count.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(matches!(poll(&mut first), Some(Some(Err(_)))));
    drop(second);
}

fn counting_waker() -> (Waker, Arc<std::sync::atomic::AtomicUsize>) {
    struct Count(Arc<std::sync::atomic::AtomicUsize>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let count = Arc::default();
    (Waker::from(Arc::new(Count(Arc::clone(&count)))), count)
}
