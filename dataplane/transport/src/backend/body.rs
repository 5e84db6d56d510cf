//! Reading a backend's answer: whole when it is short, else its beginning, so that the rest can pass as it comes.
//!
//! Changes when answers are held differently.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::frontend::request::ReadError;

/// What was read of a body.
#[derive(Debug)]
pub enum Beginning {
    /// All of it.
    Whole(Bytes),
    /// As much as is held; the rest is still to come.
    Part(Rest),
}

/// A body whose beginning was read.
#[derive(Debug)]
pub struct Rest {
    begun: Bytes,
    body: Incoming,
}

/// Reads until the end, or until there is more than `hold` bytes. A body that came in one piece is not copied.
pub async fn begin(mut body: Incoming, hold: usize) -> Result<Beginning, ReadError> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while first.len() + more.len() <= hold {
        let Some(frame) = body.frame().await else {
            return Ok(Beginning::Whole(if more.is_empty() { first } else { more.freeze() }));
        };
        let Ok(data) = frame.map_err(|_| ReadError::Aborted)?.into_data() else { continue };
        if first.is_empty() && more.is_empty() {
            first = data;
            continue;
        }
        more.extend_from_slice(&std::mem::take(&mut first));
        more.extend_from_slice(&data);
    }
    let begun = if more.is_empty() { first } else { more.freeze() };
    Ok(Beginning::Part(Rest { begun, body }))
}

impl Rest {
    /// The whole body, of at most `max` bytes.
    pub async fn collect(self, max: usize) -> Result<Bytes, ReadError> {
        let mut all = BytesMut::from(&*self.begun);
        let mut body = self.body;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| ReadError::Aborted)?.into_data() else { continue };
            if all.len() + data.len() > max {
                return Err(ReadError::TooLarge(max));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

impl Body for Rest {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.begun.is_empty() {
            return Pin::new(&mut self.body).poll_frame(cx);
        }
        Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.begun)))))
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (begun, rest) = (self.begun.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + begun);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + begun);
        }
        hint
    }
}
