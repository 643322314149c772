//! Reads a few fields out of an encoded message, without decoding the rest.

/// Appends the routing key of a message: the values of the fields that a row names, each with its
/// length before it, so that different values never make the same key.
///
/// Each field is a path of field numbers from the message down. Of several elements on the way the
/// first counts, of several values at its end the last, and an empty value counts as missing, as
/// in proto3. `false`, with nothing appended, when every field is missing or when the bytes that
/// had to be read are no message.
pub fn route_key(fields: &[&[u32]], message: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut present = false;
    for field in fields {
        let Ok(value) = find(field, message) else {
            out.truncate(start);
            return false;
        };
        present |= !value.is_missing();
        value.append(out);
    }
    if !present {
        out.truncate(start);
    }
    present
}

/// The bytes are no message.
struct Malformed;

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Value<'_> {
    const MISSING: Self = Self::Bytes(&[]);

    fn is_missing(self) -> bool {
        matches!(self, Self::Number(0) | Self::Bytes([]))
    }

    fn append(self, out: &mut Vec<u8>) {
        let number;
        let bytes = match self {
            Self::Number(0) => &[],
            Self::Number(value) => {
                number = value.to_le_bytes();
                number.as_slice()
            }
            Self::Bytes(bytes) => bytes,
        };
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

fn find<'a>(path: &[u32], message: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let Some((&last, parents)) = path.split_last() else {
        return Ok(Value::MISSING);
    };
    let mut message = message;
    for &parent in parents {
        match first_message(parent, message)? {
            Some(element) => message = element,
            None => return Ok(Value::MISSING),
        }
    }
    last_value(last, message)
}

fn first_message(number: u32, message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut reader = Reader(message);
    while let Some((found, value)) = reader.field()? {
        if let Value::Bytes(element) = value
            && found == number
        {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

fn last_value(number: u32, message: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut reader = Reader(message);
    let mut last = Value::MISSING;
    while let Some((found, value)) = reader.field()? {
        if found == number {
            last = value;
        }
    }
    Ok(last)
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field that has a value; groups are passed over.
    fn field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        let mut open_groups = 0_usize;
        while !self.0.is_empty() {
            let (number, wire_type) = self.key()?;
            let value = match wire_type {
                0 => Value::Number(self.varint()?),
                1 => Value::Number(u64::from_le_bytes(self.array()?)),
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                    Value::Bytes(self.take(length)?)
                }
                3 => {
                    open_groups += 1;
                    continue;
                }
                4 => {
                    open_groups = open_groups.checked_sub(1).ok_or(Malformed)?;
                    continue;
                }
                5 => Value::Number(u32::from_le_bytes(self.array()?).into()),
                _ => return Err(Malformed),
            };
            if open_groups == 0 {
                return Ok(Some((number, value)));
            }
        }
        if open_groups == 0 {
            Ok(None)
        } else {
            Err(Malformed)
        }
    }

    fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            if shift == 63 && byte > 1 {
                return Err(Malformed);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }
}
