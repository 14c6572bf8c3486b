//! Reads protobuf messages into the tree, by the table of Kubernetes' messages.

use std::borrow::Cow;

use cascade_proto::wire::kubernetes::{Field, Message, Shape};

use super::node::{Map, Node};
use super::time;

/// Why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// The bytes end inside a field.
    #[error("ends inside a field")]
    Truncated,
    /// More than ten bytes, or more than 64 bits.
    #[error("a number is longer than 64 bits")]
    Varint,
    /// Field number 0 or beyond 2^29.
    #[error("field number {0} is not valid")]
    FieldNumber(u64),
    /// A wire type that Kubernetes never uses.
    #[error("wire type {0} is not valid")]
    WireType(u8),
    /// A known field has another type than it should.
    #[error("holds another type than {0}")]
    Type(&'static str),
    /// A text that is not UTF-8.
    #[error("is not UTF-8")]
    Utf8,
    /// A time out of range.
    #[error("is not a time")]
    Time,
}

/// A [`Problem`] and the field it was found in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("protobuf: {}: {problem}", if path.is_empty() { "envelope" } else { path })]
pub(super) struct ProtobufError {
    path: String,
    problem: Problem,
}

impl ProtobufError {
    /// The same problem, seen from the message that has the field `name`.
    pub(super) fn within(mut self, name: &str) -> Self {
        if self.path.is_empty() {
            name.clone_into(&mut self.path);
        } else {
            self.path.insert(0, '.');
            self.path.insert_str(0, name);
        }
        self
    }
}

impl From<Problem> for ProtobufError {
    fn from(problem: Problem) -> Self {
        Self {
            path: String::new(),
            problem,
        }
    }
}

/// A field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WireField<'a> {
    /// Field number.
    pub(super) number: u32,
    /// What it holds.
    pub(super) value: WireValue<'a>,
    /// All of its bytes, number and length included.
    pub(super) encoded: &'a [u8],
}

/// The value of a [`WireField`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire types 1 and 5; Kubernetes stores no such numbers that Cascade reads.
    Fixed,
    /// Wire type 2.
    Bytes(&'a [u8]),
}

/// The fields of a message, in their order on the wire. Ends after the first error.
#[derive(Debug, Clone)]
pub(super) struct WireFields<'a> {
    rest: &'a [u8],
}

impl<'a> WireFields<'a> {
    /// The fields in these bytes.
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn next_field(&mut self) -> Result<WireField<'a>, Problem> {
        let begin = self.rest;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(Problem::FieldNumber(tag >> 3))?;
        let value = match tag & 7 {
            0 => WireValue::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                WireValue::Fixed
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
                WireValue::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                WireValue::Fixed
            }
            #[allow(clippy::cast_possible_truncation)] // three bits
            other => return Err(Problem::WireType(other as u8)),
        };
        let used = begin.len() - self.rest.len();
        Ok(WireField {
            number,
            value,
            encoded: begin.get(..used).unwrap_or_default(),
        })
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if index == 9 && *byte > 1 {
                return Err(Problem::Varint);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Problem::Truncated)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Problem::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for WireFields<'a> {
    type Item = Result<WireField<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.next_field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Reads a whole message. Fields that are not in the table are skipped.
pub(super) fn read_message<'a>(
    message: &'static Message,
    bytes: &'a [u8],
) -> Result<Map<'a>, ProtobufError> {
    let mut map = Map(Vec::with_capacity(message.fields.len()));
    read_fields_into(&mut map, message, bytes)?;
    Ok(map)
}

fn read_fields_into<'a>(
    map: &mut Map<'a>,
    message: &'static Message,
    bytes: &'a [u8],
) -> Result<(), ProtobufError> {
    for field in WireFields::new(bytes) {
        let field = field?;
        if let Some(known) = message.field(field.number) {
            read_field_into(map, known, field.value)?;
        }
    }
    Ok(())
}

/// Reads one known field into the map of the message it belongs to.
pub(super) fn read_field_into<'a>(
    map: &mut Map<'a>,
    field: &'static Field,
    value: WireValue<'a>,
) -> Result<(), ProtobufError> {
    let within = |error: ProtobufError| error.within(field.name);
    match field.shape {
        Shape::Inline(inner) => {
            return read_fields_into(map, inner, bytes_of(value).map_err(within)?).map_err(within);
        }
        Shape::TextMap => {
            let (name, text) = read_map_entry(bytes_of(value).map_err(within)?).map_err(within)?;
            entry(
                map,
                field.name,
                || Node::Map(Map::default()),
                |node| {
                    if let Node::Map(texts) = node {
                        texts.0.push((name, Node::Text(text)));
                    }
                },
            );
            return Ok(());
        }
        _ => {}
    }
    let Some(node) = read_value(field.shape, value).map_err(within)? else {
        return Ok(());
    };
    if field.repeated {
        entry(
            map,
            field.name,
            || Node::List(Vec::new()),
            |list| {
                if let Node::List(items) = list {
                    items.push(node);
                }
            },
        );
    } else {
        map.0.push((Cow::Borrowed(field.name), node));
    }
    Ok(())
}

/// Adds to the collection under `name`, which is usually the entry written last.
fn entry<'a>(
    map: &mut Map<'a>,
    name: &'static str,
    new: impl FnOnce() -> Node<'a>,
    add: impl FnOnce(&mut Node<'a>),
) {
    if let Some((_, node)) = map.0.iter_mut().rev().find(|(known, _)| known == name) {
        add(node);
        return;
    }
    let mut node = new();
    add(&mut node);
    map.0.push((Cow::Borrowed(name), node));
}

/// The value of a field; `None` for the empty text and for no time, which JSON would leave out.
fn read_value<'a>(shape: Shape, value: WireValue<'a>) -> Result<Option<Node<'a>>, ProtobufError> {
    Ok(match shape {
        Shape::Text => {
            let text = text_of(bytes_of(value)?)?;
            (!text.is_empty()).then_some(Node::Text(Cow::Borrowed(text)))
        }
        Shape::Bytes => Some(Node::Bytes(bytes_of(value)?)),
        Shape::Integer => Some(Node::Integer(varint_of(value)?.cast_signed())),
        Shape::Bool => Some(Node::Bool(varint_of(value)? != 0)),
        Shape::Message(inner) => Some(Node::Map(read_message(inner, bytes_of(value)?)?)),
        Shape::Time | Shape::MicroTime => read_time(bytes_of(value)?)?,
        Shape::IntOrString => Some(read_int_or_string(bytes_of(value)?)?),
        // Handled by the caller, for they change the map itself.
        Shape::TextMap | Shape::Inline(_) => None,
    })
}

fn read_map_entry(entry: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), ProtobufError> {
    let (mut name, mut text) = ("", "");
    for field in WireFields::new(entry) {
        let field = field?;
        match field.number {
            1 => name = text_of(bytes_of(field.value)?)?,
            2 => text = text_of(bytes_of(field.value)?)?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(text)))
}

fn read_time(message: &[u8]) -> Result<Option<Node<'static>>, ProtobufError> {
    if message.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for field in WireFields::new(message) {
        let field = field?;
        match field.number {
            1 => seconds = varint_of(field.value)?.cast_signed(),
            2 => nanos = varint_of(field.value)?.cast_signed(),
            _ => {}
        }
    }
    let time = time::from_parts(seconds, nanos).ok_or(Problem::Time)?;
    Ok(Some(Node::Time(time)))
}

fn read_int_or_string(message: &[u8]) -> Result<Node<'_>, ProtobufError> {
    let (mut is_text, mut integer, mut text) = (false, 0, "");
    for field in WireFields::new(message) {
        let field = field?;
        match field.number {
            1 => is_text = varint_of(field.value)? == 1,
            2 => integer = varint_of(field.value)?.cast_signed(),
            3 => text = text_of(bytes_of(field.value)?)?,
            _ => {}
        }
    }
    Ok(if is_text {
        Node::Text(Cow::Borrowed(text))
    } else {
        Node::Integer(integer)
    })
}

/// The bytes of a length-delimited field.
pub(super) fn bytes_of(value: WireValue<'_>) -> Result<&[u8], ProtobufError> {
    match value {
        WireValue::Bytes(bytes) => Ok(bytes),
        _ => Err(Problem::Type("bytes").into()),
    }
}

fn varint_of(value: WireValue<'_>) -> Result<u64, ProtobufError> {
    match value {
        WireValue::Varint(number) => Ok(number),
        _ => Err(Problem::Type("a number").into()),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, ProtobufError> {
    std::str::from_utf8(bytes).map_err(|_| Problem::Utf8.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_proto::wire::kubernetes;

    fn fields(bytes: &[u8]) -> Vec<Result<WireField<'_>, Problem>> {
        WireFields::new(bytes).collect()
    }

    #[test]
    fn fields_of_every_wire_type() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: 150
            0x11, 0, 0, 0, 0, 0, 0, 0, 0, // 2: fixed64
            0x1a, 2, b'h', b'i', // 3: "hi"
            0x25, 0, 0, 0, 0, // 4: fixed32
        ];
        let found: Vec<_> = WireFields::new(&bytes).map(Result::unwrap).collect();
        let numbers: Vec<u32> = found.iter().map(|field| field.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(found[0].value, WireValue::Varint(150));
        assert_eq!(found[2].value, WireValue::Bytes(b"hi"));
        let encoded: Vec<u8> = found
            .iter()
            .flat_map(|field| field.encoded)
            .copied()
            .collect();
        assert_eq!(encoded, bytes);
    }

    #[test]
    fn malformed_fields_end_the_message() {
        assert_eq!(fields(&[0x08]), [Err(Problem::Truncated)]);
        assert_eq!(fields(&[0x1a, 3, b'h']), [Err(Problem::Truncated)]);
        assert_eq!(fields(&[0x00, 0x00]), [Err(Problem::FieldNumber(0))]);
        assert_eq!(fields(&[0x0b]), [Err(Problem::WireType(3))]);
        let long = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2];
        assert_eq!(fields(&long), [Err(Problem::Varint)]);
        let longest = [0x08, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(
            fields(&longest)[0].clone().unwrap().value,
            WireValue::Varint(u64::MAX)
        );
        // A length near 2^64 must not overflow.
        let huge = [0x1a, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        assert_eq!(fields(&huge), [Err(Problem::Truncated)]);
    }

    #[test]
    fn errors_name_the_field() {
        let pod = kubernetes::kind("", "v1", "Pod").unwrap();
        // spec(2) { containers(2) { env(7): varint } }
        let bytes = [0x12, 4, 0x12, 2, 0x38, 1];
        let error = read_message(pod, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "protobuf: spec.containers.env: holds another type than bytes"
        );
    }

    #[test]
    fn inline_messages_lie_in_their_parent() {
        let pod = kubernetes::kind("", "v1", "Pod").unwrap();
        // spec(2) { volumes(1) { name(1) "v", volumeSource(2) { configMap(19) {
        //   localObjectReference(1) { name(1) "c" } } } } }
        let bytes = [
            0x12, 15, 0x0a, 13, 0x0a, 1, b'v', 0x12, 8, 0x9a, 0x01, 5, 0x0a, 3, 0x0a, 1, b'c',
        ];
        let tree = Node::Map(read_message(pod, &bytes).unwrap());
        let volume = &tree.at(&["spec", "volumes"]).unwrap().items()[0];
        assert_eq!(volume.get("name").and_then(Node::text), Some("v"));
        assert_eq!(
            volume.at(&["configMap", "name"]).and_then(Node::text),
            Some("c")
        );
    }
}
