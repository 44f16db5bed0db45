//! Messages of nfnetlink: a header, `struct nfgenmsg`, attributes. Numbers in attributes are big-endian.

use nix::libc::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR};

/// Bytes of `struct nlmsghdr` and of `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERAL: usize = 4;

const NESTED: u16 = 0x8000;
const KIND: u16 = 0x3fff;

/// Messages put together.
#[derive(Default)]
pub(in crate::net) struct Messages {
    bytes: Vec<u8>,
    begin: usize,
    /// How many answers they ask for.
    pub(in crate::net) answers: usize,
}

impl Messages {
    /// Begins a message: subsystem and type, flags beside `NLM_F_REQUEST`, family, `res_id`.
    pub(in crate::net) fn begin(&mut self, kind: u16, flags: i32, family: u8, resource: u16) -> &mut Self {
        self.begin = self.bytes.len();
        let flags = u16::try_from(NLM_F_REQUEST | flags).unwrap_or(0);
        self.answers += usize::from(i32::from(flags) & NLM_F_ACK != 0 || i32::from(flags) & NLM_F_DUMP == NLM_F_DUMP);
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend([0; 8]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.close()
    }

    /// Adds an attribute.
    pub(in crate::net) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.close()
    }

    /// Adds text, with the zero that ends it.
    pub(in crate::net) fn text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.put(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// Adds an attribute that holds others.
    pub(in crate::net) fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NESTED).to_ne_bytes());
        inside(self);
        let length = u16::try_from(self.bytes.len() - at).unwrap_or(u16::MAX);
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.close()
    }

    /// Writes the length of the message so far.
    fn close(&mut self) -> &mut Self {
        let length = u32::try_from(self.bytes.len() - self.begin).unwrap_or(u32::MAX);
        self.bytes[self.begin..self.begin + 4].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// The bytes, every message with this number.
    pub(in crate::net) fn finish(mut self, number: u32) -> Vec<u8> {
        let mut at = 0;
        while let Some(length) = self.bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            let length = u32::from_ne_bytes(*length) as usize;
            self.bytes[at + 8..at + 12].copy_from_slice(&number.to_ne_bytes());
            at += length.next_multiple_of(4).max(HEADER);
        }
        self.bytes
    }
}

/// What the kernel said.
pub(in crate::net) enum Answer<'a> {
    /// The end of a dump, or an acknowledgement.
    Done,
    /// An error number.
    Error(i32),
    /// A message: its type, and what follows `struct nfgenmsg`.
    Message(u16, &'a [u8]),
}

/// The messages with this number in what was received.
pub(in crate::net) fn answers(mut bytes: &[u8], number: u32) -> impl Iterator<Item = Answer<'_>> {
    let next = move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let message = bytes.get(..length).filter(|it| it.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        let code = || message.get(HEADER..HEADER + 4).and_then(|it| it.try_into().ok()).map_or(0, i32::from_ne_bytes);
        let answer = match i32::from(kind) {
            NLMSG_ERROR | NLMSG_DONE if code() < 0 => Answer::Error(-code()),
            NLMSG_ERROR | NLMSG_DONE => Answer::Done,
            _ => Answer::Message(kind, message.get(HEADER + GENERAL..).unwrap_or_default()),
        };
        Some((message[8..12] == number.to_ne_bytes()).then_some(answer))
    };
    std::iter::from_fn(next).flatten()
}

/// The attributes in some bytes: type and value.
pub(in crate::net) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head: &[u8; 4] = bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([head[2], head[3]]) & KIND, value))
    })
}

/// The attribute of a type.
pub(in crate::net) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(it, _)| *it == kind).map(|(_, value)| value)
}

/// A big-endian number of up to eight bytes.
pub(in crate::net) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut messages = Messages::default();
        messages.begin(0x101, NLM_F_ACK, 2, 10).put(1, &[7]).nest(2, |inside| {
            inside.text(3, "abc").put(4, &[1, 2]);
        });
        messages.begin(0x102, 0, 0, 0);
        assert_eq!(messages.answers, 1);
        let bytes = messages.finish(7);
        assert_eq!(answers(&bytes, 8).count(), 0, "of another talk");
        let all: Vec<_> = answers(&bytes, 7).collect();
        let [Answer::Message(0x101, body), Answer::Message(0x102, [])] = all[..] else { panic!() };
        let (one, two) = (find(body, 1).unwrap(), find(body, 2).unwrap());
        assert_eq!(
            (one, find(two, 3), find(two, 4)),
            ([7].as_slice(), Some(b"abc\0".as_slice()), Some([1, 2].as_slice()))
        );
        assert_eq!((number(&[1, 2]), number(&[])), (258, 0));
    }

    #[test]
    fn cut_short() {
        let mut messages = Messages::default();
        messages.begin(1, 0, 0, 0).nest(2, |inside| {
            inside.put(3, &[1, 2, 3]);
        });
        let whole = messages.finish(1);
        for length in 0..whole.len() {
            assert_eq!(answers(&whole[..length], 1).count(), 0);
            assert!(attributes(&whole[16..length.max(16)]).count() <= 2);
        }
    }
}
