//! Reads protobuf messages in place: fields as slices of the read buffer, nothing copied.
//!
//! The generated types of `cascade_proto::wire::etcd` own what they hold; the observer looks at a
//! few numbers and keys of messages that consist of values for the most part.

use thiserror::Error;

/// Bytes that are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("malformed protobuf message")]
pub(super) struct Malformed;

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, boolean or enum.
    Integer(u64),
    /// A string, bytes, or message.
    Bytes(&'a [u8]),
    /// A number of fixed width, which none of the messages read here has.
    Fixed,
}

impl<'a> Value<'a> {
    /// As a signed integer.
    ///
    /// # Errors
    /// [`Malformed`] if it is of another type.
    pub(super) fn int64(self) -> Result<i64, Malformed> {
        // Negative numbers are sent in two's complement.
        self.uint64().map(u64::cast_signed)
    }

    /// As an unsigned integer.
    ///
    /// # Errors
    /// [`Malformed`] if it is of another type.
    pub(super) fn uint64(self) -> Result<u64, Malformed> {
        match self {
            Self::Integer(integer) => Ok(integer),
            Self::Bytes(_) | Self::Fixed => Err(Malformed),
        }
    }

    /// As bytes.
    ///
    /// # Errors
    /// [`Malformed`] if it is of another type.
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Integer(_) | Self::Fixed => Err(Malformed),
        }
    }

    /// As a message.
    ///
    /// # Errors
    /// [`Malformed`] if it is of another type.
    pub(super) fn message(self) -> Result<Fields<'a>, Malformed> {
        self.bytes().map(Fields)
    }
}

/// The fields of a message, in the order sent: number and value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next field, `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`]; nothing more can be read then.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Integer(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed), // groups, which proto3 does not have
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for (position, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            if position == 9 && bits > 1 {
                return Err(Malformed); // more than 64 bits
            }
            value |= bits << (7 * position);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(position + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let mut fields = Fields(bytes);
        let mut all = Vec::new();
        while let Some(field) = fields.next()? {
            all.push(field);
        }
        Ok(all)
    }

    #[test]
    fn every_wire_type_is_read_or_skipped() {
        let bytes = [
            0x08, 0x96, 0x01, // 1: 150
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x1d, 1, 2, 3, 4, // 3: four bytes
            0x21, 1, 2, 3, 4, 5, 6, 7, 8, // 4: eight bytes
            0x82, 0x04, 0x00, // 64: ""
        ];
        assert_eq!(
            fields(&bytes),
            Ok(vec![
                (1, Value::Integer(150)),
                (2, Value::Bytes(b"hi")),
                (3, Value::Fixed),
                (4, Value::Fixed),
                (64, Value::Bytes(b"")),
            ])
        );
    }

    #[test]
    fn negative_integers_take_ten_bytes() {
        let bytes = [
            0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ];
        assert_eq!(fields(&bytes).unwrap()[0].1.int64(), Ok(-1));
    }

    #[test]
    fn broken_messages_are_refused() {
        for bytes in [
            &[0x08][..],               // no value
            &[0x08, 0x80],             // value cut off
            &[0x12, 0x05, b'h', b'i'], // string cut off
            &[0x00, 0x00],             // field 0
            &[0x0b],                   // group
            &[
                0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02,
            ], // 65 bits
            &[
                0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01,
            ], // 11 bytes
        ] {
            assert_eq!(fields(bytes), Err(Malformed), "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
