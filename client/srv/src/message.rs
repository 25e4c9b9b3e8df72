//! Messages of DNS (RFC 1035): one question for SRV records, and the answer to it.
//!
//! Invariant: whatever bytes arrive, decoding ends, reads within them, and yields only targets that
//! are names of hosts.

/// The type of SRV records.
const SRV: u16 = 33;
/// The class of the Internet.
const INTERNET: u16 = 1;
/// Bytes of the header of a message.
const HEADER_BYTES: usize = 12;
/// Flag of a query: the server is to ask others.
const RECURSION_DESIRED: u16 = 0x0100;
/// Flags of an answer.
const IS_ANSWER: u16 = 0x8000;
const IS_TRUNCATED: u16 = 0x0200;
const OPERATION: u16 = 0x7800;
const RESULT: u16 = 0x000f;
/// Longest label and longest name, in bytes as encoded.
const LABEL_BYTES_MAX: usize = 63;
const NAME_BYTES_MAX: usize = 255;

/// One server of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Servers with a lower one are preferred.
    pub priority: u16,
    /// The share of a server among those of its priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host, without the dot at the end.
    pub target: String,
}

/// A question, encoded.
#[derive(Debug)]
pub(crate) struct Query {
    id: u16,
    pub(crate) bytes: Vec<u8>,
}

/// What a server answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// Whether there is more, which has to be asked for over TCP.
    pub(crate) is_truncated: bool,
    /// In the order of the message.
    pub(crate) records: Vec<Record>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Found,
    NoSuchName,
    /// The server could not answer.
    Failed,
}

impl Query {
    /// Asks for the SRV records of `name`; `None` when that is no name.
    pub(crate) fn new(id: u16, name: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + name.len() + 6);
        for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
            bytes.extend(field.to_be_bytes());
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        for label in name.split('.') {
            let length = u8::try_from(label.len()).ok()?;
            if label.is_empty() || label.len() > LABEL_BYTES_MAX || !label.is_ascii() {
                return None;
            }
            bytes.push(length);
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
        if bytes.len() - HEADER_BYTES > NAME_BYTES_MAX {
            return None;
        }
        bytes.extend(SRV.to_be_bytes());
        bytes.extend(INTERNET.to_be_bytes());
        Some(Self { id, bytes })
    }

    /// The answer in a message; `None` when it is malformed, or answers another question.
    pub(crate) fn answer(&self, message: &[u8]) -> Option<Answer> {
        let mut reader = Reader { message, at: 0 };
        let [id, flags, questions, answers] =
            [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        let is_ours = id == self.id && flags & IS_ANSWER != 0 && flags & OPERATION == 0;
        let asked = self.bytes.get(HEADER_BYTES..)?;
        let question = message.get(HEADER_BYTES..HEADER_BYTES + asked.len())?;
        if !is_ours || questions != 1 || !question.eq_ignore_ascii_case(asked) {
            return None;
        }
        reader.at = HEADER_BYTES + asked.len();
        let is_truncated = flags & IS_TRUNCATED != 0;
        let mut records = Vec::new();
        for _ in 0..answers {
            match reader.record() {
                Some(record) => records.extend(record),
                // A server may cut a message anywhere.
                None if is_truncated => break,
                None => return None,
            }
        }
        let outcome = match flags & RESULT {
            0 => Outcome::Found,
            3 => Outcome::NoSuchName,
            _ => Outcome::Failed,
        };
        Some(Answer {
            outcome,
            is_truncated,
            records,
        })
    }
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// The next record, `Some(None)` if it is of another type or names no host.
    fn record(&mut self) -> Option<Option<Record>> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        // The time to live, which is for caches.
        self.at += 4;
        let length = usize::from(self.u16()?);
        let end = self.at.checked_add(length)?;
        if end > self.message.len() {
            return None;
        }
        let mut record = None;
        if (kind, class) == (SRV, INTERNET) {
            let (priority, weight, port) = (self.u16()?, self.u16()?, self.u16()?);
            let target = self.name()?;
            if self.at != end {
                return None;
            }
            record = is_host(&target).then_some(Record {
                priority,
                weight,
                port,
                target,
            });
        }
        self.at = end;
        Some(record)
    }

    /// The next name, with dots between its labels. Follows pointers to earlier names; each leads
    /// further back than the one before, so they end.
    fn name(&mut self) -> Option<String> {
        let (mut name, mut bytes) = (Vec::new(), 1);
        let (mut at, mut back) = (self.at, self.at);
        let mut end = None;
        loop {
            let length = *self.message.get(at)?;
            match length >> 6 {
                0 if length == 0 => break,
                0 => {
                    let from = at + 1;
                    at = from + usize::from(length);
                    bytes += usize::from(length) + 1;
                    if bytes > NAME_BYTES_MAX {
                        return None;
                    }
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend(self.message.get(from..at)?);
                }
                3 => {
                    let low = *self.message.get(at + 1)?;
                    end.get_or_insert(at + 2);
                    at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                    if at >= back {
                        return None;
                    }
                    back = at;
                }
                _ => return None,
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

/// Whether a name is one that a host may have: what is in a URL must not be anybody's text. The
/// root, which says that there is no such service, is none.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        !label.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
    };
    name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "_etcd-client._tcp.example.com";

    fn query() -> Query {
        Query::new(7, NAME).unwrap()
    }

    /// An answer with these records, each an owner, a type and its data.
    fn message(flags: u16, records: &[(&[u8], u16, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = query().bytes;
        bytes[2..4].copy_from_slice(&(IS_ANSWER | flags).to_be_bytes());
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (owner, kind, data) in records {
            bytes.extend(*owner);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(INTERNET.to_be_bytes());
            bytes.extend([0, 0, 0, 9]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(data);
        }
        bytes
    }

    fn srv(priority: u8, port: u16, target: &[u8]) -> Vec<u8> {
        let mut data = vec![0, priority, 0, 5];
        data.extend(port.to_be_bytes());
        data.extend(target);
        data
    }

    /// A pointer to the name of the question.
    const POINTER: &[u8] = &[0xc0, 12];
    /// A pointer to `example.com` in it.
    const DOMAIN: [u8; 2] = [0xc0, 12 + 13 + 5];

    fn below_domain(label: &[u8]) -> Vec<u8> {
        let mut name = vec![u8::try_from(label.len()).unwrap()];
        name.extend(label);
        name.extend(DOMAIN);
        name
    }

    #[test]
    fn records_are_read_with_names_that_point_back_and_other_types_are_passed_over() {
        let answer = query().answer(&message(
            0,
            &[
                (POINTER, 5, below_domain(b"alias")),
                (POINTER, SRV, srv(1, 2379, &below_domain(b"a"))),
                (b"\x01x\x00", SRV, srv(2, 2380, b"\x09localhost\x00")),
            ],
        ));
        let answer = answer.expect("it answers the question");
        assert_eq!(
            (answer.outcome, answer.is_truncated),
            (Outcome::Found, false)
        );
        let read = answer.records.iter();
        let read: Vec<_> = read
            .map(|it| (it.priority, it.port, it.target.as_str()))
            .collect();
        assert_eq!(read, [(1, 2379, "a.example.com"), (2, 2380, "localhost")]);
    }

    #[test]
    fn a_target_that_is_no_host_is_left_out() {
        for target in [
            &b"\x00"[..],
            b"\x03a/b\x00",
            b"\x01@\x00",
            b"\x02\xc3\xa4\x00",
        ] {
            let answer = query().answer(&message(0, &[(POINTER, SRV, srv(0, 1, target))]));
            assert_eq!(answer.unwrap().records, [], "{target:?}");
        }
    }

    #[test]
    fn answers_to_other_questions_are_not_taken() {
        let good = message(0, &[(POINTER, SRV, srv(0, 1, b"\x01a\x00"))]);
        assert!(query().answer(&good).is_some());
        // The id, the flag of an answer, the operation, the number of questions, name, type, class.
        let end = query().bytes.len() - 1;
        for (at, value) in [
            (1, 8),
            (2, 1),
            (2, 0x90),
            (5, 2),
            (14, b'x'),
            (end - 2, 1),
            (end, 3),
        ] {
            let mut other = good.clone();
            other[at] = value;
            assert_eq!(query().answer(&other), None, "byte {at}");
        }
        let mut upper = good;
        upper[14] = b'E';
        assert!(query().answer(&upper).is_some(), "names have no case");
    }

    #[test]
    fn names_that_point_at_themselves_or_forward_end() {
        let start = u8::try_from(query().bytes.len()).unwrap();
        for owner in [[0xc0, start], [0xc0, start + 1], [0xff, 0xff], [0x80, 0]] {
            let bytes = message(0, &[(&owner, SRV, srv(0, 1, b"\x01a\x00"))]);
            assert_eq!(query().answer(&bytes), None, "{owner:?}");
        }
    }

    #[test]
    fn a_message_that_is_cut_anywhere_or_changed_in_any_byte_is_read_within_its_bounds() {
        let good = message(0, &[(POINTER, SRV, srv(1, 2379, &below_domain(b"a")))]);
        for length in 0..good.len() {
            assert_eq!(query().answer(&good[..length]), None, "{length} bytes");
        }
        for at in 0..good.len() {
            for value in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[at] = value;
                _ = query().answer(&changed);
            }
        }
        let mut cut = message(IS_TRUNCATED, &[(POINTER, SRV, srv(1, 2379, b"\x01a\x00"))]);
        cut.truncate(cut.len() - 3);
        assert!(
            query()
                .answer(&cut)
                .expect("asked again over TCP")
                .is_truncated
        );
    }

    #[test]
    fn what_is_no_name_is_not_asked_for() {
        let long = "a".repeat(64);
        let many = "a.".repeat(200);
        for name in ["", ".", "a..b", "ä.example", &long, &many] {
            assert!(Query::new(1, name).is_none(), "{name:?}");
        }
        assert_eq!(
            query().bytes,
            Query::new(7, &format!("{NAME}.")).unwrap().bytes
        );
    }
}
