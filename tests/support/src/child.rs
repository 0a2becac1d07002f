//! Tests of what a whole process does, each of which runs in a process of its own.

use std::{env, process::Command};

const CHILD: &str = "TOWER_REAUTH_TEST_CHILD";

/// Returns whether this process is the one of the test `name` of `module`, a `module_path!()`. If
/// not, starts that process and waits for it: then there is nothing left to do in this one.
///
/// # Panics
///
/// Panics if the test fails in its process, or if this binary has no such test.
#[must_use]
pub fn is_own_process(module: &str, name: &str) -> bool {
    // The harness leaves the name of the crate out.
    let module = module.split_once("::").map_or("", |(_, module)| module);
    let path = &format!("{module}::{name}");
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
