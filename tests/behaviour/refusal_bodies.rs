//! Bodies of responses, as `RefusalLayer` reads them and gives them back.

use std::{
    cell::Cell,
    collections::VecDeque,
    convert::Infallible,
    future::{self, Future},
    panic,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit};
use tower_reauth::refusal::{Mark, Peeked, RefusalLayer};

const REFUSED: &str = r#"{"code": 99991663}"#;

/// The result of one poll of a body.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Data(Bytes),
    Trailers,
    Fail,
    /// Nothing yet, and something at the next poll.
    Later,
    /// Nothing, however often it is polled.
    Never,
}

use Step::{Fail, Later, Never, Trailers};

fn data(text: impl Into<Bytes>) -> Step {
    Step::Data(text.into())
}

/// A body that does as it is told, and counts its polls. It panics if it is polled after its end.
struct Script {
    steps: VecDeque<Step>,
    is_over: bool,
    hint: SizeHint,
    polls: Arc<AtomicUsize>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        let (steps, polls) = (steps.into_iter().collect(), Arc::default());
        Self { steps, is_over: false, hint: SizeHint::new(), polls }
    }

    /// Knows its length, as a body with a `Content-Length`.
    fn exact(steps: impl IntoIterator<Item = Step>) -> Self {
        let mut script = Self::new(steps);
        let length = |step: &Step| if let Step::Data(data) = step { data.len() as u64 } else { 0 };
        script.hint.set_exact(script.steps.iter().map(length).sum());
        script
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-sum".parse().unwrap(), "1".parse().unwrap())])
}

impl Body for Script {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        match self.steps.pop_front() {
            None => {
                assert!(!std::mem::replace(&mut self.is_over, true), "polled after its end");
                Poll::Ready(None)
            }
            Some(Step::Data(data)) => {
                if let Some(exact) = self.hint.exact() {
                    self.hint.set_exact(exact - data.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Fail) => Poll::Ready(Some(Err("reset"))),
            Some(Later) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Never) => {
                self.steps.push_front(Never);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

fn layer() -> RefusalLayer {
    RefusalLayer::json("/code", [99_991_663]).unwrap()
}

fn json<B>(body: B) -> Response<B> {
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

/// The response as it comes through the layer.
fn through<B>(
    layer: &RefusalLayer,
    response: Response<B>,
) -> impl Future<Output = Response<Peeked<B>>> + use<B>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let mut response = Some(response);
    let inner = tower::service_fn(move |_: Request<()>| {
        future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    });
    let mut service = layer.layer(inner);
    async move { service.call(Request::new(())).await.unwrap() }
}

fn is_marked<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Mark>().is_some()
}

/// The steps that a reader of the body sees, without the waits between them.
async fn steps<B>(body: B) -> Vec<Step>
where
    B: Body<Data = Bytes, Error = &'static str>,
{
    let mut body = Box::pin(body);
    let mut steps = Vec::new();
    loop {
        let is_end = body.is_end_stream();
        // A body that never goes on is read until it stops.
        let next = tokio::time::timeout(Duration::from_secs(3600), body.frame()).await;
        steps.push(match next {
            Err(_) => Never,
            Ok(None) => return steps,
            Ok(Some(Err(error))) => {
                assert_eq!(error, "reset");
                Fail
            }
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => Step::Data(data),
                Err(frame) => {
                    assert_eq!(frame.into_trailers().unwrap(), trailers());
                    Trailers
                }
            },
        });
        assert!(!is_end, "{steps:?}");
        if steps.last() == Some(&Never) {
            return steps;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_small_json_body_passes_untouched_and_at_once() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    let long = || {
        let mut script = Script::new([data(REFUSED), Never]);
        script.hint.set_lower(4097);
        script
    };
    for (headers, make) in [
        (&[][..], None),
        (&[("content-type", "text/html")], None),
        (&[("content-type", "text/json")], None),
        (&[("content-type", "application/jsonp")], None),
        (&[("content-type", "application/x-ndjson")], None),
        (&[("content-type", "text/plain; x=application/json")], None),
        (&[JSON, ("content-encoding", "gzip")], None),
        (&[JSON, ("content-length", "4097")], None),
        (&[JSON, ("content-length", "99999999999999999999999")], None),
        (&[JSON, ("content-length", "-1")], None),
        (&[JSON], Some(long as fn() -> Script)),
        // A HEAD and a 204 have no body.
        (&[JSON, ("content-length", "18")], Some(|| Script::new([]))),
    ] {
        let script = make.map_or_else(|| Script::new([data(REFUSED), Never]), |make| make());
        let (polls, expected) = (Arc::clone(&script.polls), Vec::from(script.steps.clone()));
        let mut response = Response::builder().status(400);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = through(&layer(), response.body(script).unwrap()).now_or_never();
        let response = response.expect("at once");
        assert_eq!(polls.load(Ordering::SeqCst), 0, "{headers:?}");
        assert!(!is_marked(&response), "{headers:?}");
        assert_eq!(steps(response.into_body()).await, expected, "{headers:?}");
    }
    // Among these, JSON is told by its type alone.
    for content_type in
        ["application/json", "Application/JSON ; charset=utf-8", "application/problem+json"]
    {
        let response = Response::builder().status(400).header("content-type", content_type);
        let response = response.header("content-length", "18").body(Script::new([data(REFUSED)]));
        assert!(is_marked(&through(&layer(), response.unwrap()).await), "{content_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_longer_than_four_kibibytes_is_given_back_at_once() {
    // The code is in front, and the value ends with the last byte.
    let of_length = |length: usize| {
        let (front, brace) = REFUSED.split_at(REFUSED.len() - 1);
        let text = format!("{front}{}{brace}", " ".repeat(length - REFUSED.len()));
        assert_eq!(text.len(), length);
        text
    };
    for (script, marked, polls) in [
        (vec![data(of_length(4096)), Never], true, 1),
        (vec![data(of_length(4097)), Never], false, 1),
        (vec![data(of_length(100_000)), Never], false, 1),
        (vec![data("{"), data(" ".repeat(4095)), data(&REFUSED[1..]), Never], false, 3),
        (vec![data("{"), data(" ".repeat(4078)), data(&REFUSED[1..]), Never], true, 3),
    ] {
        let body = Script::new(script.clone());
        let read = Arc::clone(&body.polls);
        // The header says less than there is.
        let mut response = json(body);
        response.headers_mut().insert("content-length", "18".parse().unwrap());
        let response = through(&layer(), response).now_or_never().expect("at once");
        assert_eq!((is_marked(&response), read.load(Ordering::SeqCst)), (marked, polls));
        assert_eq!(steps(response.into_body()).await, script);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_in_crumbs_is_read_up_to_64_frames() {
    let crumbs = |count: usize| {
        let spaces = (0..count - 2).map(|_| data(" "));
        let script = [data("{")].into_iter().chain(spaces).chain([data(&REFUSED[1..])]);
        script.collect::<Vec<_>>()
    };
    for (count, marked) in [(2, true), (64, true), (65, false), (1000, false)] {
        let script = Script::new(crumbs(count));
        let polls = Arc::clone(&script.polls);
        let response = through(&layer(), json(script)).now_or_never().expect("at once");
        assert_eq!(is_marked(&response), marked, "{count}");
        assert_eq!(polls.load(Ordering::SeqCst), count.min(64));
        assert_eq!(steps(response.into_body()).await, crumbs(count));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_was_read_is_the_body_that_was_sent() {
    let (start, end) = REFUSED.split_at(7);
    for (script, marked) in [
        (vec![data(REFUSED)], true),
        (vec![data(REFUSED), Trailers], true),
        (vec![data(start), Later, data(end), Later, Trailers], true),
        (vec![data(start), data(""), data(end), data("\n")], true),
        (vec![data(r#"{"code": 0}"#), Trailers], false),
        (vec![data(start)], false),
        (vec![data(start), Trailers], false),
        (vec![Trailers], false),
        (vec![data("not JSON"), Later, data(REFUSED)], false),
    ] {
        let makes: [fn(Vec<Step>) -> Script; 2] = [Script::new, Script::exact];
        for make in makes {
            let response = through(&layer(), json(make(script.clone()))).await;
            assert_eq!(is_marked(&response), marked, "{script:?}");
            // The body says of itself before each frame what it said without the layer.
            let mut peeked = Box::pin(response.into_body());
            let mut untouched = Box::pin(make(script.clone()));
            loop {
                let (hint, expected) = (peeked.size_hint(), untouched.size_hint());
                if expected.exact().is_some() {
                    assert_eq!(hint.exact(), expected.exact(), "{script:?}");
                } else {
                    assert!(hint.lower() >= expected.lower(), "{script:?}");
                }
                assert!(!peeked.is_end_stream() || untouched.is_end_stream(), "{script:?}");
                let (frame, expected) = (peeked.frame().await, untouched.frame().await);
                let Some(expected) = expected else {
                    assert!(frame.is_none() && peeked.is_end_stream(), "{script:?}");
                    break;
                };
                let (frame, expected) = (frame.unwrap().unwrap(), expected.unwrap());
                assert_eq!(frame.data_ref(), expected.data_ref(), "{script:?}");
                assert_eq!(frame.trailers_ref(), expected.trailers_ref(), "{script:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_keeps_what_was_read_and_its_error() {
    let (start, end) = REFUSED.split_at(7);
    for (script, marked) in [
        (vec![Fail], false),
        (vec![data(start), Fail], false),
        (vec![data(start), Later, data(&end[..3]), Fail], false),
        (vec![data(REFUSED), Fail], true),
    ] {
        let mut response = json(Script::new(script.clone()));
        *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        let response = through(&layer(), response).await;
        assert_eq!((response.status().as_u16(), is_marked(&response)), (502, marked));
        let seen: Vec<_> = script.into_iter().filter(|step| *step != Later).collect();
        assert_eq!(steps(response.into_body()).await, seen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_a_second() {
    let script = || vec![data("{"), Later, data("\"co"), Never];
    let seen = [data("{"), data("\"co"), Never];
    for (layer, expected) in [
        (layer(), Duration::from_secs(1)),
        (layer().timeout(Duration::from_secs(7)), Duration::from_secs(7)),
        (layer().timeout(Duration::MAX), Duration::MAX),
    ] {
        let start = Instant::now();
        let response = through(&layer, json(Script::new(script())));
        let Ok(response) = tokio::time::timeout(Duration::from_secs(3600), response).await else {
            assert_eq!(expected, Duration::MAX);
            continue;
        };
        assert_eq!(start.elapsed(), expected);
        assert!(!is_marked(&response));
        assert_eq!(steps(response.into_body()).await, seen);
    }
    // The body is read as far as it is there.
    let response = through(&layer().timeout(Duration::ZERO), json(Script::new(script())));
    let response = response.now_or_never().expect("at once");
    assert_eq!(steps(response.into_body()).await, seen);
    // A value that is complete is not waited for.
    let endless = Script::new([data(format!("{REFUSED}\n")), Never]);
    assert!(is_marked(&through(&layer(), json(endless)).now_or_never().expect("at once")));
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

#[test]
fn without_a_runtime_or_timers_a_body_is_not_waited_for() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.set(PANICS.get() + 1);
        before(panic);
    }));
    let hangs = || through(&layer(), json(Script::new([data("{"), Never])));
    assert!(!is_marked(&hangs().now_or_never().expect("at once")));
    assert_eq!(PANICS.get(), 0, "and no timer of Tokio's complains");
    let refused = || through(&layer(), json(Script::new([data(REFUSED), Never])));
    assert!(is_marked(&refused().now_or_never().expect("at once")));
    let without_timers = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(!is_marked(&without_timers.block_on(hangs())));
    // A timer of no time would end a millisecond later, by a clock that is not paused.
    let with_timers = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _in_it = with_timers.enter();
    let hangs = through(&layer().timeout(Duration::ZERO), json(Script::new([data("{"), Never])));
    assert!(hangs.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_waited_for_holds_no_permit_of_a_limit_below() {
    let inner = tower::service_fn(|_: Request<()>| {
        future::ready(Ok::<_, Infallible>(json(Script::new([data("{"), Never]))))
    });
    let service = layer().layer(ConcurrencyLimit::new(inner, 1));
    let start = Instant::now();
    let responses = (0..5).map(|_| service.clone().oneshot(Request::new(())));
    futures_util::future::join_all(responses).await;
    assert_eq!(start.elapsed(), Duration::from_secs(1), "all of them at once");
}
