//! The example `sandbox` as a process: what it prints, and how it ends.

#![cfg(unix)]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The example, which `cargo test` has built beside this test.
fn sandbox(arguments: &[&str]) -> Command {
    let test = env::current_exe().unwrap();
    let path = test.parent().unwrap().with_file_name("examples").join("sandbox");
    assert!(path.exists(), "run `cargo build -p examples-sandbox --example sandbox` first");
    let mut command = Command::new(path);
    command.args(arguments);
    command
}

/// A sandbox that runs. It is killed if a test fails.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = sandbox(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// Reads up to the line that begins with this, and returns that line.
    fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "no line has {begin}");
            if line.trim_start().starts_with(begin) {
                return line.trim().to_owned();
            }
        }
    }

    /// Sends it this signal. Returns its exit code, and what else it printed.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
        let status = ended(&mut self.child);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (status.code(), rest)
    }
}

/// Waits for a process that has to end.
fn ended(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if start.elapsed() > Duration::from_secs(10) {
            let _ = child.kill();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_ends_it_with_its_counters_and_status_0() {
    for signal in ["-TERM", "-INT"] {
        let mut sandbox = Running::start(&["--port", "0", "--verbose"]);
        let export = sandbox.line("export ");
        let address = export
            .split_whitespace()
            .find_map(|word| word.strip_prefix("SEND_BASE_URL=http://"))
            .unwrap();
        sandbox.line("Ctrl-C stops.");
        let mut connection = TcpStream::connect(address).unwrap();
        connection
            .write_all(b"GET /accounts/1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut response = String::new();
        connection.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
        let (code, rest) = sandbox.end(signal);
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("s  GET /accounts/1 401 Unauthorized: there is no bearer"), "{rest}");
        assert!(rest.contains("unauthorized_missing: 1"), "{rest}");
    }
}

#[test]
fn with_oauth2_it_issues_a_token_for_the_credentials_of_its_line() {
    let mut server = Running::start(&["--port", "0", "--oauth2"]);
    let export = server.line("export ");
    let script = format!(
        "{export}; printf '%s|' \"$OAUTH_TOKEN_URI\" \"$OAUTH_CLIENT_ID\" \"$OAUTH_CLIENT_SECRET\""
    );
    let shown = Command::new("sh").args(["-c", &script]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let values: Vec<&str> = shown.split('|').collect();
    let (address, path) = values[0].strip_prefix("http://").unwrap().split_once('/').unwrap();
    let encoded =
        |value: &str| value.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        encoded(values[1]),
        encoded(values[2])
    );
    let mut connection = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        form.len()
    );
    connection.write_all((head + &form).as_bytes()).unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    assert!(
        response.starts_with("HTTP/1.1 200 ") && response.contains("access_token"),
        "{response}"
    );
    let (code, rest) = server.end("-TERM");
    assert_eq!(code, Some(0), "{rest}");
    assert!(rest.contains("tokens_issued: 1"), "{rest}");
}

#[test]
fn the_line_to_paste_puts_each_value_into_the_environment() {
    let id = "acme_0a1b2c3d-0000-4000-8000-0123456789ab";
    let secret = "it's; a $(secret)";
    let mut sandbox =
        Running::start(&["--port", "0", "--client-id", id, "--client-secret", secret]);
    let export = sandbox.line("export ");
    let script = format!("{export}; printf '%s|' \"$SEND_CLIENT_ID\" \"$SEND_CLIENT_SECRET\"");
    let shown = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), format!("{id}|{secret}|"));
}

#[test]
fn a_number_of_faults_without_a_fault_is_refused() {
    let mut refused = sandbox(&["--port", "0", "--times", "3"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(ended(&mut refused).code(), Some(2));
    let mut message = String::new();
    refused.stderr.unwrap().read_to_string(&mut message).unwrap();
    assert!(message.contains("add --fault <NAME> or --auth-status <STATUS>"), "{message}");
    for fault in [["--fault", "hang"], ["--auth-status", "503"]] {
        let arguments: Vec<_> = ["--port", "0", "--times", "3"].into_iter().chain(fault).collect();
        Running::start(&arguments).line("Listening on ");
    }
}
