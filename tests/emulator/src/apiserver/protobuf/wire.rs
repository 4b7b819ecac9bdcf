//! Protobuf's wire format: numbered fields, one after the other.

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    /// A varint, or the bits of a fixed number.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u64,
    /// What it holds.
    pub(super) value: Wire<'a>,
}

/// The fields of a message. After an error there are no more.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Result<Field<'_>, String>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match field(rest) {
            Ok((field, after)) => {
                rest = after;
                Some(Ok(field))
            }
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn field(bytes: &[u8]) -> Result<(Field<'_>, &[u8]), String> {
    let (key, rest) = varint(bytes)?;
    let (value, rest) = match key & 7 {
        0 => {
            let (number, rest) = varint(rest)?;
            (Wire::Number(number), rest)
        }
        1 => {
            let (bits, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
            (Wire::Number(u64::from_le_bytes(*bits)), rest)
        }
        2 => {
            let (length, rest) = varint(rest)?;
            let length = usize::try_from(length).map_err(|_| cut_short())?;
            let (bytes, rest) = rest.split_at_checked(length).ok_or_else(cut_short)?;
            (Wire::Bytes(bytes), rest)
        }
        5 => {
            let (bits, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
            (Wire::Number(u32::from_le_bytes(*bits).into()), rest)
        }
        other => return Err(format!("proto: illegal wire type {other}")),
    };
    let number = key >> 3;
    Ok((Field { number, value }, rest))
}

/// Reads a varint and returns what follows it.
pub(super) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), String> {
    let mut number: u64 = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((number, &bytes[index + 1..]));
        }
    }
    Err(cut_short())
}

fn cut_short() -> String {
    "unexpected EOF".to_owned()
}
