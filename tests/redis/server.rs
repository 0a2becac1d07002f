//! [`Server`]: a Redis or Valkey of the test's own, in a directory of its own.

use std::{
    collections::HashSet,
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    pin::Pin,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tempfile::TempDir;
use tokio::time::timeout;
use tower_reauth::store::{Name, Notice, RedisStore, StoreError, Swap, TokenStore};

pub(crate) const USER: &str = "reauth";
pub(crate) const PASSWORD: &str = "hunter2-hunter2";

/// For how long a value has to be kept.
pub(crate) const KEEP: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) directory: TempDir,
    arguments: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts a server without persistence. It has the user of the documentation.
    pub(crate) fn start() -> Self {
        Self::start_with(&["--save", ""])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let server = Self::try_start(arguments, TempDir::new().unwrap());
        let server = server.unwrap_or_else(|text| panic!("the server does not start: {text}"));
        server.allow("");
        server
    }

    /// Starts a server whose files are in `directory`. Returns its output if it ends at once.
    pub(crate) fn try_start(arguments: &[&str], directory: TempDir) -> Result<Self, String> {
        let port = free_port();
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let child = run(&arguments, port, directory.path());
        let mut server = Self { port, directory, arguments, child };
        server.wait_until_up()?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the server without giving it time to do anything.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts the server again, on the port and with the files that it had.
    pub(crate) fn restart(&mut self) {
        self.child = run(&self.arguments, self.port, self.directory.path());
        self.wait_until_up().unwrap();
    }

    /// Gives the fleet's user its rights, as documented and then as `changed`.
    pub(crate) fn allow(&self, changed: &str) {
        let password = format!(">{PASSWORD}");
        let rules = format!("ACL SETUSER {USER} reset on {password} {} {changed}", RedisStore::ACL);
        let reply = self.ask(&rules.split_whitespace().collect::<Vec<_>>());
        assert_eq!(reply, "OK", "{rules}");
    }

    pub(crate) fn url(&self) -> String {
        url_at(self.port)
    }

    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::connect(self.url()).unwrap()
    }

    /// Returns the server's reply to a command of the administrator, with its parts on lines.
    ///
    /// A sentinel that makes the server a primary or a replica closes all connections, so this asks
    /// again where there is no reply.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let mut tries = (0..5).map(|_| ask(self.port, command));
        tries.find_map(|reply| reply).unwrap()
    }

    /// Returns how many connections of the fleet's user there are.
    pub(crate) fn connections(&self) -> usize {
        let user = format!("user={USER}");
        self.ask(&["CLIENT", "LIST"]).lines().filter(|line| line.contains(&user)).count()
    }

    fn wait_until_up(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while ask(self.port, &["PING"]).is_none_or(|reply| reply != "PONG") {
            if self.child.try_wait().unwrap().is_some() {
                let mut output = String::new();
                self.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
                return Err(output);
            }
            assert!(started.elapsed() < Duration::from_secs(20), "the server does not come up");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the URL of the fleet's user at a port of this machine.
pub(crate) fn url_at(port: u16) -> String {
    format!("redis://{USER}:{PASSWORD}@127.0.0.1:{port}")
}

/// Returns the program that runs as the server.
pub(crate) fn program() -> String {
    env::var("STORE_SERVER").unwrap_or_else(|_| "redis-server".into())
}

/// Returns a port that no other test gets, and that Linux gives to no connection, because it takes
/// those from 32768 on. So a server that was killed finds its port free again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another process begins elsewhere.
    let first = process::id().wrapping_mul(101);
    loop {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + number % 20_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

#[test]
fn no_port_is_given_twice() {
    let ports: HashSet<_> = (0..1000).map(|_| free_port()).collect();
    assert_eq!(ports.len(), 1000);
}

fn run(arguments: &[String], port: u16, directory: &Path) -> Child {
    let mut command = Command::new(program());
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.arg("--dir").arg(directory).arg("--unixsocket").arg(directory.join("socket"));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| {
        panic!("{}: {error}; `.ci/run stores` installs the servers", program())
    })
}

/// Returns `None` if the server can't be reached.
pub(crate) fn ask(port: u16, command: &[&str]) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let arguments = command.iter().map(|text| format!("${}\r\n{text}\r\n", text.len()));
    let request = format!("*{}\r\n{}", command.len(), arguments.collect::<String>());
    stream.write_all(request.as_bytes()).ok()?;
    read(&mut BufReader::new(stream))
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1)?;
    match kind {
        "+" | "-" | ":" => Some(rest.into()),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Some("nil".into()) };
            let mut text = vec![0; length + 2];
            stream.read_exact(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text[..length]).into_owned())
        }
        "*" => {
            let parts =
                (0..rest.parse().ok()?).map(|_| read(stream)).collect::<Option<Vec<_>>>()?;
            Some(parts.join("\n"))
        }
        _ => None,
    }
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Changes the value under `payments`.
pub(crate) async fn change(store: &RedisStore, old: u64, new: u64) -> Result<Swap, StoreError> {
    store.compare_and_set(&name("payments"), old, new, new.to_string().as_bytes(), KEEP).await
}

/// Returns the revision of the value under `payments`, 0 if there is none.
pub(crate) async fn revision(store: &RedisStore) -> Result<u64, StoreError> {
    Ok(store.get(&name("payments")).await?.map_or(0, |found| found.revision))
}

/// The notices of one name, each waited for in bounded time.
pub(crate) struct Notices(Pin<Box<dyn Stream<Item = Notice> + Send>>);

impl Notices {
    pub(crate) fn of(store: &RedisStore, text: &str) -> Self {
        Self(Box::pin(store.watch(&name(text))))
    }

    /// Returns the next notice, which has to come within `bound`.
    pub(crate) async fn next(&mut self, bound: Duration) -> Notice {
        let next = timeout(bound, self.0.next()).await;
        next.expect("no notice in time").expect("the watch has ended")
    }

    /// Expects a gap within `bound`.
    pub(crate) async fn gap(&mut self, bound: Duration) {
        assert_eq!(self.next(bound).await, Notice::Gap);
    }

    /// Expects the change to `revision` at once. Gaps before it are passed over.
    pub(crate) async fn changed(&mut self, revision: u64) {
        let value = Bytes::from(revision.to_string());
        let expected = Notice::Changed { revision, value };
        let mut next = self.next(SOON).await;
        while next == Notice::Gap {
            next = self.next(SOON).await;
        }
        assert_eq!(next, expected);
    }
}

/// For what takes milliseconds on a machine that has nothing else to do.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// Tries until `attempt` succeeds, which it has to within `bound`. Returns how long that took.
pub(crate) async fn eventually<T>(
    bound: Duration,
    mut attempt: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Duration {
    let started = Instant::now();
    loop {
        match attempt().await {
            Ok(_) => return started.elapsed(),
            Err(error) => assert!(started.elapsed() < bound, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
