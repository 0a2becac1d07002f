use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Method, StatusCode, Version};
use tower_reauth::sandbox::{AuthFault, Sandbox};

use super::client::{
    JSON, authenticate, create_account, credentials, send, start, try_authenticate, try_send,
    until, use_token,
};

#[tokio::test]
async fn serves_http_1_and_http_2_on_one_port() {
    let sandbox = start().await;
    for (http2, version) in [(false, Version::HTTP_11), (true, Version::HTTP_2)] {
        let response =
            try_send(&sandbox, http2, Method::POST, "/auth", &[JSON], credentials()).await.unwrap();
        assert_eq!((response.status(), response.version()), (StatusCode::CREATED, version));
        assert_eq!(response.headers().get_all("date").iter().count(), 1);
    }
}

#[tokio::test]
async fn the_base_url_has_the_real_port_and_no_slash() {
    let sandbox = start().await;
    assert_ne!(sandbox.addr().port(), 0);
    assert_eq!(sandbox.base_url(), format!("http://127.0.0.1:{}", sandbox.addr().port()));
}

#[tokio::test]
async fn every_answer_carries_a_date() {
    let sandbox = start().await;
    sandbox.fail_next_auth(AuthFault::Html(StatusCode::BAD_GATEWAY));
    for path in ["/auth", "/auth", "/accounts", "/nothing", "/_sandbox/counters"] {
        let answer = send(&sandbox, Method::POST, path, &[JSON], credentials()).await;
        assert!(httpdate::parse_http_date(answer.header("date")).is_ok(), "{path}");
    }
}

#[tokio::test]
async fn the_counters_are_served_as_json_without_a_token() {
    let sandbox = start().await;
    authenticate(&sandbox).await;
    let answer = send(&sandbox, Method::GET, "/_sandbox/counters", &[], "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json(), serde_json::to_value(sandbox.counters()).unwrap());
    assert_eq!(answer.json()["tokens_issued"], 1);
    assert_eq!(sandbox.counters().resource_requests, 0);
}

#[tokio::test]
async fn a_port_in_use_is_an_error() {
    let first = start().await;
    let error = Sandbox::builder().bind(first.addr()).start().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn shutdown_lets_a_request_under_way_end() {
    let sandbox =
        Sandbox::builder().auth_latency(Duration::from_millis(150)).start().await.unwrap();
    let (answer, ()) = tokio::join!(authenticate(&sandbox), async {
        while sandbox.counters().auth_requests == 0 {
            tokio::task::yield_now().await;
        }
        sandbox.shutdown().await;
    });
    answer.token();
    try_authenticate(&sandbox).await.unwrap_err();
    sandbox.shutdown().await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_an_idle_connection() {
    let sandbox = start().await;
    let mut idle = tokio::net::TcpStream::connect(sandbox.addr()).await.unwrap();
    authenticate(&sandbox).await;
    tokio::time::timeout(Duration::from_secs(1), sandbox.shutdown()).await.unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut idle, &mut [0; 1]).await;
    assert_eq!(read.unwrap_or(0), 0);
}

#[tokio::test]
async fn drop_stops_the_server() {
    let sandbox = start().await;
    let addr = sandbox.addr();
    sandbox.fail_next_auth(AuthFault::Hang);
    let hanging = tokio::spawn({
        let (client, request) = (addr, credentials());
        async move {
            let mut stream = tokio::net::TcpStream::connect(client).await.unwrap();
            let head = format!(
                "POST /auth HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
                request.len()
            );
            tokio::io::AsyncWriteExt::write_all(&mut stream, (head + &request).as_bytes())
                .await
                .unwrap();
            tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await.unwrap_or(0)
        }
    });
    while sandbox.counters().auth_requests == 0 {
        tokio::task::yield_now().await;
    }
    drop(sandbox);
    assert_eq!(hanging.await.unwrap(), 0);
    tokio::net::TcpStream::connect(addr).await.unwrap_err();
}

#[tokio::test]
async fn the_router_serves_the_same_state() {
    let sandbox = start().await;
    sandbox.issue_elsewhere(Sandbox::CLIENT_ID);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(axum::serve(listener, sandbox.router()).into_future());
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = b"GET /_sandbox/counters HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
    assert!(answer.contains(r#""tokens_issued":1"#), "{answer}");
    server.abort();
}

#[tokio::test]
async fn debug_output_shows_no_secret_and_no_token() {
    let builder = Sandbox::builder().client("acme_0a1b2c3d-0000-4000-8000-0123456789ab", "hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    assert!(!format!("{builder:?}").contains(Sandbox::CLIENT_SECRET));
    let sandbox = builder.start().await.unwrap();
    let token = authenticate(&sandbox).await.token();
    create_account(&sandbox, &token, &[], r#"{"name":"Petra"}"#).await;
    let shown = format!("{sandbox:?}");
    assert!(
        !shown.contains("hunter2")
            && !shown.contains(Sandbox::CLIENT_SECRET)
            && !shown.contains(&token)
    );
}

#[tokio::test]
async fn each_request_is_a_line_that_says_why_it_was_refused_and_holds_no_secret() {
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&lines);
    let sandbox = Sandbox::builder()
        .on_request(move |line| log.lock().unwrap().push(line.to_owned()))
        .start()
        .await
        .unwrap();
    let token = authenticate(&sandbox).await.token();
    use_token(&sandbox, &token).await;
    send(&sandbox, Method::GET, "/accounts/1?key=hidden", &[], "").await;
    use_token(&sandbox, "hidden").await;
    sandbox.revoke(Sandbox::CLIENT_ID);
    use_token(&sandbox, &token).await;
    let wrong = credentials().replace(Sandbox::CLIENT_SECRET, "hidden");
    send(&sandbox, Method::POST, "/auth", &[JSON], wrong).await;
    sandbox.fail_next_auth(AuthFault::Garbage);
    authenticate(&sandbox).await;
    sandbox.fail_next_auth(AuthFault::ResetAfterIssuing);
    try_authenticate(&sandbox).await.unwrap_err();
    until(|| lines.lock().unwrap().len() == 8).await;
    let lines = lines.lock().unwrap().clone();
    assert_eq!(
        lines,
        [
            "POST /auth 201 Created",
            "GET /accounts/none 404 Not Found: Nothing is here",
            "GET /accounts/1 401 Unauthorized: there is no bearer token",
            "GET /accounts/none 401 Unauthorized: the token was not issued by this sandbox",
            "GET /accounts/none 401 Unauthorized: the token was replaced or revoked",
            "POST /auth 401 Unauthorized: The credentials are wrong",
            "POST /auth 201 Created: a fault that was asked for",
            "POST /auth got no response",
        ]
    );
}
