//! [`FileCredentials`]: files, as Docker and Kubernetes mount secrets.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::SecretString;
use serde::Deserialize;

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::{
    error::BoxError,
    reader::{Read, Reader, read, trimmed},
};

/// Credentials from one file or a pair of files.
///
/// - The files are read each time a token is requested, on a thread of the source's own. Clones
///   share it. A read that blocks, as of a FIFO without a writer or of a mount whose server is
///   gone, occupies that one thread, and no further read starts until it ends. It holds up neither
///   Tokio's blocking threads nor the end of the process.
/// - White space around the content of a file is dropped, such as the newline that an editor left.
///   A byte order mark at its start is dropped too.
/// - A file larger than 64 KiB is refused, and so is one that is empty or not UTF-8. The error
///   names the file and shows nothing of its content.
/// - While a file is missing, half-written or blocked, it is tried again about once a second, as
///   long as somebody needs a token.
///
/// # A pair that changes while it is read
///
/// Kubernetes updates a mounted secret by an atomic switch of a directory. A read during that
/// switch can take the id of one version and the secret of the other. The endpoint refuses such a
/// pair, and both files are read again before the next attempt.
///
/// # Examples
///
/// ```
/// use tower_reauth::credentials::FileCredentials;
///
/// // Kubernetes: one file per key of the secret.
/// let pair = FileCredentials::pair("/etc/send/client-id", "/etc/send/client-secret");
/// // Docker: only the secret is secret.
/// let docker = FileCredentials::secret("my-client-id", "/run/secrets/send_client_secret");
/// // One JSON file, {"clientId": "...", "clientSecret": "..."}.
/// let json = FileCredentials::json("/etc/send/credentials.json");
/// # let _ = (pair, docker, json);
/// ```
#[derive(Clone)]
pub struct FileCredentials(Reader<Files, Credentials>);

#[derive(Debug)]
enum Files {
    Pair(PathBuf, PathBuf),
    Secret(String, PathBuf),
    Json(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    client_id: String,
    client_secret: SecretString,
}

impl FileCredentials {
    fn new(files: Files) -> Self {
        let read = |files: &Files| -> Read<Credentials> {
            files.read().map_err(|error| Arc::from(error.to_string()))
        };
        Self(Reader::new(files, read))
    }

    /// Creates a source from one file that holds the client id and one that holds the secret.
    pub fn pair(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self::new(Files::Pair(client_id.into(), client_secret.into()))
    }

    /// Creates a source from a fixed client id and a file that holds the secret.
    pub fn secret(client_id: impl Into<String>, client_secret: impl Into<PathBuf>) -> Self {
        Self::new(Files::Secret(client_id.into(), client_secret.into()))
    }

    /// Creates a source from one JSON file with the strings `clientId` and `clientSecret`.
    ///
    /// Other fields are ignored.
    pub fn json(path: impl Into<PathBuf>) -> Self {
        Self::new(Files::Json(path.into()))
    }
}

impl CredentialsSource for FileCredentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        self.0.read().await.map_err(|error| BoxError::from(&*error))
    }
}

impl fmt::Debug for FileCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileCredentials").field(self.0.from()).finish()
    }
}

/// Returns the content of a file without what an editor adds to it.
fn line<'a>(path: &Path, text: &'a str) -> Result<&'a str, BoxError> {
    trimmed(path, text, "the credentials")
}

impl Files {
    fn read(&self) -> Result<Credentials, BoxError> {
        match self {
            Self::Pair(id, secret) => Ok(Credentials::new(
                line(id, &read(id)?)?,
                SecretString::from(line(secret, &read(secret)?)?),
            )),
            Self::Secret(id, secret) => {
                Ok(Credentials::new(id, SecretString::from(line(secret, &read(secret)?)?)))
            }
            Self::Json(path) => {
                // The parser's message may quote the secret, so only its position is passed on.
                let Json { client_id, client_secret } =
                    serde_json::from_str(line(path, &read(path)?)?).map_err(|error| {
                        format!(
                            "{} is not JSON with the strings clientId and clientSecret; correct \
                             it at line {}, column {}",
                            path.display(),
                            error.line(),
                            error.column(),
                        )
                    })?;
                Ok(Credentials::new(client_id, client_secret))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn id_and_secret(source: &FileCredentials) -> (String, String) {
        let credentials = source.credentials().await.unwrap();
        (credentials.client_id().to_owned(), credentials.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn files_are_trimmed_and_read_again_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
        fs::write(&id, "\u{feff}my-id\r\n").unwrap();
        fs::write(&secret, "  s3 cret\n\n").unwrap();
        let source = FileCredentials::pair(&id, &secret);
        assert_eq!(id_and_secret(&source).await, ("my-id".into(), "s3 cret".into()));
        fs::write(&secret, "rotated\n").unwrap();
        assert_eq!(id_and_secret(&source).await, ("my-id".into(), "rotated".into()));
        assert_eq!(
            id_and_secret(&FileCredentials::secret("fixed", &secret)).await,
            ("fixed".into(), "rotated".into())
        );
    }

    #[tokio::test]
    async fn one_json_file_holds_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        fs::write(&path, r#"{"clientId": "id", "clientSecret": "secret", "note": 1}"#).unwrap();
        assert_eq!(
            id_and_secret(&FileCredentials::json(&path)).await,
            ("id".into(), "secret".into())
        );
    }

    #[tokio::test]
    async fn a_bad_file_is_named_and_its_content_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let oversized = vec![b'x'; 70_000];
        for content in [
            &b"hunter2"[..],
            br#"{"clientId": "hunter2"}"#,
            br#""hunter2""#,
            b"hunter2\xff",
            b" \n",
            br#"{"clientId": "id", "clientSecret": "hunt"#,
            &oversized,
        ] {
            fs::write(&path, content).unwrap();
            let error = FileCredentials::json(&path).credentials().await.unwrap_err();
            assert!(error.to_string().contains("credentials.json"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
        let missing =
            FileCredentials::json(folder.path().join("none")).credentials().await.unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }
}
