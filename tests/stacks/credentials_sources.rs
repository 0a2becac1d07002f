//! Credentials sources that fail, hang, or are not there yet.

use std::{
    convert::Infallible,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
#[cfg(target_os = "linux")]
use support::child::is_own_process;
use tokio::time::{Instant, advance, sleep};
use tower::service_fn;
use tower_reauth::{
    AuthError, BoxError, Credentials, CredentialsSource, RefreshPolicy, SendPayments, TokenCache,
    credentials::{EnvCredentials, FileCredentials, from_fn},
    endpoint::HttpService,
};

type Body = Full<Bytes>;

/// An API that issues tokens to whoever knows the secret `right`, and the count of its requests.
fn api() -> (impl HttpService, Arc<AtomicUsize>) {
    let posts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&posts);
    let http = service_fn(move |request: Request<Body>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let is_right = String::from_utf8_lossy(&body).contains(r#""right""#);
            let (status, body) =
                if is_right { (201, r#"{"accessToken": "opaque"}"#) } else { (401, "{}") };
            let response = Response::builder().status(status).body(Body::from(body)).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (http, posts)
}

fn cache(source: impl CredentialsSource) -> (TokenCache, Arc<AtomicUsize>) {
    let (http, posts) = api();
    let endpoint = SendPayments::new("https://api.example.com", http, source).unwrap();
    (TokenCache::new(endpoint), posts)
}

/// Asks for a token ten times a second for so long. Returns the last error.
async fn fail_for(cache: &TokenCache, time: Duration) -> AuthError {
    let until = Instant::now() + time;
    loop {
        let error = cache.token().await.unwrap_err();
        assert!(error.is_credentials(), "{error:?}");
        if Instant::now() >= until {
            return error;
        }
        advance(Duration::from_millis(100)).await;
    }
}

/// Asks for a token ten times a second until there is one. Returns how long that took.
async fn until_used(cache: &TokenCache) -> Duration {
    let started = Instant::now();
    while cache.token().await.is_err() {
        advance(Duration::from_millis(100)).await;
    }
    started.elapsed()
}

/// How a source becomes right at last.
type Correct = fn(&Path);

#[tokio::test(start_paused = true)]
async fn a_file_that_is_late_half_written_or_empty_is_used_within_two_seconds() {
    const HALF: &str = r#"{"clientId": "id", "clientSecret": "rig"#;
    const WHOLE: &str = r#"{"clientId": "id", "clientSecret": "right"}"#;
    type Source = fn(&Path) -> FileCredentials;
    let secret: Source = |path| FileCredentials::secret("id", path);
    let pair: Source = |path| FileCredentials::pair(path, path);
    let json: Source = |path| FileCredentials::json(path);
    let cases: [(Source, Correct, Correct, &str); 5] = [
        (secret, |_| {}, |path| fs::write(path, "right\n").unwrap(), "can't be read"),
        (
            pair,
            |path| fs::write(path, " \n").unwrap(),
            |path| fs::write(path, "right").unwrap(),
            "empty",
        ),
        (
            json,
            |path| fs::write(path, HALF).unwrap(),
            |path| fs::write(path, WHOLE).unwrap(),
            "JSON",
        ),
        (
            json,
            |path| fs::write(path, "").unwrap(),
            |path| fs::write(path, WHOLE).unwrap(),
            "empty",
        ),
        (
            secret,
            |path| fs::create_dir(path).unwrap(),
            |path| {
                fs::remove_dir(path).unwrap();
                fs::write(path, "right").unwrap();
            },
            "can't be read",
        ),
    ];
    for (source, before, correct, said) in cases {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client-secret");
        before(&path);
        let (cache, posts) = cache(source(&path));
        let error = fail_for(&cache, Duration::from_secs(40)).await;
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("client-secret") && cause.contains(said), "{cause}");
        correct(&path);
        let waited = until_used(&cache).await;
        assert!(waited <= Duration::from_secs(2), "used {waited:?} after it was there");
        assert_eq!(posts.load(Ordering::SeqCst), 1, "nothing was sent before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_comes_up_late_is_asked_about_once_a_second_and_used_within_two() {
    let (is_up, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (vault, counter) = (Arc::clone(&is_up), Arc::clone(&asked));
    let (cache, posts) = cache(from_fn(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let is_up = vault.load(Ordering::SeqCst);
        async move {
            let sealed = || BoxError::from("the vault is sealed");
            is_up.then(|| Credentials::new("id", "right")).ok_or_else(sealed)
        }
    }));
    fail_for(&cache, Duration::from_secs(60)).await;
    let times = asked.load(Ordering::SeqCst);
    assert!((40..75).contains(&times), "asked {times} times in a minute");
    is_up.store(true, Ordering::SeqCst);
    let waited = until_used(&cache).await;
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_comes_back_with_the_same_secret_is_used_within_two_seconds() {
    let is_up = Arc::new(AtomicBool::new(true));
    let vault = Arc::clone(&is_up);
    let (cache, _) = cache(from_fn(move || {
        let is_up = vault.load(Ordering::SeqCst);
        async move {
            let sealed = || BoxError::from("the vault is sealed");
            is_up.then(|| Credentials::new("id", "right")).ok_or_else(sealed)
        }
    }));
    let token = cache.token().await.unwrap();
    is_up.store(false, Ordering::SeqCst);
    assert!(cache.invalidate(&token));
    fail_for(&cache, Duration::from_secs(40)).await;
    is_up.store(true, Ordering::SeqCst);
    let waited = until_used(&cache).await;
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_blamed_and_the_token_in_use_is_not_suspect() {
    let hangs = Arc::new(AtomicBool::new(false));
    let (vault, readers) = (Arc::clone(&hangs), Arc::new(AtomicUsize::new(0)));
    let (source, posts) = cache(from_fn(move || {
        let (vault, readers) = (Arc::clone(&vault), Arc::clone(&readers));
        async move {
            assert_eq!(readers.fetch_add(1, Ordering::SeqCst), 0, "one at a time");
            let _left = Left(Arc::clone(&readers));
            while vault.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(50)).await;
            }
            Ok::<_, BoxError>(Credentials::new("id", "right"))
        }
    }));
    let token = source.token().await.unwrap();
    hangs.store(true, Ordering::SeqCst);
    let error = source.refresh().await.unwrap_err();
    assert!(error.is_credentials() && error.to_string().contains("within 10 s"), "{error}");
    assert_eq!(source.current().unwrap().sequence(), token.sequence());
    assert!(source.invalidate(&token));
    let counters = source.counters();
    assert_eq!(counters.unauthorized_foreign, 1, "a suspect one would count as replaced");
    fail_for(&source, Duration::from_secs(40)).await;
    assert_eq!(posts.load(Ordering::SeqCst), 1);
    hangs.store(false, Ordering::SeqCst);
    let waited = until_used(&source).await;
    assert!(waited <= Duration::from_secs(2), "{waited:?}");
}

struct Left(Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_variable_is_named_and_nothing_is_sent() {
    // Cargo sets this one to nothing, because the package has no homepage.
    let (cache, posts) = cache(EnvCredentials::new("CARGO_PKG_NAME", "CARGO_PKG_HOMEPAGE"));
    let error = fail_for(&cache, Duration::from_secs(5)).await;
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("CARGO_PKG_HOMEPAGE is empty"), "{cause}");
    assert_eq!(posts.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_can_not_be_sent_are_no_news() {
    let (cache, posts) = cache(from_fn(|| async { Ok::<_, BoxError>(Credentials::new("id", "")) }));
    fail_for(&cache, Duration::from_secs(60)).await;
    let attempts = cache.counters().token_requests;
    assert!(attempts < 12, "{attempts} attempts in a minute");
    assert_eq!(posts.load(Ordering::SeqCst), 0);
}

/// In real time, because it is about threads that block, and in a process of its own, because it
/// counts them.
#[cfg(target_os = "linux")]
#[test]
fn a_fifo_takes_one_thread_and_holds_up_neither_the_pool_nor_the_end() {
    let name = "a_fifo_takes_one_thread_and_holds_up_neither_the_pool_nor_the_end";
    if !is_own_process(module_path!(), name) {
        return;
    }
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("secret");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (http, posts) = api();
    let source = FileCredentials::secret("id", &fifo);
    let endpoint = SendPayments::new("https://api.example.com", http, source).unwrap();
    let policy = RefreshPolicy::default()
        .attempt_timeout(Duration::from_millis(20))
        .retry_base(Duration::from_millis(1))
        .max_backoff(Duration::from_millis(5));
    let cache = TokenCache::builder(endpoint).refresh_policy(policy).build().unwrap();

    let first = runtime();
    first.block_on(async {
        sleep(Duration::from_millis(10)).await;
        let before = threads();
        let until = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < until {
            cache.token().await.unwrap_err();
            // The whole pool is one thread, and it is free.
            tokio::task::spawn_blocking(|| {}).await.unwrap();
        }
        // The reader, and the thread of the pool.
        assert!(threads() <= before + 2, "{} more threads", threads() - before);
    });
    assert!(cache.counters().token_requests >= 2);
    let (ended, has_ended) = mpsc::channel();
    std::thread::spawn(move || {
        drop(first);
        ended.send(()).unwrap();
    });
    has_ended.recv_timeout(Duration::from_secs(5)).expect("the runtime ends");

    // A writer comes while nobody waits. What it gives is not lost.
    fs::write(&fifo, "right\n").unwrap();
    runtime().block_on(async {
        let started = Instant::now();
        while cache.token().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        assert!(started.elapsed() <= Duration::from_secs(2), "{:?}", started.elapsed());
    });
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}
