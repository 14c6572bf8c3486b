//! Which pages to read, and how large, to have seen every key once.
//!
//! etcd limits a range by number of keys, not by bytes, and values differ: some bytes for a lease,
//! 1.5 MB for a ConfigMap. Values of one resource are alike, though. So the keyspace is read one
//! resource at a time: a small page shows where the next resource begins, then pages of that
//! resource grow while its values stay small. Bounding the range to one resource also spares etcd,
//! which counts all keys of the range for every page.

/// Keys in the first page of a resource.
const FIRST_LIMIT: i64 = 16;

/// Most keys in a page: with values of 1.5 MB, etcd's default limit, a page that meets nothing
/// else has 375 MB. What kubectl asks for is 500.
const MAX_LIMIT: i64 = 250;

/// How much larger than the last page the next one may be.
const GROWTH: i64 = 4;

/// Bound of a range that has no end, as etcd writes it.
const NO_END: &[u8] = b"\0";

/// A range to read: keys from `key` on, before `range_end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// First key.
    pub(super) key: Vec<u8>,
    /// First key that is not part of it; a single zero byte for no end.
    pub(super) range_end: Vec<u8>,
    /// Most keys to return.
    pub(super) limit: i64,
}

/// What a page had in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageSummary<'a> {
    /// Its last key; `None` for an empty page.
    pub(super) last_key: Option<&'a [u8]>,
    /// Size of its largest key and value together, bytes.
    pub(super) largest: usize,
    /// Whether the range has more keys.
    pub(super) more: bool,
}

/// Walks the keyspace.
#[derive(Debug)]
pub(super) struct PagePlanner {
    next: Option<PageRequest>,
    page_bytes: usize,
}

impl PagePlanner {
    /// Starts at the first key. Pages should not have more than `page_bytes` bytes.
    #[must_use]
    pub(super) fn new(page_bytes: usize) -> Self {
        Self {
            next: Some(PageRequest {
                key: NO_END.to_vec(),
                range_end: NO_END.to_vec(),
                limit: FIRST_LIMIT,
            }),
            page_bytes,
        }
    }

    /// The page to read; `None` when everything has been read.
    #[must_use]
    pub(super) fn request(&self) -> Option<&PageRequest> {
        self.next.as_ref()
    }

    /// Goes on after the requested page was read.
    pub(super) fn page_read(&mut self, page: PageSummary<'_>) {
        let Some(request) = self.next.take() else {
            return;
        };
        let whole_rest = request.range_end == NO_END;
        self.next = match page.last_key {
            Some(last_key) if page.more => Some(PageRequest {
                key: successor(last_key),
                range_end: match end_of_resource(last_key) {
                    Some(end) if whole_rest => end,
                    _ => request.range_end,
                },
                limit: self.next_limit(request.limit, page.largest),
            }),
            _ if whole_rest => None,
            // The resource has been read; look for the next one.
            _ => Some(PageRequest {
                key: request.range_end,
                range_end: NO_END.to_vec(),
                limit: FIRST_LIMIT,
            }),
        };
    }

    fn next_limit(&self, limit: i64, largest: usize) -> i64 {
        let fitting = self.page_bytes / largest.max(1);
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
        fitting.clamp(1, MAX_LIMIT.min(limit.saturating_mul(GROWTH)))
    }
}

/// The first key after `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    let mut successor = Vec::with_capacity(key.len() + 1);
    successor.extend_from_slice(key);
    successor.push(0);
    successor
}

/// The first key after all keys of the same resource: `/registry/pods/a/b` → `/registry/pods0`,
/// `0` being the character after `/`. `None` when the key does not have that form.
fn end_of_resource(key: &[u8]) -> Option<Vec<u8>> {
    // Some distributions keep Kubernetes' keys without a leading slash.
    let slashes = if key.first() == Some(&b'/') { 3 } else { 2 };
    let (index, _) = key
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .nth(slashes - 1)?;
    let mut end = key.get(..index)?.to_vec();
    end.push(b'/' + 1);
    Some(end)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Reads a keyspace as etcd would answer; returns the keys in the order read, and the number of
    /// bytes in each page.
    fn read_all(
        keyspace: &BTreeMap<Vec<u8>, usize>,
        page_bytes: usize,
    ) -> (Vec<Vec<u8>>, Vec<usize>) {
        let mut planner = PagePlanner::new(page_bytes);
        let mut keys = Vec::new();
        let mut sizes = Vec::new();
        while let Some(request) = planner.request() {
            let in_range = keyspace
                .range(request.key.clone()..)
                .filter(|(key, _)| request.range_end == NO_END || **key < request.range_end);
            let limit = usize::try_from(request.limit).unwrap();
            let page: Vec<_> = in_range.clone().take(limit).collect();
            let more = in_range.count() > page.len();
            keys.extend(page.iter().map(|(key, _)| (*key).clone()));
            sizes.push(page.iter().map(|(key, size)| key.len() + **size).sum());
            planner.page_read(PageSummary {
                last_key: page.last().map(|(key, _)| key.as_slice()),
                largest: page
                    .iter()
                    .map(|(key, size)| key.len() + **size)
                    .max()
                    .unwrap_or(0),
                more,
            });
        }
        (keys, sizes)
    }

    fn resource(name: &str, count: usize, bytes: usize) -> impl Iterator<Item = (Vec<u8>, usize)> {
        let name = name.to_owned();
        (0..count).map(move |index| {
            (
                format!("/registry/{name}/ns/{index:06}").into_bytes(),
                bytes,
            )
        })
    }

    #[test]
    fn an_empty_keyspace_is_one_page() {
        let (keys, pages) = read_all(&BTreeMap::new(), 1 << 20);
        assert_eq!((keys.len(), pages.len()), (0, 1));
    }

    #[test]
    fn many_small_values_take_few_pages() {
        let keyspace = resource("leases", 10_000, 300).collect();
        let (keys, pages) = read_all(&keyspace, 2 << 20);
        assert_eq!(keys.len(), 10_000);
        assert!(pages.len() < 60, "{} pages", pages.len());
    }

    #[test]
    fn large_values_of_another_resource_do_not_come_in_a_large_page() {
        let keyspace = resource("configmaps", 1_000, 300)
            .chain(resource("secrets", 100, 1_500_000))
            .collect();
        let (keys, pages) = read_all(&keyspace, 2 << 20);
        assert_eq!(keys.len(), 1_100);
        let largest = pages.iter().max().unwrap();
        assert!(*largest <= 16 * 1_500_100, "a page of {largest} bytes");
    }

    #[test]
    fn resources_end_where_the_next_character_begins() {
        let end =
            |key: &str| end_of_resource(key.as_bytes()).map(|end| String::from_utf8(end).unwrap());
        assert_eq!(
            end("/registry/pods/a/b").as_deref(),
            Some("/registry/pods0")
        );
        assert_eq!(end("/registry/pods/").as_deref(), Some("/registry/pods0"));
        assert_eq!(
            end("kubernetes.io/pods/a").as_deref(),
            Some("kubernetes.io/pods0")
        );
        assert_eq!(end("/registry/health"), None);
        assert_eq!(end("compact_rev_key"), None);
        assert_eq!(end(""), None);
    }

    proptest! {
        /// Whatever the keys are, each is read once, in order.
        #[test]
        fn every_key_is_read_once(
            keys in prop::collection::btree_map(
                "[/a-c\u{0}]{1,8}".prop_map(String::into_bytes),
                0_usize..5_000,
                0..200,
            ),
            page_bytes in 0_usize..20_000,
        ) {
            let (read, _) = read_all(&keys, page_bytes);
            let expected: Vec<_> = keys.into_keys().collect();
            prop_assert_eq!(read, expected);
        }
    }
}
