//! The messages that Cascade reads or speaks, compiled from `proto/wire/`.
//!
//! Those of etcd and Kubernetes are subsets, and for reading only: what Cascade forwards, it forwards
//! as bytes.

pub mod kubernetes;

/// etcd's client API, version 3 (`proto/wire/etcd.proto`).
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated; documented in the .proto file
pub mod etcd {
    include!(concat!(env!("OUT_DIR"), "/etcd.rs"));
}

/// The trace server's messages (`proto/wire/mergelog.proto`), wire-compatible with the server of
/// arXiv:2411.01336. The service's client and server are there with the crate's features
/// `mergelog-client` and `mergelog-server`.
#[allow(missing_docs, clippy::all, unreachable_pub)] // generated; documented in the .proto file
pub mod mergelog {
    include!(concat!(env!("OUT_DIR"), "/k8scpdt.mergelog.v1.rs"));

    /// `mergelog.proto` and what it imports, as an encoded `google.protobuf.FileDescriptorSet`: what
    /// gRPC reflection answers from.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/mergelog.bin"));
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::mergelog::{CauseType, Cpid, FILE_DESCRIPTOR_SET, Mergelog, Span};

    fn cpid(text: &str) -> Cpid {
        Cpid {
            cpid: text.to_owned(),
        }
    }

    /// Written by hand from the table of field numbers: tag = number << 3 | wire type.
    #[test]
    fn mergelogs_have_the_wire_form_of_the_authors_server() {
        let mergelog = Mergelog {
            new_cpid: Some(cpid("n")),
            source_cpids: vec![cpid("a"), cpid("b")],
            time: Some(prost_types::Timestamp {
                seconds: 1,
                nanos: 2,
            }),
            cause_type: CauseType::Merge.into(),
            cause_message: "m".to_owned(),
            by: "c".to_owned(),
        };
        let mut expected = Vec::new();
        expected.extend(b"\x0a\x03\x0a\x01n");
        expected.extend(b"\x12\x03\x0a\x01a\x12\x03\x0a\x01b");
        expected.extend(b"\x1a\x04\x08\x01\x10\x02");
        expected.extend(b"\x20\x02");
        expected.extend(b"\x2a\x01m\x32\x01c");
        assert_eq!(mergelog.encode_to_vec(), expected);
        assert_eq!(Mergelog::decode(expected.as_slice()).unwrap(), mergelog);
    }

    #[test]
    fn spans_have_the_wire_form_of_the_authors_server() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let span = Span {
            cpid: Some(cpid("n")),
            start_time: time(1),
            end_time: time(2),
            service: "s".to_owned(),
            object_kind: "k".to_owned(),
            object_name: "o".to_owned(),
            message: "m".to_owned(),
            span_id: "i".to_owned(),
            parent_id: "p".to_owned(),
        };
        let mut expected = Vec::new();
        expected.extend(b"\x0a\x03\x0a\x01n\x12\x02\x08\x01\x1a\x02\x08\x02");
        expected.extend(b"\x22\x01s\x2a\x01k\x32\x01o\x3a\x01m\x42\x01i\x4a\x01p");
        assert_eq!(span.encode_to_vec(), expected);
    }

    #[test]
    fn the_descriptor_has_the_service_and_what_it_imports() {
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let names: Vec<_> = files.file.iter().map(|file| file.name()).collect();
        assert_eq!(names.last(), Some(&"mergelog.proto"));
        assert!(names.contains(&"google/protobuf/timestamp.proto"));
        let service = files.file.last().unwrap().service.first().unwrap();
        assert_eq!(service.method.len(), 8);
    }
}
