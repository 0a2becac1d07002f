//! The store of the fleet, and its server if there is one.

use std::{
    env,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tower_reauth::{TokenEndpoint, cache::TokenCacheBuilder, store::FileStore};

pub(crate) struct Server {
    /// The URL of the server, or a directory.
    pub(crate) url: String,
    process: Option<Child>,
    _folder: TempDir,
}

impl Server {
    pub(crate) fn files() -> Self {
        let folder = TempDir::new().unwrap();
        let url = folder.path().join("store").display().to_string();
        Self { url, process: None, _folder: folder }
    }

    /// Starts the program that `variable` names. Returns `None` if there is none, or if this bench
    /// was built without the store.
    pub(crate) fn start(variable: &str, program: &str) -> Option<Self> {
        if cfg!(not(feature = "redis")) {
            return None;
        }
        let program = env::var(variable).unwrap_or_else(|_| program.to_owned());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().ok()?;
        let server = Self {
            url: format!("redis://127.0.0.1:{port}"),
            process: Some(process),
            _folder: folder,
        };
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// Has the cache share its token through the store at `url`.
pub(crate) fn share<E: TokenEndpoint>(
    builder: TokenCacheBuilder<E>,
    url: &str,
) -> TokenCacheBuilder<E> {
    #[cfg(feature = "redis")]
    if url.starts_with("redis://") {
        return builder.shared(tower_reauth::store::RedisStore::connect(url).unwrap());
    }
    builder.shared(FileStore::open(url).unwrap())
}
