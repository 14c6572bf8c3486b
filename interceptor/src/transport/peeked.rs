//! A look at the first bytes of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream whose first bytes were read already and are given out again.
#[derive(Debug)]
pub(crate) struct Peeked<S> {
    first: Vec<u8>,
    stream: S,
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// Waits until it is clear whether the stream begins with `expected`. Returns a stream that
    /// reads as the given one would have, and whether it does.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub(crate) async fn begins_with(
        mut stream: S,
        expected: &[u8],
    ) -> Result<(Self, bool), io::Error> {
        let mut first = Vec::with_capacity(expected.len());
        while first.len() < expected.len() && expected.starts_with(&first) {
            let left = expected.len().saturating_sub(first.len());
            let limit = u64::try_from(left).unwrap_or(u64::MAX);
            let read = (&mut stream).take(limit).read_buf(&mut first).await?;
            if read == 0 {
                break;
            }
        }
        let begins = first == expected;
        Ok((Self { first, stream }, begins))
    }
}

impl<S> Peeked<S> {
    /// The stream itself.
    pub(crate) fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.first.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let count = this.first.len().min(buffer.remaining());
        let rest = this.first.split_off(count);
        buffer.put_slice(&this.first);
        this.first = rest;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is read through a look at `sent`, which arrives in `pieces`.
    async fn look(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut client, server) = tokio::io::duplex(1024);
        let looking = tokio::spawn(async move {
            let (mut peeked, begins) = Peeked::begins_with(server, b"PRI").await.unwrap();
            let mut all = Vec::new();
            // Reads into a small buffer first.
            let mut one = [0];
            let count = peeked.read(&mut one).await.unwrap();
            all.extend_from_slice(&one[..count]);
            peeked.read_to_end(&mut all).await.unwrap();
            (all, begins)
        });
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        drop(client);
        looking.await.unwrap()
    }

    #[tokio::test]
    async fn nothing_is_lost_by_looking() {
        let cases: [(&[&[u8]], bool); 6] = [
            (&[b"PRI * HTTP/2.0"], true),
            (&[b"P", b"R", b"I", b" * "], true),
            (&[b"PRI"], true),
            (&[b"POST /v3/kv/range"], false),
            (&[b"G", b"ET /health"], false),
            (&[b"PR"], false),
        ];
        for (pieces, expected) in cases {
            assert_eq!(look(pieces).await, (pieces.concat(), expected));
        }
        assert_eq!(look(&[]).await, (Vec::new(), false));
    }
}
