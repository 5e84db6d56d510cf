//! A minimal HTTP/1.1 client: one connection, one exchange at a time, hardly any work per call.
//! Changes when an answer may be framed in a way that it cannot read.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer larger than this is not one of ours.
const LARGEST_RESPONSE: usize = 4 << 20;

/// Where a server listens and which path is called.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    /// An endpoint on this machine.
    pub(crate) fn local(port: u16, path: &str) -> Self {
        Self { host: "127.0.0.1".into(), port, path: path.into() }
    }

    /// The same server, another path.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// `host:port`, as in the `Host` header.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The path and query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

impl FromStr for Endpoint {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let uri: http::Uri = text.parse().with_context(|| format!("{text:?} is not a URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{text:?} must start with http://");
        let host = uri.host().context("a URL needs a host")?.to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), path })
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    unchunked: Vec<u8>,
}

/// An answer, borrowed from its connection's buffer.
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Response<'_> {
    /// The value of a header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }
}

#[cfg(test)]
impl<'a> Response<'a> {
    /// An answer with a plain body, written out.
    pub(crate) fn for_tests(text: &'a str) -> Self {
        let (head, body) = text.as_bytes().split_at(text.find("\r\n\r\n").map_or(0, |end| end + 4));
        Self { status: status(head).unwrap(), head, body }
    }
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .with_context(|| format!("cannot connect to {}", endpoint.authority()))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(4096), unchunked: Vec::new() })
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.stream.write_all(request).await.context("cannot send")?;
        self.received.clear();
        let parsed = loop {
            self.receive().await?;
            if let Some(parsed) = parse(&self.received, &mut self.unchunked)? {
                break parsed;
            }
        };
        ensure!(
            parsed.consumed == self.received.len(),
            "{} bytes follow the answer that nobody asked for",
            self.received.len() - parsed.consumed
        );
        let head = self.received.get(..parsed.head).unwrap_or_default();
        let body = match parsed.body {
            Body::Plain(range) => self.received.get(range).unwrap_or_default(),
            Body::Chunked => &self.unchunked,
        };
        Ok(Response { status: parsed.status, head, body })
    }

    /// Sends a request whose answer stays open, and reads its head only.
    pub(crate) async fn open_stream(&mut self, request: &[u8]) -> Result<Response<'_>> {
        self.stream.write_all(request).await.context("cannot send")?;
        self.received.clear();
        let end = loop {
            self.receive().await?;
            if let Some(end) = memmem::find(&self.received, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = self.received.get(..end).unwrap_or_default();
        Ok(Response { status: status(head)?, head, body: &[] })
    }

    async fn receive(&mut self) -> Result<()> {
        ensure!(self.received.len() < LARGEST_RESPONSE, "the answer is larger than {LARGEST_RESPONSE} bytes");
        let count = self.stream.read_buf(&mut self.received).await.context("cannot receive")?;
        ensure!(count > 0, "the peer closed the connection after {} bytes of an answer", self.received.len());
        Ok(())
    }
}

#[derive(Debug)]
struct Parsed {
    status: u16,
    head: usize,
    body: Body,
    consumed: usize,
}

#[derive(Debug)]
enum Body {
    Plain(Range<usize>),
    Chunked,
}

/// Reads one answer off the front of `input`; `None` when more bytes must come. Chunked bodies are put together in
/// `unchunked`.
fn parse(input: &[u8], unchunked: &mut Vec<u8>) -> Result<Option<Parsed>> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    let head_end = end + 4;
    let (head, rest) = input.split_at(head_end);
    let status = status(head)?;
    if header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(unchunk(rest, unchunked)?.map(|length| Parsed {
            status,
            head: head_end,
            body: Body::Chunked,
            consumed: head_end + length,
        }));
    }
    let length = match header(head, "content-length") {
        Some(value) => value.parse().with_context(|| format!("content-length {value:?}"))?,
        None if status == 204 => 0usize,
        None => bail!("an answer with status {status} has neither content-length nor chunks"),
    };
    Ok((rest.len() >= length).then(|| Parsed {
        status,
        head: head_end,
        body: Body::Plain(head_end..head_end + length),
        consumed: head_end + length,
    }))
}

fn status(head: &[u8]) -> Result<u16> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok())
        .and_then(|code| code.parse().ok())
        .with_context(|| format!("not an HTTP/1.1 status line: {:?}", String::from_utf8_lossy(line)))
}

fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value.trim_ascii()).ok())?
    })
}

/// Puts the chunks together; the number of bytes read when the last chunk is there.
fn unchunk(input: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>> {
    body.clear();
    let mut at = 0;
    loop {
        let rest = input.get(at..).unwrap_or_default();
        let Some(line_end) = memmem::find(rest, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(rest.get(..line_end).unwrap_or_default()).context("a chunk size")?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
        ensure!(size <= LARGEST_RESPONSE, "a chunk of {size} bytes");
        let start = line_end + 2;
        let Some(chunk) = rest.get(start..start + size + 2) else { return Ok(None) };
        let (data, terminator) = chunk.split_at(size);
        ensure!(
            terminator == b"\r\n",
            "a chunk is longer than its size says, or trailers follow the last one"
        );
        at += start + size + 2;
        if size == 0 {
            return Ok(Some(at));
        }
        body.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(input: &[u8]) -> (u16, Vec<u8>, usize) {
        let mut unchunked = Vec::new();
        let parsed = parse(input, &mut unchunked).unwrap().expect("complete");
        let body = match parsed.body {
            Body::Plain(range) => input[range].to_vec(),
            Body::Chunked => unchunked,
        };
        (parsed.status, body, parsed.consumed)
    }

    #[test]
    fn an_answer_is_complete_at_its_last_byte_and_not_before() {
        let answers: [&[u8]; 3] = [
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n",
        ];
        for answer in answers {
            for cut in 0..answer.len() {
                assert!(parse(&answer[..cut], &mut Vec::new()).unwrap().is_none(), "cut at {cut}");
            }
            let (status, body, consumed) = whole(answer);
            assert_eq!(consumed, answer.len());
            assert_eq!(body, if status == 204 { b"".to_vec() } else { b"hello".to_vec() });
        }
    }

    #[test]
    fn broken_framing_is_an_error() {
        for answer in [
            "HTTP/1.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        ] {
            assert!(parse(answer.as_bytes(), &mut Vec::new()).is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_header_name_is_compared_whole_and_in_any_case() {
        let head = b"HTTP/1.1 200 OK\r\nX-Content-Length: 9\r\nMCP-session-ID:  abc \r\n\r\n";
        assert_eq!(header(head, "Mcp-Session-Id"), Some("abc"));
        assert_eq!(header(head, "content-length"), None);
    }

    #[test]
    fn urls_are_read_and_shown() {
        let endpoint: Endpoint = "http://127.0.0.1:81/mcp/a?b=c".parse().unwrap();
        assert_eq!((endpoint.authority().as_str(), endpoint.path()), ("127.0.0.1:81", "/mcp/a?b=c"));
        assert_eq!(endpoint.with_path("/x").to_string(), "http://127.0.0.1:81/x");
        assert!("https://localhost/".parse::<Endpoint>().is_err());
        assert!("localhost:80".parse::<Endpoint>().is_err());
    }
}
