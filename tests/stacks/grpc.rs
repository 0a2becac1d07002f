//! gRPC over real sockets: tonic's client through the layer, tonic's server behind it, tokens from
//! the sandbox.

mod client;
mod relay;

use std::{
    collections::HashMap,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use client::{Client, Kind, ask, codec, path};
use futures_util::future::join_all;
use relay::{BREAK_OFF, Piece, REFUSE, Relay, UNARY};
use support::known_at_once;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tower_reauth::{
    AuthError, AuthLayer, Credentials, GrpcChannel, SendPayments, TokenCache, client::https,
    sandbox::Sandbox,
};

const TOKEN_LIFETIME: Duration = Duration::from_secs(3);

/// The server, a channel to it, and the cache for its tokens.
async fn start() -> (Relay, Channel, TokenCache) {
    start_with(Sandbox::CLIENT_SECRET).await
}

async fn start_with(secret: &str) -> (Relay, Channel, TokenCache) {
    let sandbox = Sandbox::builder().token_lifetime(TOKEN_LIFETIME).start().await.unwrap();
    let credentials = Credentials::new(Sandbox::CLIENT_ID, secret);
    let endpoint = SendPayments::new(sandbox.base_url(), https().unwrap(), credentials).unwrap();
    let (relay, channel) = Relay::start(sandbox).await;
    (relay, channel, known_at_once(endpoint))
}

/// Waits for a condition that may hold after each call.
async fn until(what: &str, called: &Notify, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            called.notified().await;
        }
    };
    timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("{what} never came"));
}

/// Leaves time to the other tests. Twelve workers still make a thousand calls a second.
const PAUSE: Duration = Duration::from_millis(10);

/// Calls of one kind, one after the other.
#[derive(Clone)]
struct Worker {
    kind: Kind,
    client: Client,
    ids: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    /// Told of each call, whatever came of it.
    called: Arc<Notify>,
}

impl Worker {
    /// Which pieces the server must have applied, by call.
    async fn run(self) -> HashMap<u64, Vec<u64>> {
        let mut expected = HashMap::new();
        while !self.stop.load(Ordering::SeqCst) {
            let call = self.ids.fetch_add(1, Ordering::SeqCst);
            let result = self.kind.call(self.client.clone(), call).await;
            self.done.fetch_add(1, Ordering::SeqCst);
            self.called.notify_one();
            sleep(PAUSE).await;
            match result {
                Ok(pieces) => expected.insert(call, pieces),
                Err(status) => panic!("{:?} call {call} failed: {status:?}", self.kind),
            };
        }
        expected
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_goes_through_expiry_and_revocation() {
    let (relay, channel, cache) = start().await;
    let (ids, stop, called) = (Arc::default(), Arc::default(), Arc::<Notify>::default());
    let workers: Vec<_> = Kind::ALL
        .into_iter()
        .cycle()
        .take(12)
        .map(|kind| Worker {
            kind,
            client: client::client(channel.clone(), &cache),
            ids: Arc::clone(&ids),
            done: Arc::default(),
            stop: Arc::clone(&stop),
            called: Arc::clone(&called),
        })
        .collect();
    let running: Vec<_> =
        workers.iter().cloned().map(|worker| tokio::spawn(worker.run())).collect();
    let sandbox = relay.sandbox();
    // Until no call is under way that was made before, so that none meets two revocations.
    let everyone_has_called = async || {
        let before: Vec<_> =
            workers.iter().map(|worker| worker.done.load(Ordering::SeqCst)).collect();
        until("a call that succeeds", &called, || {
            assert!(!running.iter().any(JoinHandle::is_finished), "a call has failed");
            workers
                .iter()
                .zip(&before)
                .all(|(worker, before)| worker.done.load(Ordering::SeqCst) >= before + 2)
        })
        .await;
    };

    everyone_has_called().await;
    for _ in 0..2 {
        let refused = relay.refused();
        assert!(sandbox.revoke(Sandbox::CLIENT_ID));
        everyone_has_called().await;
        sandbox.issue_elsewhere(Sandbox::CLIENT_ID).unwrap();
        everyone_has_called().await;
        assert!(relay.refused() >= refused + 2, "each revocation has met a call");
        let asked = sandbox.counters().auth_requests;
        until("a renewal", &called, || sandbox.counters().auth_requests > asked).await;
        everyone_has_called().await;
    }
    stop.store(true, Ordering::SeqCst);

    let mut expected = HashMap::new();
    for applied in join_all(running).await {
        expected.extend(applied.expect("no call fails"));
    }
    assert_eq!(
        relay.applied(),
        expected,
        "every message once, in order, and nothing of a refused attempt"
    );
    assert_eq!(
        relay.arrived(),
        expected.len() + relay.refused(),
        "each refused call was sent once more"
    );
    let counters = cache.counters();
    let again = counters.replays + counters.same_token_retries;
    assert_eq!(again, u64::try_from(relay.refused()).unwrap());
}

/// The server refuses it before it has read a message, or after one, two or three of a stream.
#[tokio::test]
async fn a_refused_call_of_each_kind_is_replayed_whole() {
    for kind in Kind::ALL {
        for call in 0..4 {
            let (relay, channel, cache) = start().await;
            cache.token().await.unwrap();
            relay.sandbox().revoke(Sandbox::CLIENT_ID);
            let calling = kind.call(client::client(channel, &cache), call);
            let pieces = timeout(Duration::from_secs(20), calling).await.unwrap().unwrap();
            assert_eq!((relay.arrived(), relay.refused()), (2, 1), "{kind:?} {call}");
            assert_eq!(relay.applied(), HashMap::from([(call, pieces)]), "{kind:?} {call}");
        }
    }
}

#[tokio::test]
async fn unauthenticated_after_a_message_is_the_callers() {
    let (relay, channel, cache) = start().await;
    let mut client = Grpc::new(client::signed(channel, AuthLayer::new(cache.clone())));
    client.ready().await.unwrap();
    let request = Request::new(Piece::new(0, 0));
    let answer = client.server_streaming(request, path(BREAK_OFF), codec()).await.unwrap();
    let mut pieces = answer.into_inner();
    assert_eq!(pieces.message().await.unwrap(), Some(Piece::new(0, 0)));
    assert_eq!(pieces.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(relay.arrived(), 1);
    assert_eq!(cache.counters().unauthorized, 0, "nothing is held against the token");
    assert!(cache.current().is_some());
}

#[tokio::test]
async fn a_call_that_is_always_refused_is_sent_twice() {
    let (relay, channel, cache) = start().await;
    let status = ask(client::client(channel, &cache), REFUSE).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "no token is good enough")
    );
    assert_eq!(relay.arrived(), 2);
    assert_eq!(relay.sandbox().counters().auth_requests, 2, "a new token for the replay");
}

/// Without the mapping, what tonic has no code for is UNKNOWN. The error itself is the status's
/// source.
fn auth_error(status: &Status) -> &AuthError {
    assert_eq!(status.code(), Code::Unknown);
    match status.source().and_then(|source| source.downcast_ref()) {
        Some(tower_reauth::Error::Auth { error, .. }) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_for_which_there_is_no_token_fails_with_the_reason_as_its_source() {
    let (relay, channel, cache) = start_with("another secret").await;
    let client = Grpc::new(client::signed(channel, AuthLayer::new(cache)));
    let status = ask(client, UNARY).await.unwrap_err();
    assert!(auth_error(&status).is_rejected());
    assert_eq!(relay.arrived(), 0);
}

#[test]
fn a_failed_token_is_not_an_unknown_grpc_status() {
    let code = |error: AuthError| {
        let status = Status::from(tower_reauth::Error::from(error.clone()));
        let text = error.to_string();
        assert!(matches!(
            status.source().and_then(|source| source.downcast_ref()),
            Some(tower_reauth::Error::Auth { error: source, .. }) if source.to_string() == text
        ));
        assert_eq!((status.code(), status.message()), (Status::from(error).code(), &*text));
        status.code()
    };
    for (error, expected) in [
        (AuthError::transient("down"), Code::Unavailable),
        (AuthError::invalid_response("a page"), Code::Unavailable),
        (AuthError::rejected("no"), Code::Unauthenticated),
        (AuthError::credentials("no file"), Code::Unauthenticated),
        (AuthError::permanent("no such host"), Code::Unauthenticated),
    ] {
        assert_eq!(code(error), expected);
    }
    // What is no error of the layer is the status that tonic finds in it.
    let inner = tower_reauth::Error::inner(Status::data_loss("gone"));
    assert_eq!(Status::from(inner).code(), Code::DataLoss);
}

#[tokio::test]
async fn a_call_without_a_token_has_the_mapped_status() {
    let (relay, channel, cache) = start_with("another secret").await;
    let client = client::client(channel, &cache);
    let status = ask(client, UNARY).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(relay.arrived(), 0);
}

#[tokio::test]
async fn unauthenticated_in_the_trailers_marks_the_token_and_replays_nothing() {
    let (relay, channel, cache) = start().await;
    let mut client = client::client(channel, &cache);
    client.ready().await.unwrap();
    let request = Request::new(Piece::new(0, 0));
    let answer = client.server_streaming(request, path(BREAK_OFF), codec()).await.unwrap();
    let refused = cache.current().unwrap();
    let mut pieces = answer.into_inner();
    // The head and the message were not kept back for the trailers.
    assert_eq!(pieces.message().await.unwrap(), Some(Piece::new(0, 0)));
    assert_eq!(cache.counters().unauthorized, 0);
    assert_eq!(pieces.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!((relay.arrived(), cache.counters().replays), (1, 0));
    assert_eq!(cache.counters().unauthorized, 1);
    // The next call has another token.
    assert!(ask(client, UNARY).await.is_ok());
    assert!(cache.current().unwrap().sequence() > refused.sequence());
}

#[tokio::test]
async fn a_stream_beyond_the_cap_of_a_channel_is_not_sent_again() {
    // The first message of the call alone is longer than 100 bytes.
    for (cap, is_replayed) in [(100, false), (64 * 1024, true)] {
        let (relay, channel, cache) = start().await;
        cache.token().await.unwrap();
        relay.sandbox().revoke(Sandbox::CLIENT_ID);
        let channel = GrpcChannel::new(channel, &AuthLayer::new(cache)).replay_cap(cap);
        // The server reads a message before it refuses the call.
        let result = Kind::ClientStreaming.call(Grpc::new(channel), 1).await;
        assert_eq!(result.is_ok(), is_replayed, "{cap}: {result:?}");
        assert_eq!(relay.arrived(), 1 + usize::from(is_replayed), "{cap}");
    }
}

#[tokio::test]
async fn an_origin_that_the_client_names_must_be_allowed() {
    let (relay, channel, cache) = start().await;
    let ask_with = async |auth: AuthLayer| {
        let signed = client::signed(channel.clone(), auth);
        ask(Grpc::with_origin(signed, relay.url().parse().unwrap()), UNARY).await
    };
    let auth = AuthLayer::new(cache);
    let status = ask_with(auth.clone()).await.unwrap_err();
    assert!(auth_error(&status).is_refused_origin());
    assert_eq!(relay.arrived(), 0);
    assert!(ask_with(auth.allow_origin(relay.url()).unwrap()).await.is_ok());
}

/// Without the layer: an interceptor can't wait, so it takes the token that is there. Whoever calls
/// sees to it that there is one, with `cache.token().await` or a cache that is kept warm.
fn interceptor(cache: TokenCache) -> impl Interceptor + Clone {
    move |mut request: Request<()>| {
        let Some(token) = cache.current() else {
            return Err(Status::unavailable("there is no token that can be sent"));
        };
        let mut value = MetadataValue::try_from(token.header_value().as_bytes())
            .map_err(|_| Status::internal("not an ASCII token"))?;
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

#[tokio::test]
async fn a_token_cache_feeds_an_interceptor() {
    let (relay, channel, cache) = start().await;
    let service = InterceptedService::new(channel, interceptor(cache.clone()));
    let call =
        async || ask(Grpc::new(service.clone()), UNARY).await.map_err(|status| status.code());

    assert_eq!(call().await, Err(Code::Unavailable));
    assert_eq!(relay.arrived(), 0, "nothing goes out unsigned");

    let token = cache.token().await.unwrap();
    assert_eq!(call().await, Ok(Piece::new(0, 0)));
    let signed = interceptor(cache.clone()).call(Request::new(())).unwrap();
    let value = signed.metadata().get("authorization").unwrap();
    assert!(
        value.is_sensitive()
            && value.to_str().unwrap() == format!("Bearer {}", token.expose_secret())
    );

    // There is no replay here: the caller reports the token, and asks for another.
    relay.sandbox().revoke(Sandbox::CLIENT_ID);
    assert_eq!(call().await, Err(Code::Unauthenticated));
    assert!(cache.invalidate(&token));
    assert_eq!(call().await, Err(Code::Unavailable));
    assert_eq!(relay.arrived(), 2);
    cache.token().await.unwrap();
    assert_eq!(call().await, Ok(Piece::new(0, 0)));
}
