//! HTTP/1.1 down to the byte: sends exactly what it is told and reads what comes. Changes when tests need to send or see
//! something new on the wire.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::PATIENCE;

/// Bodies larger than this are a runaway server, not an answer.
const MAX_BODY: usize = 64 << 20;

/// An `http://` address split into what a socket and a request line need.
#[derive(Debug, Clone)]
pub struct Url {
    /// `host:port`, as in the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Url {
    /// Splits `http://host:port/path`.
    pub fn parse(text: &str) -> Result<Self> {
        let rest = text.strip_prefix("http://").with_context(|| format!("not an http:// address: {text}"))?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self { authority: authority.to_owned(), path: path.to_owned() })
    }
}

/// Status line and headers of a response.
#[derive(Debug, Clone)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Headers in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The media type without parameters.
    pub fn media_type(&self) -> Option<&str> {
        self.header("content-type").map(|value| value.split(';').next().unwrap_or(value).trim())
    }

    fn framing(&self) -> Result<Framing> {
        if self.status < 200 || self.status == 204 || self.status == 304 {
            return Ok(Framing::Done);
        }
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Framing::Chunked { left: 0, first: true });
        }
        match self.header("content-length") {
            Some(length) => Ok(Framing::Length(length.trim().parse().context("content-length")?)),
            None => Ok(Framing::UntilClose),
        }
    }
}

/// A complete response.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status and headers.
    pub head: Head,
    /// The body with its transfer coding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; the error quotes it.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!("status {}, body {:?}", self.head.status, String::from_utf8_lossy(&self.body))
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Done,
    Length(usize),
    Chunked { left: usize, first: bool },
    UntilClose,
}

/// One TCP connection. Nothing is added to what the caller sends.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    framing: Framing,
}

impl Connection {
    /// Connects; every later read fails after [`PATIENCE`] without a byte.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("connecting to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), framing: Framing::Done })
    }

    /// Another handle on the socket, to close it while somebody else reads.
    pub fn handle(&self) -> Result<TcpStream> {
        self.stream.try_clone().context("another handle on a socket")
    }

    /// Takes over an open stream with the timeouts that it has.
    pub fn adopt(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), framing: Framing::Done }
    }

    /// Gives the stream away, with what was read of it and not looked at.
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Connects to the authority of a URL.
    pub fn open_url(url: &Url) -> Result<Self> {
        use std::net::ToSocketAddrs as _;
        let address = url.authority.to_socket_addrs().ok().and_then(|mut all| all.find(SocketAddr::is_ipv4));
        Self::open(address.with_context(|| format!("no IPv4 address for {}", url.authority))?)
    }

    /// Changes how long a read waits for a byte.
    pub fn set_patience(&self, patience: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(patience)).context("read timeout")
    }

    /// Sends these bytes and nothing else.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")
    }

    /// Closes the sending half; the other side sees the end of input.
    pub fn half_close(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("half close")
    }

    /// Reads status line and headers of whatever comes first, an informational (1xx) answer included.
    pub fn read_first_head(&mut self) -> Result<Head> {
        let head = self.read_any_head()?;
        self.framing = head.framing()?;
        Ok(head)
    }

    /// Reads status line and headers, stepping over informational (1xx) ones.
    pub fn read_head(&mut self) -> Result<Head> {
        loop {
            let head = self.read_any_head()?;
            if head.status >= 200 {
                self.framing = head.framing()?;
                return Ok(head);
            }
        }
    }

    /// The next piece of the current body, `None` at its end. A body cut short is an error.
    pub fn read_piece(&mut self) -> Result<Option<Vec<u8>>> {
        match self.framing {
            Framing::Done | Framing::Length(0) => {
                self.framing = Framing::Done;
                Ok(None)
            }
            Framing::Length(left) => {
                let piece = self.take(left)?;
                self.framing = Framing::Length(left - piece.len());
                Ok(Some(piece))
            }
            Framing::Chunked { left: 0, first } => {
                if !first {
                    self.read_line()?;
                }
                let line = self.read_line()?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let left = usize::from_str_radix(size, 16).with_context(|| format!("chunk size {line:?}"))?;
                if left == 0 {
                    while !self.read_line()?.is_empty() {}
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                self.framing = Framing::Chunked { left, first: false };
                self.read_piece()
            }
            Framing::Chunked { left, first } => {
                let piece = self.take(left)?;
                self.framing = Framing::Chunked { left: left - piece.len(), first };
                Ok(Some(piece))
            }
            Framing::UntilClose => {
                if self.buffer.is_empty() && !self.fill()? {
                    self.framing = Framing::Done;
                    return Ok(None);
                }
                Ok(Some(std::mem::take(&mut self.buffer)))
            }
        }
    }

    /// The rest of the current body.
    pub fn read_body(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(piece) = self.read_piece()? {
            body.extend_from_slice(&piece);
            ensure!(body.len() <= MAX_BODY, "the body has more than {MAX_BODY} bytes");
        }
        Ok(body)
    }

    /// One whole response.
    pub fn read_response(&mut self) -> Result<Response> {
        let head = self.read_head()?;
        Ok(Response { head, body: self.read_body()? })
    }

    /// Whatever comes next, raw; `None` at the end of the connection.
    pub fn read_some(&mut self) -> Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && !self.fill()? {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.buffer)))
    }

    /// Whether the other side closed the connection, cleanly or by a reset, instead of sending another byte. Waits for
    /// either to happen.
    pub fn is_closed_by_peer(&mut self) -> Result<bool> {
        if !self.buffer.is_empty() {
            return Ok(false);
        }
        let mut byte = [0];
        match self.stream.peek(&mut byte) {
            Ok(read) => Ok(read == 0),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Ok(true)
            }
            Err(error) => Err(error).context("waiting for the connection to close"),
        }
    }

    fn read_any_head(&mut self) -> Result<Head> {
        let status_line = self.read_line().context("reading the status line")?;
        let mut words = status_line.splitn(3, ' ');
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        ensure!(version.starts_with("HTTP/1."), "not an HTTP response: {status_line:?}");
        let status = status.parse().with_context(|| format!("status line {status_line:?}"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(Head { status, headers });
            }
            let (name, value) = line.split_once(':').with_context(|| format!("header line {line:?}"))?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    fn read_line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            ensure!(self.buffer.len() < 1 << 20, "a header line of more than 1 MiB");
            if !self.fill()? {
                bail!(
                    "the connection ended inside a line, after {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
            }
        }
    }

    fn take(&mut self, at_most: usize) -> Result<Vec<u8>> {
        if self.buffer.is_empty() && !self.fill()? {
            bail!("the connection ended {at_most} bytes before the end of the body or chunk");
        }
        let count = at_most.min(self.buffer.len());
        Ok(self.buffer.drain(..count).collect())
    }

    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; 16 << 10];
        let read = self.stream.read(&mut chunk).context("waiting for bytes")?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Ok(read > 0)
    }
}

/// The bytes of a request with a `Host` header, a `Content-Length` when there is a body or the method is POST, and the
/// given headers in order.
pub fn request_bytes(method: &str, url: &Url, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.path, url.authority);
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request on a connection of its own.
pub fn request(method: &str, url: &Url, headers: &[(&str, &str)], body: &[u8]) -> Result<Response> {
    let mut connection = Connection::open_url(url)?;
    connection.send(&request_bytes(method, url, headers, body))?;
    connection.read_response()
}

/// GET of an address, on a connection of its own.
pub fn get(url: &str) -> Result<Response> {
    request("GET", &Url::parse(url)?, &[], b"")
}
