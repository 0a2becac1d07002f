//! A Send Payments API on your own machine, or an OAuth 2 server, to try a client against.
//!
//! ```sh
//! cargo run --example sandbox -- --port 8080
//! cargo run --example sandbox -- --port 8080 --token-lifetime 20 --auth-latency-ms 500
//! cargo run --example sandbox -- --port 8080 --auth-status 503 --retry-after 2 --times 3
//! cargo run --example sandbox -- --port 8080 --fault reset-after-issuing
//! cargo run --example sandbox -- --port 8080 --verbose
//! cargo run --example sandbox -- --port 8080 --oauth2
//! ```
//!
//! It prints the line that puts its address and its credentials into the environment. Ctrl-C and
//! SIGTERM end it with status 0, and it prints what it has counted.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{CommandFactory, Parser, ValueEnum, error::ErrorKind};
use http::StatusCode;
use tower_reauth::sandbox::{AuthFault, OAuth2Server, Sandbox};

/// Serves a double of the Send Payments API, or of OAuth 2, on 127.0.0.1 until Ctrl-C or SIGTERM.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on; with 0 the system chooses one.
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Serves OAuth 2 instead: a token endpoint for client credentials, and resources.
    #[arg(long, conflicts_with_all = [
        "resource_latency_ms", "client_id", "auth_status", "fault", "times", "verbose",
    ])]
    oauth2: bool,

    /// How long a token lives, in seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    token_lifetime: u64,

    /// How long each request for a token waits before one is issued.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    auth_latency_ms: u64,

    /// How long each request to a resource waits.
    #[arg(long, default_value_t = 0, value_name = "MILLISECONDS")]
    resource_latency_ms: u64,

    /// The sandbox's clock is this far ahead.
    #[arg(long, value_name = "SECONDS", conflicts_with = "clock_behind")]
    clock_ahead: Option<u64>,

    /// The sandbox's clock is this far behind.
    #[arg(long, value_name = "SECONDS")]
    clock_behind: Option<u64>,

    /// One more client, for example `acme_0a1b2c3d-0000-4000-8000-0123456789ab`.
    #[arg(long, requires = "client_secret", value_name = "ID")]
    client_id: Option<String>,

    /// The secret of that client.
    #[arg(long, requires = "client_id", value_name = "SECRET")]
    client_secret: Option<String>,

    /// Lets `POST /auth` answer with this status.
    #[arg(long, conflicts_with = "fault", value_name = "STATUS")]
    auth_status: Option<StatusCode>,

    /// With --auth-status: the `Retry-After` of that answer, in seconds.
    #[arg(long, requires = "auth_status", value_name = "SECONDS")]
    retry_after: Option<u64>,

    /// Lets `POST /auth` go wrong in this way.
    #[arg(long, value_enum, value_name = "NAME")]
    fault: Option<FaultName>,

    /// With --fault or --auth-status: only this many `POST /auth` go wrong, not all.
    #[arg(long, value_name = "COUNT")]
    times: Option<u16>,

    /// Prints a line for each request.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FaultName {
    /// Answers 502 with the HTML page of a proxy
    Html,
    /// Resets the connection, issues no token
    ResetBeforeIssuing,
    /// Issues a token, then resets the connection
    ResetAfterIssuing,
    /// Never answers
    Hang,
    /// Answers after five seconds
    Delay,
    /// 201 with no body
    EmptyBody,
    /// 201 with half a body
    CutBody,
    /// 201 with a body that isn't JSON
    Garbage,
    /// 201 with an empty token
    EmptyToken,
    /// 201 with no token
    MissingToken,
    /// 201 with a token that no header can carry
    UnsendableToken,
    /// 201 with an expiry that isn't a date
    BadExpiry,
    /// 201 with no expiry
    NoExpiry,
    /// 201 with a token that has expired
    Expired,
    /// 201 with a body of 32 MiB
    Oversized,
    /// 307 to another path
    Redirect,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.times.is_some() && arguments.fault.is_none() && arguments.auth_status.is_none() {
        let message = "--times says how many `POST /auth` go wrong, and nothing says in which way: \
                       add --fault <NAME> or --auth-status <STATUS>";
        Arguments::command().error(ErrorKind::MissingRequiredArgument, message).exit();
    }
    let ended = if arguments.oauth2 { run_oauth2(&arguments).await } else { run(&arguments).await };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            eprintln!("Port {} is in use. Choose another with --port.", arguments.port);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("The sandbox can't start: {error}.");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> io::Result<()> {
    let mut builder = Sandbox::builder()
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)))
        .token_lifetime(Duration::from_secs(arguments.token_lifetime))
        .auth_latency(Duration::from_millis(arguments.auth_latency_ms))
        .resource_latency(Duration::from_millis(arguments.resource_latency_ms));
    if let Some(seconds) = arguments.clock_ahead {
        builder = builder.clock_ahead(Duration::from_secs(seconds));
    }
    if let Some(seconds) = arguments.clock_behind {
        builder = builder.clock_behind(Duration::from_secs(seconds));
    }
    let (mut id, mut secret) = (Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    if let (Some(other_id), Some(other_secret)) = (&arguments.client_id, &arguments.client_secret) {
        builder = builder.client(other_id, other_secret);
        (id, secret) = (other_id, other_secret);
    }
    if arguments.verbose {
        let start = Instant::now();
        builder = builder.on_request(move |line| {
            println!("{:9.3} s  {line}", start.elapsed().as_secs_f64());
        });
    }
    // From here on a signal ends it in order.
    let stop = stop()?;
    let sandbox = builder.start().await?;
    set_faults(&sandbox, arguments);
    print_start(&sandbox.base_url(), id, secret);

    stop.await;
    sandbox.shutdown().await;
    println!("\nStopped. {:#?}", sandbox.counters());
    Ok(())
}

async fn run_oauth2(arguments: &Arguments) -> io::Result<()> {
    let mut builder = OAuth2Server::builder()
        .bind(SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)))
        .token_lifetime(Duration::from_secs(arguments.token_lifetime))
        .latency(Duration::from_millis(arguments.auth_latency_ms));
    if let Some(seconds) = arguments.clock_ahead {
        builder = builder.clock_ahead(Duration::from_secs(seconds));
    }
    if let Some(seconds) = arguments.clock_behind {
        builder = builder.clock_behind(Duration::from_secs(seconds));
    }
    let stop = stop()?;
    let server = builder.start().await?;
    let (base, token_uri) = (server.base_url(), server.token_uri());
    let (id, secret) = (OAuth2Server::CLIENT_ID, OAuth2Server::CLIENT_SECRET);
    println!("Listening on {base}");
    println!();
    println!("Paste this where your program runs:");
    println!(
        "  export OAUTH_TOKEN_URI={token_uri} OAUTH_API={base} OAUTH_CLIENT_ID={} \
         OAUTH_CLIENT_SECRET={}",
        quoted(id),
        quoted(secret)
    );
    println!();
    println!("Ask for a token:");
    println!(
        "  curl -s {token_uri} -d grant_type=client_credentials \\\n    \
         --data-urlencode 'client_id={id}' --data-urlencode 'client_secret={secret}'"
    );
    println!();
    println!("Every path but those of the server itself is a resource. Ctrl-C stops.");

    stop.await;
    println!("\nStopped. {:#?}", server.counters());
    Ok(())
}

/// Returns a future that ends with Ctrl-C or SIGTERM.
#[cfg(unix)]
fn stop() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    })
}

/// Returns a future that ends with Ctrl-C.
#[cfg(not(unix))]
fn stop() -> io::Result<impl Future<Output = ()>> {
    Ok(async { _ = tokio::signal::ctrl_c().await })
}

fn set_faults(sandbox: &Sandbox, arguments: &Arguments) {
    let retry_after = arguments.retry_after.map(Duration::from_secs);
    let fault = match (arguments.auth_status, arguments.fault) {
        (Some(status), _) => AuthFault::Status { status, retry_after },
        (None, Some(name)) => fault(name),
        (None, None) => return,
    };
    match arguments.times {
        Some(times) => (0..times).for_each(|_| sandbox.fail_next_auth(fault.clone())),
        None => sandbox.fail_every_auth(Some(fault)),
    }
}

fn fault(name: FaultName) -> AuthFault {
    match name {
        FaultName::Html => AuthFault::Html(StatusCode::BAD_GATEWAY),
        FaultName::ResetBeforeIssuing => AuthFault::ResetBeforeIssuing,
        FaultName::ResetAfterIssuing => AuthFault::ResetAfterIssuing,
        FaultName::Hang => AuthFault::Hang,
        FaultName::Delay => AuthFault::Delay(Duration::from_secs(5)),
        FaultName::EmptyBody => AuthFault::EmptyBody,
        FaultName::CutBody => AuthFault::CutBody,
        FaultName::Garbage => AuthFault::Garbage,
        FaultName::EmptyToken => AuthFault::EmptyToken,
        FaultName::MissingToken => AuthFault::MissingToken,
        FaultName::UnsendableToken => AuthFault::UnsendableToken,
        FaultName::BadExpiry => AuthFault::BadExpiry,
        FaultName::NoExpiry => AuthFault::NoExpiry,
        FaultName::Expired => AuthFault::Expired,
        FaultName::Oversized => AuthFault::Oversized,
        FaultName::Redirect => AuthFault::Redirect("/elsewhere".to_owned()),
    }
}

fn print_start(base: &str, id: &str, secret: &str) {
    println!("Listening on {base}");
    println!();
    println!("Paste this where your program runs:");
    println!(
        "  export SEND_BASE_URL={base} SEND_CLIENT_ID={} SEND_CLIENT_SECRET={}",
        quoted(id),
        quoted(secret)
    );
    println!();
    println!("Ask for a token, then use it:");
    println!(
        "  TOKEN=$(curl -s {base}/auth -H 'content-type: application/json' \\\n    \
         -d '{{\"clientId\":\"{id}\",\"clientSecret\":\"{secret}\"}}' \\\n    \
         | sed 's/.*\"accessToken\":\"\\([^\"]*\\)\".*/\\1/')"
    );
    println!(
        "  curl -i {base}/accounts -H \"authorization: Bearer $TOKEN\" -d '{{\"name\":\"Petra\"}}'"
    );
    println!();
    println!("See what has been counted:");
    println!("  curl -s {base}/_sandbox/counters");
    println!();
    println!("Ctrl-C stops.");
}

/// Returns `value` as a word of a POSIX shell.
fn quoted(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}
