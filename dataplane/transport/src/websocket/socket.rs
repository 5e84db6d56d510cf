//! The two halves of an open connection. Changes when the WebSocket library does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{self, CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::pulse::Pulse;
use super::{Closing, Direction, Kind, Meter, Role, Settings};

/// Buffers of an idle connection; both grow with the message and shrink again.
const BUFFER: usize = 4 * 1024;
/// What pings carry.
const PING: &[u8] = b"keepalive";
/// How long a peer may take to take a close message, and then to close itself.
const CLOSE: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The connection was lost.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Two pings in a row were not answered.
    #[error("the peer shows no sign of life")]
    Silent,
    /// The peer's message is too large.
    #[error("a message of {size} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size, as far as it is known.
        size: usize,
        /// The limit.
        max: usize,
    },
    /// The peer broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// A text that is no UTF-8, from the peer or for it.
    #[error("a text message must be UTF-8")]
    NotText,
}

impl SocketError {
    /// What to tell the peer.
    pub fn closing(&self) -> Closing {
        match self {
            Self::TooLarge { .. } => Closing::TooLarge,
            Self::Protocol(_) => Closing::Protocol,
            Self::NotText => Closing::NotText,
            Self::Lost(_) | Self::Silent => Closing::Away,
        }
    }
}

impl From<Error> for SocketError {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Self::TooLarge { size, max: max_size }
            }
            Error::Utf8(_) => Self::NotText,
            Error::Capacity(_) | Error::Protocol(_) | Error::AttackAttempt => {
                Self::Protocol(error.to_string())
            }
            error => Self::Lost(error.to_string()),
        }
    }
}

/// The half that reads.
pub struct Reader<S> {
    stream: SplitStream<WebSocketStream<S>>,
    pulse: Arc<Pulse>,
    meter: Option<Arc<dyn Meter>>,
}

/// The half that writes.
pub struct Writer<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
    pulse: Arc<Pulse>,
    meter: Option<Arc<dyn Meter>>,
    beats: Interval,
}

/// Takes over a stream whose handshake is done.
pub async fn split<S>(stream: S, role: Role, settings: Settings) -> (Reader<S>, Writer<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message));
    let role = match role {
        Role::Client => protocol::Role::Client,
        Role::Server => protocol::Role::Server,
    };
    let socket = WebSocketStream::from_raw_socket(stream, role, Some(config)).await;
    let (sink, stream) = socket.split();
    let pulse = Arc::new(Pulse::default());
    let Settings { ping_interval, meter, .. } = settings;
    let mut beats = interval_at(tokio::time::Instant::now() + ping_interval, ping_interval);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { stream, pulse: Arc::clone(&pulse), meter: meter.clone() };
    (reader, Writer { sink, pulse, meter, beats })
}

fn kind_of(message: &Message) -> Kind {
    match message {
        Message::Text(_) => Kind::Text,
        Message::Binary(_) | Message::Frame(_) => Kind::Binary,
        Message::Ping(_) => Kind::Ping,
        Message::Pong(_) => Kind::Pong,
        Message::Close(_) => Kind::Close,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    /// The next text; `None` when the peer has closed. Pings are answered, other messages are passed over.
    pub async fn next(&mut self) -> Result<Option<Bytes>, SocketError> {
        self.pulse.listen();
        while let Some(message) = self.stream.next().await {
            let message = message?;
            let kind = kind_of(&message);
            if let Some(meter) = &self.meter {
                meter.count(Direction::Inbound, kind, message.len());
            }
            self.pulse.hear();
            match message {
                Message::Text(text) => return Ok(Some(text.into())),
                Message::Binary(_) | Message::Frame(_) => {
                    tracing::debug!(bytes = message.len(), "binary message ignored");
                }
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
            }
            self.pulse.listen();
        }
        Ok(None)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Writer<S> {
    /// Queues a text; it is written at the latest by [`Writer::flush`]. Waits for a peer that reads slowly.
    pub async fn feed(&mut self, text: Bytes) -> Result<(), SocketError> {
        let text = Utf8Bytes::try_from(text).map_err(|_| SocketError::NotText)?;
        self.put(Message::Text(text)).await
    }

    /// Writes what is queued.
    pub async fn flush(&mut self) -> Result<(), SocketError> {
        let flushed = self.sink.flush();
        while_alive(flushed, &self.pulse, &mut self.beats).await
    }

    /// Waits until a ping is due and sends it. May be dropped at any time.
    pub async fn beat(&mut self) -> Result<(), SocketError> {
        self.beats.tick().await;
        if !self.pulse.beat() {
            return Err(SocketError::Silent);
        }
        self.put(Message::Ping(Bytes::from_static(PING))).await?;
        self.flush().await
    }

    async fn say_goodbye(&mut self, why: Closing, reason: &str) {
        let code = match why {
            Closing::Normal => CloseCode::Normal,
            Closing::Away => CloseCode::Away,
            Closing::Protocol => CloseCode::Protocol,
            Closing::NotText => CloseCode::Invalid,
            Closing::TooLarge => CloseCode::Size,
            Closing::Policy => CloseCode::Policy,
        };
        let message = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        self.count(&message);
        match tokio::time::timeout(CLOSE, self.sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "close message not written"),
            Err(_) => tracing::debug!("close message not taken"),
        }
    }

    async fn put(&mut self, message: Message) -> Result<(), SocketError> {
        self.count(&message);
        let put = self.sink.feed(message);
        while_alive(put, &self.pulse, &mut self.beats).await
    }

    fn count(&self, message: &Message) {
        if let Some(meter) = &self.meter {
            meter.count(Direction::Outbound, kind_of(message), message.len());
        }
    }
}

/// Says why this end closes, to a peer that may not listen any more, and gives it a moment to read that: a socket that is
/// closed while input waits takes back what it has written.
pub async fn close<S>(reader: Reader<S>, mut writer: Writer<S>, why: Closing, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    writer.say_goodbye(why, reason).await;
    let Ok(socket) = reader.stream.reunite(writer.sink) else { return };
    let mut stream = socket.into_inner();
    let parting = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // Whatever comes of it, the connection is over.
    drop(tokio::time::timeout(LINGER, parting).await);
}

/// Waits for a write, unless the peer is lost meanwhile.
async fn while_alive(
    write: impl Future<Output = Result<(), Error>>,
    pulse: &Pulse,
    beats: &mut Interval,
) -> Result<(), SocketError> {
    tokio::pin!(write);
    loop {
        tokio::select! {
            biased;
            written = &mut write => return Ok(written?),
            _ = beats.tick() => {
                if !pulse.beat() {
                    return Err(SocketError::Silent);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<(Direction, Kind, usize)>>);

    impl Meter for Log {
        fn count(&self, direction: Direction, kind: Kind, bytes: usize) {
            self.0.lock().push((direction, kind, bytes));
        }
    }

    fn settings(max_message: usize) -> Settings {
        Settings { max_message, ping_interval: Duration::from_secs(30), meter: None }
    }

    async fn pair(max_message: usize) -> [(Reader<DuplexStream>, Writer<DuplexStream>); 2] {
        let (client, server) = duplex(1024);
        let settings = settings(max_message);
        let client = split(client, Role::Client, settings.clone()).await;
        [client, split(server, Role::Server, settings).await]
    }

    async fn send(writer: &mut Writer<DuplexStream>, text: &'static str) {
        writer.feed(Bytes::from_static(text.as_bytes())).await.unwrap();
        writer.flush().await.unwrap();
    }

    #[tokio::test]
    async fn texts_arrive_whole_and_in_order_until_the_close() {
        let [(client, mut to_server), (mut server, _writer)] = pair(100).await;
        send(&mut to_server, "{\"a\":1}").await;
        to_server.put(Message::Binary(Bytes::from_static(b"ignored"))).await.unwrap();
        send(&mut to_server, "{}").await;
        let read = async {
            assert_eq!(server.next().await.unwrap().unwrap(), "{\"a\":1}");
            assert_eq!(server.next().await.unwrap().unwrap(), "{}");
            assert!(server.next().await.unwrap().is_none());
        };
        tokio::join!(close(client, to_server, Closing::Normal, ""), read);
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_an_error_that_says_so() {
        let [(_client, mut to_server), (mut server, _writer)] = pair(10).await;
        send(&mut to_server, "0123456789").await;
        send(&mut to_server, "01234567890").await;
        assert_eq!(server.next().await.unwrap().unwrap(), "0123456789");
        let error = server.next().await.unwrap_err();
        assert!(matches!(error, SocketError::TooLarge { max: 10, .. }), "{error}");
        assert_eq!(error.closing(), Closing::TooLarge);
    }

    #[tokio::test]
    async fn what_is_no_text_is_not_sent() {
        let [(_client, mut to_server), _server] = pair(10).await;
        assert!(matches!(to_server.feed(Bytes::from_static(b"\xff")).await, Err(SocketError::NotText)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_answers_pings_stays_and_one_that_does_not_is_given_up() {
        let (client, server) = duplex(1024);
        let log = Arc::new(Log::default());
        let metered = Settings { meter: Some(log.clone()), ..settings(100) };
        let (mut server, mut writer) = split(server, Role::Server, metered).await;
        let (mut client, _to_server) = split(client, Role::Client, settings(100)).await;
        let serving = async {
            loop {
                tokio::select! {
                    beat = writer.beat() => beat.unwrap(),
                    read = server.next() => drop(read.unwrap()),
                }
            }
        };
        let an_hour = tokio::time::sleep(Duration::from_hours(1));
        tokio::select! {
            () = serving => unreachable!(),
            read = client.next() => panic!("{read:?}"),
            () = an_hour => {}
        }
        let counted = log.0.lock().clone();
        assert!(counted.contains(&(Direction::Outbound, Kind::Ping, PING.len())));
        assert!(counted.contains(&(Direction::Inbound, Kind::Pong, PING.len())));
        // From now on nobody reads at the other end.
        let begun = tokio::time::Instant::now();
        let lost = loop {
            tokio::select! {
                beat = writer.beat() => if let Err(error) = beat { break error },
                read = server.next() => drop(read.unwrap()),
            }
        };
        assert!(matches!(lost, SocketError::Silent));
        assert!(begun.elapsed() <= Duration::from_mins(2));
    }
}
