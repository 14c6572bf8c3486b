//! One direction of a connection: reads from a source, lets the bytes be inspected, writes to a sink.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Largest number of bytes that a direction holds because its sink does not take them.
pub const MAXIMUM_BACKLOG: usize = 64 * 1024;

/// Reads of one direction before the other one has its turn.
const READS_PER_TURN: usize = 8;

thread_local! {
    /// The buffer that all connections of this thread read into. A poll that begins with it ends
    /// with it, so one is enough, and an idle connection has none.
    static SCRATCH: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// Sees the bytes of one direction and may change what goes on.
pub(super) trait Inspect {
    /// Called with bytes read at `read`, which is just now; what it returns is written.
    fn before_write<'a>(&mut self, bytes: &'a [u8], read: Instant) -> Cow<'a, [u8]>;
    /// Called when the sink has taken the last of the bytes that were read at `read`, and before
    /// [`Self::after_write`] if it takes them at once.
    fn delivered(&mut self, read: Instant);
    /// Called with the same bytes once they were offered to the sink.
    fn after_write(&mut self, bytes: &[u8]);
}

/// How a direction ended.
#[derive(Debug)]
pub(super) enum End {
    /// The source ended, everything was delivered, and the sink was told.
    Complete,
    /// The source failed, for example by a reset.
    SourceLost(io::Error),
    /// The sink failed.
    SinkLost(io::Error),
}

/// State of one direction.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    backlog: Vec<u8>,
    /// How much of the backlog is written.
    written: usize,
    /// When the backlog was read, if it was read.
    backlog_read: Option<Instant>,
    source_ended: bool,
    needs_flush: bool,
}

impl Transfer {
    /// Whether everything read so far was given to the sink.
    pub(super) fn is_drained(&self) -> bool {
        self.backlog.is_empty() && !self.needs_flush
    }

    /// Whether the source may have more.
    pub(super) fn is_open(&self) -> bool {
        !self.source_ended
    }

    /// Adds bytes behind everything read so far.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
    }

    /// Moves bytes until source or sink are not ready.
    pub(super) fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        inspect: &mut impl Inspect,
    ) -> Poll<End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..READS_PER_TURN {
            if let Err(error) = ready!(self.poll_backlog(context, sink)) {
                return Poll::Ready(End::SinkLost(error));
            }
            if let Some(read) = self.backlog_read.take() {
                inspect.delivered(read);
            }
            if self.source_ended {
                return match ready!(Pin::new(sink).poll_shutdown(context)) {
                    Ok(()) => Poll::Ready(End::Complete),
                    Err(error) => Poll::Ready(End::SinkLost(error)),
                };
            }
            match self.poll_once(context, source, sink, inspect) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => {
                    return match self.poll_flush(context, sink) {
                        Poll::Ready(Err(error)) => Poll::Ready(End::SinkLost(error)),
                        Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
        // There may be more: come back after the other direction.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and writes what the sink takes.
    fn poll_once<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        inspect: &mut impl Inspect,
    ) -> Poll<Result<(), End>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = SCRATCH
            .take()
            .unwrap_or_else(|| vec![0; MAXIMUM_BACKLOG].into_boxed_slice());
        let mut buffer = ReadBuf::new(&mut scratch);
        let result = match Pin::new(source).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(End::SourceLost(error))),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.source_ended = true;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Ok(())) => {
                let read = Instant::now();
                let bytes = buffer.filled();
                let outgoing = inspect.before_write(bytes, read);
                let result = self.write(context, sink, &outgoing);
                if !self.backlog.is_empty() {
                    self.backlog_read = Some(read);
                } else if result.is_ok() {
                    inspect.delivered(read);
                }
                inspect.after_write(bytes);
                Poll::Ready(result.map_err(End::SinkLost))
            }
        };
        SCRATCH.set(Some(scratch));
        result
    }

    /// Offers `bytes` to the sink; what it does not take becomes the backlog.
    fn write<W>(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut W,
        bytes: &[u8],
    ) -> Result<(), io::Error>
    where
        W: AsyncWrite + Unpin,
    {
        let mut rest = bytes;
        while !rest.is_empty() {
            match Pin::new(&mut *sink).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.needs_flush = true;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {
                    self.backlog = rest.to_vec();
                    self.written = 0;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes the backlog. Ready when there is none.
    fn poll_backlog<W>(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<Result<(), io::Error>>
    where
        W: AsyncWrite + Unpin,
    {
        loop {
            let rest = self.backlog.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                // Gives the memory back: a connection that was slow once may be idle from now on.
                self.backlog = Vec::new();
                self.written = 0;
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut *sink).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.needs_flush = true;
                    self.written += count;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Flushes the sink if something was written since the last time; streams with a buffer of
    /// their own, such as TLS, hold it back otherwise.
    fn poll_flush<W>(
        &mut self,
        context: &mut Context<'_>,
        sink: &mut W,
    ) -> Poll<Result<(), io::Error>>
    where
        W: AsyncWrite + Unpin,
    {
        if !self.needs_flush {
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(sink).poll_flush(context))?;
        self.needs_flush = false;
        Poll::Ready(Ok(()))
    }
}
