//! What was said already: a post that is repeated, after a lost answer say, is stored once.

use std::collections::HashSet;
use std::hash::Hasher;

use cascade_proto::tables::{Mergelog, Moment, SentMoment, Span};
use siphasher::sip128::{Hasher128, SipHasher13};
use uuid::Uuid;

/// A row that is told from others by what was sent, and not by when it arrived.
pub(super) trait Content {
    /// Feeds what was sent to a hash. The same feeds the same, and nothing else does.
    fn feed(&self, hash: &mut ContentHasher);
}

/// Hash of a row's content: 16 bytes, so that among any number of rows that memory has room for no
/// two have the same by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ContentHash(u128);

/// A hash under construction.
pub(super) struct ContentHasher(SipHasher13);

impl ContentHasher {
    fn text(&mut self, text: &str) {
        self.0.write_u64(text.len() as u64);
        self.0.write(text.as_bytes());
    }

    fn optional_text(&mut self, text: Option<&String>) {
        self.0.write_u8(text.is_some().into());
        self.text(text.map_or("", String::as_str));
    }

    fn moment(&mut self, moment: Option<Moment>) {
        self.0.write_u8(moment.is_some().into());
        self.0
            .write_i64(moment.map_or(0, |moment| moment.unix_nano));
    }
}

impl Content for Mergelog {
    fn feed(&self, hash: &mut ContentHasher) {
        hash.text(&self.new_cpid);
        // A set: senders that keep one give its members in any order.
        let mut sources: Vec<&str> = self.source_cpids.iter().map(String::as_str).collect();
        sources.sort_unstable();
        hash.0.write_u64(sources.len() as u64);
        for source in sources {
            hash.text(source);
        }
        hash.moment(self.sent.map(|SentMoment(moment)| moment));
        hash.text(self.cause_type.as_str());
        hash.optional_text(self.cause_message.as_ref());
        hash.optional_text(self.reported_by.as_ref());
    }
}

impl Content for Span {
    fn feed(&self, hash: &mut ContentHasher) {
        hash.text(&self.cpid);
        hash.moment(self.start);
        hash.moment(self.end);
        for text in [
            &self.service,
            &self.object_kind,
            &self.object_name,
            &self.message,
            &self.span_id,
            &self.parent_id,
        ] {
            hash.optional_text(text.as_ref());
        }
    }
}

/// The content of every row that is stored.
pub(super) struct Known {
    /// Of this process: nobody outside can make two contents collide.
    key: [u8; 16],
    hashes: HashSet<ContentHash>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            key: Uuid::new_v4().into_bytes(),
            hashes: HashSet::new(),
        }
    }
}

impl Known {
    /// The hash of a row's content.
    pub(super) fn hash(&self, row: &impl Content) -> ContentHash {
        let mut hash = ContentHasher(SipHasher13::new_with_key(&self.key));
        row.feed(&mut hash);
        ContentHash(hash.0.finish128().as_u128())
    }

    pub(super) fn contains(&self, hash: ContentHash) -> bool {
        self.hashes.contains(&hash)
    }

    pub(super) fn insert(&mut self, hash: ContentHash) {
        self.hashes.insert(hash);
    }

    /// Forgets everything, and gives the memory back.
    pub(super) fn clear(&mut self) {
        self.hashes = HashSet::new();
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Bytes in memory: a hash, and the table's byte for its place.
    pub(super) fn memory_bytes(&self) -> usize {
        self.hashes.capacity() * (size_of::<ContentHash>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use cascade_proto::tables::CauseType;

    use super::*;

    fn mergelog() -> Mergelog {
        Mergelog {
            new_cpid: "n".to_owned(),
            source_cpids: vec!["a".to_owned(), "b".to_owned()],
            sent: Some(SentMoment(Moment { unix_nano: 1 })),
            cause_type: CauseType::Merge,
            cause_message: None,
            reported_by: Some("c".to_owned()),
            received: Moment { unix_nano: 2 },
            instance: "i".to_owned(),
        }
    }

    #[test]
    fn only_what_was_sent_counts() {
        let known = Known::default();
        let same = |other: &Mergelog| known.hash(&mergelog()) == known.hash(other);
        assert!(same(&mergelog()));
        assert!(same(&Mergelog {
            received: Moment { unix_nano: 3 },
            instance: "j".to_owned(),
            source_cpids: vec!["b".to_owned(), "a".to_owned()],
            ..mergelog()
        }));
        let different = [
            Mergelog {
                new_cpid: "m".to_owned(),
                ..mergelog()
            },
            Mergelog {
                source_cpids: vec!["ab".to_owned()],
                ..mergelog()
            },
            Mergelog {
                source_cpids: vec!["a".to_owned(), "b".to_owned(), "b".to_owned()],
                ..mergelog()
            },
            Mergelog {
                sent: None,
                ..mergelog()
            },
            Mergelog {
                cause_type: CauseType::NewChange,
                ..mergelog()
            },
            Mergelog {
                cause_message: Some("c".to_owned()),
                reported_by: None,
                ..mergelog()
            },
        ];
        for other in different {
            assert!(!same(&other), "{other:?}");
        }
    }
}
