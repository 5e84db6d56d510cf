//! A Unix socket that only its owner may open. Changes when such sockets are opened or guarded differently.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bridge_runtime::tasks;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client;
use crate::gateway::Gateway;

/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a socket is not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum BindError {
    #[error("somebody listens there already; choose another path or stop what uses it")]
    InUse,
    #[error("there is something that is no socket; choose another path or remove it")]
    NotASocket,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A listening socket, whose file goes with it.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds `path`. A file that a dead process left is replaced; a socket that is listened on never is.
    pub(super) async fn bind(path: PathBuf) -> Result<Self, BindError> {
        match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
            Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket),
            Ok(_) => match UnixStream::connect(&path).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Err(BindError::InUse),
            },
        }
        // Under its name only once nobody else may open it.
        let mut hidden = path.clone().into_os_string();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        let listener = UnixListener::bind(&hidden)?;
        let named = std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o600))
            .and_then(|()| std::fs::rename(&hidden, &path));
        if let Err(error) = named {
            remove(&hidden);
            return Err(error.into());
        }
        Ok(Self { listener, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts clients until `stop`; those over `max_clients` are turned away.
    pub(super) async fn accept(
        self,
        gateway: Arc<Gateway>,
        max_clients: usize,
        stop: CancellationToken,
        clients: TaskTracker,
    ) {
        let slots = Arc::new(Semaphore::new(max_clients.min(Semaphore::MAX_PERMITS)));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                gateway.metrics.connection_rejected();
                tracing::warn!(max_clients, "a local client was turned away: too many are connected");
                continue;
            };
            let (input, output) = stream.into_split();
            let served = client(Arc::clone(&gateway), stop.clone(), input, output);
            let served = async move {
                served.await;
                drop(slot);
            };
            tasks::spawn("unix-client", clients.track_future(served));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "socket file not removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("mcp-gateway-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory.join("gateway.sock")
    }

    #[tokio::test]
    async fn only_its_owner_may_open_it_and_its_file_goes_with_it() {
        let path = place("mode");
        let socket = Socket::bind(path.clone()).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let path = place("stale");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "as a killed process leaves it");
        let live = Socket::bind(path.clone()).await.unwrap();
        assert!(matches!(Socket::bind(path.clone()).await, Err(BindError::InUse)));
        assert!(UnixStream::connect(&path).await.is_ok());
        drop(live);
        std::fs::write(&path, "a file of somebody").unwrap();
        assert!(matches!(Socket::bind(path).await, Err(BindError::NotASocket)));
    }
}
