//! The preamble with which a stream begins in dialect `bridge`.
//!
//! As the open azure-relay-bridge speaks it: the sender writes a version (1.0), a mode (0 is a
//! stream, 1 is datagrams) and the name of a port, after its length; the listener answers with
//! the same version and mode, and bytes flow. A listener that does not know the version, or was
//! asked for a mode that the port does not have, answers with version 0.0 and closes; one that
//! does not know the port closes without an answer.

/// The names under which kube-aad-proxy's port is known, numbers apart.
const PORT_NAMES: [&str; 2] = ["443", "https"];

/// The answer to a preamble that is understood.
pub(super) const AGREED: [u8; 3] = [1, 0, 0];

/// What a preamble turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Preamble {
    /// Bytes are missing yet.
    Incomplete,
    /// It asks for our port; the stream begins after this many bytes.
    Agreed(usize),
    /// It is refused with these bytes, if any.
    Refused(&'static [u8]),
}

/// Reads the preamble at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Preamble {
    match bytes {
        [1, 0, mode @ (0 | 1), rest @ ..] => {
            let Some((length, rest)) = rest.split_first() else {
                return Preamble::Incomplete;
            };
            let Some(name) = rest.get(..usize::from(*length)) else {
                return Preamble::Incomplete;
            };
            if !PORT_NAMES.iter().any(|known| known.as_bytes() == name) {
                return Preamble::Refused(&[]);
            }
            match mode {
                0 => Preamble::Agreed(4 + name.len()),
                _ => Preamble::Refused(&[0, 0, 255]),
            }
        }
        [_, _, _, ..] => Preamble::Refused(&[0, 0, 0]),
        _ => Preamble::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_preamble_is_agreed_to() {
        let golden: Vec<u8> = include_str!("../../../fixtures/bridge-preamble.hex")
            .lines()
            .find_map(|line| line.strip_prefix("sender: "))
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
            .collect();
        assert_eq!(golden.len(), 7);
        assert_eq!(parse(&golden), Preamble::Agreed(7));
        for end in 0..golden.len() {
            assert_eq!(parse(&golden[..end]), Preamble::Incomplete, "{end} bytes");
        }
        let with_more = [golden.as_slice(), b"\x16\x03\x01"].concat();
        assert_eq!(parse(&with_more), Preamble::Agreed(7));
    }

    #[test]
    fn both_names_of_the_port_are_known() {
        assert_eq!(parse(b"\x01\0\0\x05https"), Preamble::Agreed(9));
        assert_eq!(parse(b"\x01\0\0\x04http"), Preamble::Refused(&[]));
    }

    #[test]
    fn a_client_hello_is_no_preamble() {
        assert_eq!(parse(b"\x16\x03\x01\x02\0"), Preamble::Refused(&[0, 0, 0]));
    }

    #[test]
    fn datagrams_are_refused() {
        assert_eq!(parse(b"\x01\0\x01\x03443"), Preamble::Refused(&[0, 0, 255]));
    }
}
