//! [`FileCredentials`]: files, as Docker and Kubernetes mount secrets.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{client_credentials::Credentials, source::CredentialsSource};
use crate::error::BoxError;

/// Credentials from a file or a pair of files, read anew each time they are needed.
///
/// Surrounding white space (the newline that an editor left, a byte order mark) is dropped. The files are read on
/// Tokio's blocking threads; one larger than 64 KiB is refused. A secret mounted by Kubernetes changes by an atomic
/// switch of a directory, so the id and the secret of a pair come from the same version but in the moment of that
/// switch; a refresh that meets it is refused by the endpoint and the next one reads both anew.
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
#[derive(Clone, Debug)]
pub struct FileCredentials(Files);

#[derive(Clone, Debug)]
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
    /// One file that holds the client id and one that holds the secret.
    pub fn pair(client_id: impl Into<PathBuf>, client_secret: impl Into<PathBuf>) -> Self {
        Self(Files::Pair(client_id.into(), client_secret.into()))
    }

    /// A fixed client id, and a file that holds the secret.
    pub fn secret(client_id: impl Into<String>, client_secret: impl Into<PathBuf>) -> Self {
        Self(Files::Secret(client_id.into(), client_secret.into()))
    }

    /// One JSON file with `clientId` and `clientSecret`.
    pub fn json(path: impl Into<PathBuf>) -> Self {
        Self(Files::Json(path.into()))
    }
}

impl CredentialsSource for FileCredentials {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        let files = self.0.clone();
        tokio::task::spawn_blocking(move || files.read()).await?
    }
}

impl Files {
    fn read(&self) -> Result<Credentials, BoxError> {
        match self {
            Self::Pair(id, secret) => Ok(Credentials::new(
                trimmed(&read(id)?),
                SecretString::from(trimmed(&read(secret)?)),
            )),
            Self::Secret(id, secret) => {
                Ok(Credentials::new(id, SecretString::from(trimmed(&read(secret)?))))
            }
            Self::Json(path) => {
                // The parser's message may quote what it read, so only its place is passed on.
                let Json { client_id, client_secret } =
                    serde_json::from_str(trimmed(&read(path)?)).map_err(|error| {
                        format!(
                            "{} is not JSON with the strings clientId and clientSecret (line {}, column {})",
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

const MAX_FILE_SIZE: usize = 64 * 1024;

fn read(path: &Path) -> Result<Zeroizing<String>, BoxError> {
    let failed = |error: std::io::Error| format!("can't read {}: {error}", path.display());
    // Room for the largest file at once: a buffer that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE_SIZE + 1));
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_SIZE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE_SIZE {
        return Err(format!(
            "{} is larger than {MAX_FILE_SIZE} bytes; is it the right file?",
            path.display()
        )
        .into());
    }
    let text =
        std::str::from_utf8(&bytes).map_err(|_| format!("{} is not UTF-8", path.display()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
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
    async fn files_are_trimmed_and_read_anew_when_asked() {
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
