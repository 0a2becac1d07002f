//! [`file()`]: an assertion that somebody else writes to a file.

use std::{fmt, path::PathBuf};

use secrecy::SecretString;

use super::source::{AssertionAsk, AssertionSource};
use crate::{error::BoxError, reader::SecretFile};

/// Creates a source from a file that holds an assertion, such as the projected service account
/// token of Kubernetes that a cloud takes for the client (workload identity).
///
/// - The file is read each time an assertion is sent, so a rotated one is used from the next
///   refresh on. It is read on a thread of the source's own, as
///   [`FileCredentials`](crate::credentials::FileCredentials) does.
/// - White space around the assertion and a byte order mark are dropped.
/// - A file larger than 64 KiB is refused, and so is one that is empty or not UTF-8. The error
///   names the file and shows nothing of its content.
///
/// # Examples
///
/// ```
/// use tower_reauth::assertion;
///
/// // Azure names the file in `AZURE_FEDERATED_TOKEN_FILE`, AWS in `AWS_WEB_IDENTITY_TOKEN_FILE`.
/// let source = assertion::file("/var/run/secrets/azure/tokens/azure-identity-token");
/// # let _ = source;
/// ```
pub fn file(path: impl Into<PathBuf>) -> FileAssertion {
    FileAssertion(SecretFile::new(path.into(), "the assertion"))
}

/// The source that [`file()`] creates. Clones share its thread.
#[derive(Clone)]
pub struct FileAssertion(SecretFile);

impl AssertionSource for FileAssertion {
    async fn assertion(&self, _ask: &AssertionAsk<'_>) -> Result<SecretString, BoxError> {
        self.0.read().await
    }

    async fn changed(&self) -> bool {
        self.0.has_changed().await
    }
}

impl fmt::Debug for FileAssertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileAssertion").field(&self.0.path()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::UNIX_EPOCH};

    use http::Uri;
    use secrecy::ExposeSecret;

    use super::*;

    async fn ask(source: &FileAssertion) -> Result<String, String> {
        let uri = Uri::from_static("https://login.example.com/token");
        let asked = source.assertion(&AssertionAsk::new("me", &uri, UNIX_EPOCH)).await;
        asked.map(|it| it.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_file_is_read_anew_each_time_and_trimmed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = file(&path);
        assert!(ask(&source).await.unwrap_err().contains("token can't be read"));
        assert!(!source.changed().await);
        fs::write(&path, "\u{feff} first.jwt.x\r\n").unwrap();
        assert!(source.changed().await, "there is one now");
        assert_eq!(ask(&source).await.unwrap(), "first.jwt.x");
        assert!(!source.changed().await);
        fs::write(&path, "second.jwt.x").unwrap();
        assert!(source.changed().await);
        assert_eq!(ask(&source).await.unwrap(), "second.jwt.x");
    }

    #[tokio::test]
    async fn a_bad_file_is_named_and_its_content_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = file(&path);
        for content in [&b"hunter2\xff"[..], b" \n", &b"hunter2".repeat(10_000)] {
            fs::write(&path, content).unwrap();
            let error = ask(&source).await.unwrap_err();
            assert!(error.contains("token") && !error.contains("hunter2"), "{error}");
        }
        fs::write(&path, "hunter2").unwrap();
        assert!(ask(&source).await.is_ok());
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
