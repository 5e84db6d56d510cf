//! How long a connection may take over the head of a request, and how long it may ask nothing. Changes when a connection
//! may wait for something else.
//!
//! hyper has one limit for both and none before it knows which HTTP a client speaks. Bodies and answers have limits of
//! their own, so nothing is timed while a request is served.
//!
//! ```text
//! idle ──first byte──▶ head ──request──▶ serving ──answer written──▶ idle
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// Between requests, and before the first.
    pub idle: Duration,
}

/// Tells a connection when it serves requests; cheap to clone.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    serving: AtomicUsize,
    begun: AtomicU64,
    opened: Instant,
    /// When the last answer was written, in nanoseconds after `opened`.
    ended: AtomicU64,
}

/// A request that is served, until dropped.
#[derive(Debug)]
pub struct Serving(Activity);

impl Activity {
    /// A request has come whole.
    pub fn begin(&self) -> Serving {
        self.0.serving.fetch_add(1, Ordering::Relaxed);
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Serving(self.clone())
    }

    fn is_serving(&self) -> bool {
        self.0.serving.load(Ordering::Acquire) > 0
    }

    fn ended(&self) -> Instant {
        self.0.opened + Duration::from_nanos(self.0.ended.load(Ordering::Relaxed))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let counts = &self.0.0;
        let ended = u64::try_from(counts.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counts.ended.fetch_max(ended, Ordering::Relaxed);
        counts.serving.fetch_sub(1, Ordering::Release);
    }
}

/// How a connection of HTTP/2 begins (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// With the preface comes a frame, whose head has this many bytes.
const FIRST_FRAME: usize = 9;

/// A connection that ends its input when its patience is over.
#[derive(Debug)]
pub struct Patient<S> {
    inner: S,
    patience: Patience,
    activity: Activity,
    phase: Phase,
    /// Requests begun when `phase` was last looked at.
    seen: u64,
    /// How much of [`PREFACE`] and the first frame has come; `None` when it is not HTTP/2.
    preface: Option<usize>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle(Instant),
    Head(Instant),
}

impl<S> Patient<S> {
    /// Watches `inner` from now on. The handle is for whoever serves the requests.
    pub fn new(inner: S, patience: Patience) -> (Self, Activity) {
        let now = Instant::now();
        let activity = Activity(Arc::new(Counts {
            serving: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            opened: now,
            ended: AtomicU64::new(0),
        }));
        let patient = Self {
            inner,
            patience,
            activity: activity.clone(),
            phase: Phase::Idle(now),
            seen: 0,
            preface: Some(0),
            timer: Box::pin(sleep_until(now + patience.idle)),
        };
        (patient, activity)
    }

    /// Requests since the last look mean that the connection is idle since the end of the last.
    fn look(&mut self) {
        let begun = self.activity.0.begun.load(Ordering::Relaxed);
        if begun != self.seen {
            self.seen = begun;
            self.phase = Phase::Idle(self.activity.ended());
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        if self.activity.is_serving() {
            return;
        }
        self.look();
        if let Some(had) = self.preface {
            let rest = PREFACE.get(had..).unwrap_or_default();
            let compared = rest.len().min(bytes.len());
            self.preface = (rest.get(..compared) == bytes.get(..compared)).then_some(had + bytes.len());
        }
        // The frames of an open HTTP/2 connection, such as answers to pings, are no head.
        if self.preface.is_some_and(|had| had >= PREFACE.len() + FIRST_FRAME) {
            if let Phase::Head(since) = self.phase {
                self.phase = Phase::Idle(since);
            }
        } else if matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(Instant::now());
        }
    }

    /// Whether patience is over; else the task is woken when it may be.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = if self.activity.is_serving() {
            // Nobody may poll when the answer has been written, so the timer has to run on.
            Instant::now() + self.patience.idle
        } else {
            self.look();
            match self.phase {
                Phase::Idle(since) => since + self.patience.idle,
                Phase::Head(since) => since + self.patience.head,
            }
        };
        // A timer that is early is left alone: it costs one look, and setting it costs a lock for each request.
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.timer.deadline() >= deadline {
                return true;
            }
            self.timer.as_mut().reset(deadline);
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.received(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Pending if this.is_over(cx) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::{advance, timeout};

    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_mins(1) };

    fn connection() -> (DuplexStream, Patient<DuplexStream>, Activity) {
        let (client, server) = duplex(1024);
        let (patient, activity) = Patient::new(server, PATIENCE);
        (client, patient, activity)
    }

    /// How many seconds pass until the input ends.
    async fn seconds_to_end(patient: &mut Patient<DuplexStream>) -> u64 {
        let begun = Instant::now();
        let mut bytes = [0; 256];
        while patient.read(&mut bytes).await.unwrap() > 0 {}
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_after_the_idle_time_and_a_head_after_its_own() {
        let (_client, mut patient, _) = connection();
        assert_eq!(seconds_to_end(&mut patient).await, 60);

        let (mut client, mut patient, _) = connection();
        client.write_all(b"POST /mcp HT").await.unwrap();
        assert_eq!(seconds_to_end(&mut patient).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn more_bytes_of_a_head_win_no_time() {
        let (mut client, mut patient, _) = connection();
        let mut bytes = [0; 64];
        for _ in 0..3 {
            client.write_all(b"X-More: yes\r\n").await.unwrap();
            assert!(patient.read(&mut bytes).await.unwrap() > 0);
            assert!(timeout(Duration::from_secs(3), patient.read(&mut bytes)).await.is_err());
        }
        assert_eq!(seconds_to_end(&mut patient).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_served_request_is_not_timed_and_starts_the_idle_time_anew() {
        let (mut client, mut patient, activity) = connection();
        client.write_all(b"POST /mcp HTTP/1.1\r\n\r\n").await.unwrap();
        let mut bytes = [0; 64];
        assert!(patient.read(&mut bytes).await.unwrap() > 0);
        let serving = activity.begin();
        {
            let reading = patient.read(&mut bytes);
            tokio::pin!(reading);
            assert!(timeout(Duration::from_hours(1), &mut reading).await.is_err());
            drop(serving);
            // Nothing polls in between but the timer itself.
            let ended = Instant::now();
            assert_eq!(reading.await.unwrap(), 0);
            assert_eq!(ended.elapsed().as_secs(), 60);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_head_is_timed_like_the_first() {
        let (mut client, mut patient, activity) = connection();
        drop(activity.begin());
        let mut bytes = [0; 64];
        assert!(timeout(Duration::from_secs(50), patient.read(&mut bytes)).await.is_err());
        client.write_all(b"P").await.unwrap();
        assert_eq!(seconds_to_end(&mut patient).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_http2_connection_may_idle_and_a_half_opened_one_may_not() {
        let (mut client, mut patient, _) = connection();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        assert_eq!(seconds_to_end(&mut patient).await, 10);

        let (mut client, mut patient, _) = connection();
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut bytes = [0; 64];
        assert!(patient.read(&mut bytes).await.unwrap() > 0);
        advance(Duration::from_secs(40)).await;
        // The answer to a ping says that the client lives, not that it asks for anything.
        client.write_all(b"\0\0\x08\x06\x01\0\0\0\0abcdefgh").await.unwrap();
        assert_eq!(seconds_to_end(&mut patient).await, 20);
    }
}
