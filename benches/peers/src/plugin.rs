//! This program as kube's credential plugin: a token endpoint that is a process.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::answer::{Answer, FETCH, token};

pub const ROLE: &str = "credential-plugin";

const REFUSAL: &str = "refusal";
const START: &str = "start";
const END: &str = "end ";

pub fn arguments(log: &str, answer: Answer) -> Vec<String> {
    let answer = if answer == Answer::Refusal { REFUSAL } else { "token" };
    [ROLE, log, answer].map(String::from).into()
}

/// Prints a token. The first has expired: kube asks for one while it is built, and that is not what
/// is measured.
pub fn run(log: &str, answer: &str) {
    let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
    let first = log.metadata().unwrap().len() == 0;
    if first {
        line(&mut log, "built");
        return print("1970-01-01T00:00:00Z");
    }
    line(&mut log, START);
    thread::sleep(FETCH);
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    line(&mut log, &format!("{END}{}", end.as_nanos()));
    if answer == REFUSAL {
        std::process::exit(1);
    }
    print("2100-01-01T00:00:00Z");
}

fn line(log: &mut File, line: &str) {
    // One write, so that lines of two processes do not mix.
    log.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn print(expires: &str) {
    let status = serde_json::json!({"token": token(), "expirationTimestamp": expires});
    println!("{}", serde_json::json!({"kind": "ExecCredential", "status": status}));
}

/// The fetches in a log, and the end of the first.
pub fn read(log: &str) -> (usize, Option<SystemTime>) {
    let fetches = log.lines().filter(|line| *line == START).count();
    let end = log.lines().find_map(|line| line.strip_prefix(END)?.parse().ok());
    (fetches, end.map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos)))
}
