//! Tasks without which the operator is none: when one of them ends, by itself or by a panic, the process ends, and whoever
//! runs it starts another. Changes when a task may end and nothing is lost.

use std::future::Future;

use bridge_runtime::tasks;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Starts such tasks, and knows of the first that has ended.
#[derive(Debug)]
pub struct Essential {
    ended: watch::Sender<Option<&'static str>>,
}

impl Default for Essential {
    fn default() -> Self {
        Self { ended: watch::Sender::new(None) }
    }
}

impl Essential {
    /// Starts a task that ends only when the operator does.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let mark = Mark { name, ended: self.ended.clone() };
        tasks::spawn(name, async move {
            future.await;
            // A panic drops it, too.
            drop(mark);
        })
    }

    /// Waits until one has ended; gives its name.
    pub async fn ended(&self) -> &'static str {
        let mut ended = self.ended.subscribe();
        // Its other end is here.
        let first = ended.wait_for(Option::is_some).await.ok().and_then(|first| *first);
        first.unwrap_or("unknown")
    }
}

struct Mark {
    name: &'static str,
    ended: watch::Sender<Option<&'static str>>,
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.ended.send_modify(|first| {
            first.get_or_insert(self.name);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_that_ends_is_named_however_it_ends() {
        let essential = Essential::default();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serves = essential.spawn("serves", async { drop(stopped.await) });
        let panics = essential.spawn("panics", async { panic!("as a test of it") });
        assert!(panics.await.unwrap_err().is_panic());
        assert_eq!(essential.ended().await, "panics");
        drop(stop);
        serves.await.unwrap();
        assert_eq!(essential.ended().await, "panics", "whatever ends afterwards");

        let essential = Essential::default();
        essential.spawn("ends", std::future::ready(())).await.unwrap();
        assert_eq!(essential.ended().await, "ends");
    }
}
