//! Tests of what a whole process does, each of which runs in a process of its own.

use std::{
    env,
    ffi::{OsStr, OsString},
    process::{Child, Command, Stdio},
};

const CHILD: &str = "TOWER_REAUTH_TEST_CHILD";
const ARGUMENT: &str = "TOWER_REAUTH_TEST_ARGUMENT";

/// Returns whether this process is the one of the test `name` of `module`, a `module_path!()`. If
/// not, starts that process and waits for it: then there is nothing left to do in this one.
///
/// # Panics
///
/// Panics if the test fails in its process, or if this binary has no such test.
#[must_use]
pub fn is_own_process(module: &str, name: &str) -> bool {
    let path = &path(module, name);
    if env::var_os(CHILD).is_some_and(|child| child == **path) {
        return true;
    }
    let child = Command::new(env::current_exe().expect("the path of this binary"))
        .args(["--exact", path, "--nocapture"])
        .env(CHILD, path)
        .output()
        .expect("a process");
    let printed = String::from_utf8_lossy(&child.stdout);
    // What it printed, because a path that matches nothing passes too.
    let passed = child.status.success() && printed.contains("test result: ok. 1 passed");
    assert!(passed, "{printed}{}", String::from_utf8_lossy(&child.stderr));
    false
}

/// Returns a command that runs the test `name` of `module` once more, in a process that
/// [`argument`] tells `argument`. Put `before` this binary and its arguments, if that is another
/// program.
///
/// # Panics
///
/// Panics if the path of this binary is unknown.
pub fn command(
    before: &[&OsStr],
    module: &str,
    name: &str,
    argument: impl AsRef<OsStr>,
) -> Command {
    let binary = env::current_exe().expect("the path of this binary").into_os_string();
    let mut words = before.iter().map(|word| (*word).to_owned()).chain([binary]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(["--exact", &path(module, name), "--nocapture"]);
    command.env(ARGUMENT, argument);
    command
}

/// Starts such a process. What it prints is of no interest.
///
/// # Panics
///
/// Panics if it can't be started.
pub fn start(module: &str, name: &str, argument: impl AsRef<OsStr>) -> Child {
    let mut command = command(&[], module, name, argument);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process")
}

/// Returns what [`command`] told this process. Returns `None` in the process that runs all tests.
pub fn argument() -> Option<OsString> {
    env::var_os(ARGUMENT)
}

fn path(module: &str, name: &str) -> String {
    // The harness leaves the name of the crate out.
    let module = module.split_once("::").map_or("", |(_, module)| module);
    format!("{module}::{name}")
}
