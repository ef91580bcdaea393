//! Parses RESP3 replies (<https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md>).

use bytes::Bytes;

use super::strange;
use crate::client::{Failure, FailureKind, Heard, Reply};

/// The maximum length of a line: an error, a status or a number.
const LONGEST_LINE: usize = 64 << 10;
/// The maximum length of a string in Redis.
const LONGEST_STRING: usize = 512 << 20;
/// The maximum length of an answer: the longest string and its framing.
const LONGEST_ANSWER: usize = LONGEST_STRING + (1 << 20);
/// The maximum length of a push. A longer one ends the connection, and with it all near entries.
const LONGEST_PUSH: usize = 16 << 20;
/// The maximum number of parts of an answer or a push. At most 256 keys are read together.
const MOST_PARTS: usize = 1 << 20;
/// The maximum depth of nested lists.
const DEEPEST: usize = 16;

/// The state of the bytes at the front of the buffer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// A whole frame of this length.
    Whole(usize),
    /// A part of a frame of at least this length.
    Part(usize),
}

/// A whole frame from a server.
#[derive(Debug)]
pub(super) enum Frame {
    Answer(Result<Reply, Failure>),
    /// The confirmation that a subscription began or ended.
    Confirmed,
    Heard(Heard),
    /// A frame that has no meaning here.
    Other,
}

/// The search for the end of the first frame. It continues where it stopped when more bytes have come, so that its
/// time is proportional to the length.
#[derive(Debug)]
pub(super) struct Scan {
    /// The position of the next head.
    at: usize,
    /// The number of heads that are missing.
    left: usize,
    /// The number of parts of the frame that are known so far.
    parts: usize,
    /// The number of bytes from `at` on that hold no end of a line.
    seen: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, left: 1, parts: 1, seen: 0 }
    }
}

impl Scan {
    /// Finds the end of the first frame, and looks only at the heads of its parts. `bytes` begins with the bytes of
    /// the last call. If no answer is expected (`is_asked`), only pushes are frames.
    pub(super) fn front(&mut self, bytes: &[u8], is_asked: impl FnOnce() -> bool) -> Result<Front, Failure> {
        let longest = match bytes.first() {
            // the client never enables attributes, so none arrive
            Some(b'>') => LONGEST_PUSH,
            // prevents: a peer that fills the memory of a process that asks for nothing
            Some(&kind) if is_kind(kind) && self.at == 0 && !is_asked() => {
                return Err(strange("an answer without a command"));
            }
            _ => LONGEST_ANSWER,
        };
        while self.left > 0 {
            let rest = &bytes[self.at.min(bytes.len())..];
            let Some(line) = line(rest, self.seen)? else {
                self.seen = rest.len();
                // each part has at least three bytes
                let needed = self.at.saturating_add(self.left.saturating_mul(3));
                return Ok(Front::Part(needed.max(bytes.len() + 1)));
            };
            self.at += line.len() + 2;
            self.seen = 0;
            self.left -= 1;
            match Head::of(line)? {
                Head::Line(_) | Head::Null => {}
                Head::String(size) => self.at += size + 2,
                Head::List(parts) => {
                    self.left = self.left.saturating_add(parts);
                    self.parts = self.parts.saturating_add(parts);
                }
            }
            if self.at > longest || self.parts > MOST_PARTS {
                let what = format_args!("a frame of {} bytes or more, {} parts", self.at, self.parts);
                return Err(Failure::new(
                    FailureKind::Lost,
                    format!("{what}: larger than any that is asked for"),
                ));
            }
        }
        if self.at > bytes.len() {
            return Ok(Front::Part(self.at));
        }
        Ok(Front::Whole(std::mem::take(self).at))
    }
}

/// Returns `true` if a frame can begin with this byte.
fn is_kind(kind: u8) -> bool {
    b"+-:$*_#,(!=%~>|".contains(&kind)
}

/// The line at the front, without its end. The first `seen` bytes contain no end.
fn line(bytes: &[u8], seen: usize) -> Result<Option<&[u8]>, Failure> {
    // a byte that begins no frame is an error at once, not when its line ends
    if let Some(&kind) = bytes.first()
        && !is_kind(kind)
    {
        return Err(strange(format_args!("a frame that begins with {:?}", char::from(kind))));
    }
    // the last byte seen may be the first of a line end
    let from = seen.saturating_sub(1);
    match bytes.iter().take(LONGEST_LINE).skip(from).position(|&byte| byte == b'\r') {
        Some(end) => Ok(Some(&bytes[..from + end]).filter(|_| from + end + 1 < bytes.len())),
        None if bytes.len() >= LONGEST_LINE => Err(strange("a line without an end")),
        None => Ok(None),
    }
}

/// The first line of a frame.
enum Head<'a> {
    /// A frame that is one line, without its first byte.
    Line(&'a [u8]),
    Null,
    /// A string of this length, and an end of line, follow.
    String(usize),
    /// This number of frames follows.
    List(usize),
}

impl<'a> Head<'a> {
    fn of(line: &'a [u8]) -> Result<Self, Failure> {
        let (&kind, rest) = line.split_first().ok_or_else(|| strange("an empty line"))?;
        let parts = |each: usize, more: usize| match count(rest)? {
            None => Ok(Self::Null),
            Some(count) => Ok(Self::List(count.saturating_mul(each).saturating_add(more))),
        };
        match kind {
            b'+' | b'-' | b':' | b'#' | b',' | b'(' => Ok(Self::Line(rest)),
            b'_' => Ok(Self::Null),
            b'$' | b'!' | b'=' => match count(rest)? {
                None => Ok(Self::Null),
                Some(size) if size > LONGEST_STRING => Err(strange(format_args!("a string of {size} bytes"))),
                Some(size) => Ok(Self::String(size)),
            },
            b'*' | b'~' | b'>' => parts(1, 0),
            b'%' => parts(2, 0),
            // attributes are followed by the frame that they describe
            b'|' => parts(2, 1),
            _ => Err(strange(format_args!("a frame that begins with {:?}", char::from(kind)))),
        }
    }
}

/// Parses a length. Returns `None` for -1, the length of null.
fn count(digits: &[u8]) -> Result<Option<usize>, Failure> {
    if digits == b"-1" {
        return Ok(None);
    }
    let add = |sum: usize, &digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(usize::from(digit - b'0')),
        _ => None,
    };
    let count = if digits.is_empty() { None } else { digits.iter().try_fold(0, add) };
    count.map(Some).ok_or_else(|| strange("a length that is no number"))
}

/// Parses a whole frame. Its strings are slices of it.
pub(super) fn frame(bytes: &Bytes) -> Result<Frame, Failure> {
    let mut reading = Reading { bytes, at: 0 };
    if bytes.first() != Some(&b'>') {
        return Ok(Frame::Answer(reading.reply(0)?));
    }
    // a push that cannot be parsed may have been a change, so it is an error
    let parts = reading.reply(0)?.and_then(Reply::list);
    Ok(parts.map_or(Frame::Heard(Heard::Flushed), |parts| pushed(parts).unwrap_or(Frame::Other)))
}

/// Converts a push to a frame.
fn pushed(parts: Vec<Reply>) -> Option<Frame> {
    let mut parts = parts.into_iter();
    let kind = parts.next()?.bytes().ok()??;
    Some(match &kind[..] {
        b"invalidate" => Frame::Heard(names(parts).map_or(Heard::Flushed, Heard::Changed)),
        b"message" => {
            let channel = String::from_utf8_lossy(&parts.next()?.bytes().ok()??).into_owned();
            Frame::Heard(Heard::Message { channel, text: parts.next()?.bytes().ok()?? })
        }
        b"subscribe" | b"unsubscribe" => Frame::Confirmed,
        _ => Frame::Other,
    })
}

/// The names in an invalidation. `None` for all names, and if the invalidation cannot be parsed.
fn names(mut parts: impl Iterator<Item = Reply>) -> Option<Vec<Bytes>> {
    let keys = parts.next()?.list().ok()?;
    let names = keys.into_iter().map(|key| key.bytes().ok()?).collect();
    if parts.next().is_none() { names } else { None }
}

/// A whole frame, and the position up to which it has been parsed.
struct Reading<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Reading<'_> {
    fn slice(&mut self, size: usize) -> Result<Bytes, Failure> {
        let end = self.at + size;
        if end > self.bytes.len() {
            return Err(strange("a string that is shorter than it says"));
        }
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(slice)
    }

    /// Parses one reply. The inner error is one that the server sent, alone or as a part of its reply.
    fn reply(&mut self, depth: usize) -> Result<Result<Reply, Failure>, Failure> {
        if depth > DEEPEST {
            return Err(strange("lists in lists without end"));
        }
        let bytes = self.bytes;
        let line = line(&bytes[self.at..], 0)?.ok_or_else(|| strange("a line without an end"))?;
        let begin = self.at;
        self.at += line.len() + 2;
        let kind = line[0];
        Ok(match Head::of(line)? {
            Head::Null => Ok(Reply::Nil),
            Head::Line(text) => match kind {
                b'-' => Err(failed(text)),
                b':' => Ok(Reply::Number(number(text)?)),
                b'#' => Ok(Reply::Number(i64::from(text == b"t"))),
                _ => Ok(Reply::Bytes(bytes.slice(begin + 1..begin + 1 + text.len()))),
            },
            Head::String(size) => {
                let text = self.slice(size)?;
                self.at += 2;
                match kind {
                    b'!' => Err(failed(&text)),
                    // the first three letters are the format of the text
                    b'=' => Ok(Reply::Bytes(text.slice(text.len().min(4)..))),
                    _ => Ok(Reply::Bytes(text)),
                }
            }
            Head::List(count) => {
                let list = self.list(count, depth)?;
                if kind == b'|' {
                    list.map(|mut parts| parts.pop().unwrap_or(Reply::Nil))
                } else {
                    list.map(Reply::List)
                }
            }
        })
    }

    fn list(&mut self, count: usize, depth: usize) -> Result<Result<Vec<Reply>, Failure>, Failure> {
        // each part of a whole frame has at least three bytes
        let mut parts = Vec::with_capacity(count.min(self.bytes.len() / 3));
        let mut failed = None;
        for _ in 0..count {
            match self.reply(depth + 1)? {
                Ok(part) => parts.push(part),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        Ok(failed.map_or(Ok(parts), Err))
    }
}

fn number(text: &[u8]) -> Result<i64, Failure> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| strange("a number that is none"))
}

/// Converts a server's error to a failure.
fn failed(text: &[u8]) -> Failure {
    Failure::said(&String::from_utf8_lossy(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn front(bytes: &[u8]) -> Result<Front, Failure> {
        Scan::default().front(bytes, || true)
    }

    fn answer(text: &str) -> Result<Reply, Failure> {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        assert_eq!(front(&bytes).unwrap(), Front::Whole(bytes.len()), "{text:?}");
        match frame(&bytes).unwrap() {
            Frame::Answer(answer) => answer,
            other => panic!("{text:?} was taken for {other:?}"),
        }
    }

    fn text(text: &'static str) -> Reply {
        Reply::Bytes(text.into())
    }

    #[test]
    fn each_kind_of_answer_is_understood() {
        for (sent, expected) in [
            ("+OK\r\n", text("OK")),
            (":-12\r\n", Reply::Number(-12)),
            ("$5\r\na\r\nbc\r\n", text("a\r\nbc")),
            ("$0\r\n\r\n", text("")),
            ("$-1\r\n", Reply::Nil),
            ("*-1\r\n", Reply::Nil),
            ("_\r\n", Reply::Nil),
            ("#t\r\n", Reply::Number(1)),
            (",1.5\r\n", text("1.5")),
            ("=7\r\ntxt:abc\r\n", text("abc")),
            ("*0\r\n", Reply::List(vec![])),
            ("*2\r\n$1\r\na\r\n*1\r\n_\r\n", Reply::List(vec![text("a"), Reply::List(vec![Reply::Nil])])),
            ("%1\r\n+a\r\n:1\r\n", Reply::List(vec![text("a"), Reply::Number(1)])),
            ("~1\r\n:1\r\n", Reply::List(vec![Reply::Number(1)])),
            ("|1\r\n+ttl\r\n:1\r\n$1\r\na\r\n", text("a")),
        ] {
            assert_eq!(answer(sent).unwrap(), expected, "{sent:?}");
        }
    }

    #[test]
    fn errors_are_what_their_first_word_says() {
        for (sent, kind) in [
            ("-NOSCRIPT No matching script\r\n", FailureKind::NoScript),
            ("-ERR unknown command 'HELLO', with args\r\n", FailureKind::Refused),
            ("!21\r\nSYNTAX invalid syntax\r\n", FailureKind::Server),
            ("*2\r\n+a\r\n-LOADING\r\n", FailureKind::Busy),
        ] {
            assert_eq!(answer(sent).unwrap_err().kind, kind, "{sent:?}");
        }
    }

    #[test]
    fn pushes_are_told_apart() {
        for (sent, expected) in [
            (">2\r\n+invalidate\r\n*1\r\n$1\r\na\r\n", Frame::Heard(Heard::Changed(vec!["a".into()]))),
            (">2\r\n+invalidate\r\n_\r\n", Frame::Heard(Heard::Flushed)),
            (">2\r\n+invalidate\r\n*2\r\n$1\r\na\r\n:1\r\n", Frame::Heard(Heard::Flushed)),
            (">3\r\n+invalidate\r\n*1\r\n$1\r\na\r\n*0\r\n", Frame::Heard(Heard::Flushed)),
            (">1\r\n+invalidate\r\n", Frame::Heard(Heard::Flushed)),
            (">2\r\n+invalidate\r\n-ERR\r\n", Frame::Heard(Heard::Flushed)),
            (
                ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nt\r\n",
                Frame::Heard(Heard::Message { channel: "c".into(), text: "t".into() }),
            ),
            (">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", Frame::Confirmed),
            (">1\r\n+news\r\n", Frame::Other),
        ] {
            let found = frame(&Bytes::copy_from_slice(sent.as_bytes())).unwrap();
            assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{sent:?}");
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_as_soon_as_it_shows() {
        let deep = "*1\r\n".repeat(DEEPEST + 2) + "_\r\n";
        for sent in ["HTTP/1.1 400", "$x\r\n", "$\r\n", "*99999999999999999999\r\n", "$600000000\r\n", "\r\n"]
        {
            assert_eq!(front(sent.as_bytes()).unwrap_err().kind, FailureKind::Refused, "{sent:?}");
        }
        assert!(front(&[b'+'; LONGEST_LINE]).is_err());
        assert!(frame(&deep.into()).is_err());
    }

    #[test]
    fn a_part_says_how_much_is_missing() {
        assert_eq!(front(b"").unwrap(), Front::Part(3));
        assert_eq!(front(b"$1000\r\n").unwrap(), Front::Part(7 + 1_002));
        assert_eq!(front(b"*100\r\n").unwrap(), Front::Part(6 + 300));
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_error_or_wait_for_more(bytes: Vec<u8>) {
            if let Ok(Front::Whole(size)) = front(&bytes) {
                _ = frame(&Bytes::from(bytes).slice(..size));
            }
        }

        #[test]
        fn bytes_that_look_like_answers_are_no_danger(text in "([*$%>|:+_!=~][0-9-]{0,3}(\r\n)?[a\r\n]{0,3}){0,12}") {
            if let Ok(Front::Whole(size)) = front(text.as_bytes()) {
                _ = frame(&Bytes::from(text).slice(..size));
            }
        }

        #[test]
        fn what_has_not_come_whole_is_waited_for(values in prop::collection::vec("[a-z\r\n]{0,9}", 0..9), cut: prop::sample::Index) {
            let mut sent = format!("*{}\r\n", values.len());
            values.iter().for_each(|value| sent += &format!("${}\r\n{value}\r\n", value.len()));
            let whole = sent.len();
            let part = cut.index(whole);
            // a search that continues finds the same end as one that starts again
            let mut scan = Scan::default();
            for end in 0..=whole {
                let found = scan.front(&sent.as_bytes()[..end], || true).unwrap();
                prop_assert_eq!(found, front(&sent.as_bytes()[..end]).unwrap(), "{:?}", &sent[..end]);
            }
            match front(&sent.as_bytes()[..part]).unwrap() {
                Front::Part(needed) => prop_assert!(needed > part && needed <= whole),
                Front::Whole(_) => prop_assert!(false, "{:?}", &sent[..part]),
            }
            let list = answer(&sent).unwrap().list().unwrap();
            let list: Vec<_> = list.into_iter().map(|value| value.bytes().unwrap().unwrap()).collect();
            prop_assert_eq!(list, values);
        }
    }
}
