//! What fuzz targets need beyond [`ConnectionObserver`](super::ConnectionObserver). Not an API: it
//! may change at any time, and nothing that runs in production uses it.

use super::ObserverMetrics;
use super::hpack::{HpackDecoder, Name};

/// The header decoder of one direction, so that it can be compared with another one.
#[derive(Debug, Default)]
pub struct HeaderBlocks {
    decoder: HpackDecoder,
}

/// A field of interest: its name and its value. `None` if its entry of the table was lost.
pub type HeaderField = Option<(&'static str, Vec<u8>)>;

impl HeaderBlocks {
    /// Whether fields of this name are of interest; others are not given by [`read`](Self::read).
    #[must_use]
    pub fn reads(name: &[u8]) -> bool {
        Name::of(name) != Name::Other
    }

    /// The fields of interest of the next block, in order.
    ///
    /// # Errors
    /// Why the block cannot be decoded.
    pub fn read(&mut self, block: &[u8]) -> Result<Vec<HeaderField>, String> {
        let mut fields = Vec::new();
        let mut invalid_value = None;
        let mut scratch = Vec::new();
        let decoded = self.decoder.decode(block, |field| {
            let name = match field.name {
                Name::Path => ":path",
                Name::Status => ":status",
                Name::ContentType => "content-type",
                Name::GrpcTimeout => "grpc-timeout",
                Name::GrpcStatus => "grpc-status",
                Name::Traceparent => "traceparent",
                Name::Baggage => "baggage",
                Name::Other => return,
                Name::Unknown => return fields.push(None),
            };
            match field.value.decode(&mut scratch) {
                Ok(value) => fields.push(Some((name, value.to_vec()))),
                Err(error) => invalid_value = Some(error.to_string()),
            }
        });
        decoded.map_err(|error| error.to_string())?;
        match invalid_value {
            Some(error) => Err(error),
            None => Ok(fields),
        }
    }
}

/// Open calls, and bytes of memory held for calls, of all observers that share `metrics`.
#[must_use]
pub fn held(metrics: &ObserverMetrics) -> (i64, i64) {
    (metrics.open_calls.get(), metrics.buffered_bytes.get())
}
