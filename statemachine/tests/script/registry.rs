//! Words and lines of registrations.
//!
//! The value of an instance is a message of a few of `tenure.v1.Instance`'s fields, and of one
//! that no version knows yet. It is shown as text.

use bytes::Bytes;
use prost::Message;
use tenure_statemachine::{
    Command, Deregister, Drain, InstanceName, KeyValue, LeaseId, Readiness, Register,
    RegistryCommand, Revision, SERVICES_PREFIX, SetReadiness, Ttl,
};

use super::words::{Words, number, unsigned};

/// What the transcripts say of an instance.
#[derive(Clone, PartialEq, Eq, Message)]
struct Instance {
    #[prost(string, tag = "6")]
    zone: String,
    #[prost(uint32, tag = "9")]
    readiness: u32,
    #[prost(bool, tag = "10")]
    suspect: bool,
    #[prost(string, tag = "99")]
    later: String,
}

const READINESS: [(&str, Readiness); 4] = [
    ("starting", Readiness::Starting),
    ("ready", Readiness::Ready),
    ("draining", Readiness::Draining),
    ("not_ready", Readiness::NotReady),
];

/// The command of a line, or `None` when its verb is not one.
pub(crate) fn command(verb: &str, words: &mut Words<'_>) -> Option<Command> {
    let command = match verb {
        "register" => RegistryCommand::Register(register(words)),
        "readiness" => RegistryCommand::SetReadiness(SetReadiness {
            name: name(words),
            incarnation: Revision(number(words.next())),
            readiness: READINESS[place(words.next())].1,
        }),
        "drain" => {
            let name = name(words);
            let grace = Ttl(unsigned(words.next()));
            RegistryCommand::Drain(Drain {
                name,
                incarnation: incarnation(words),
                grace,
            })
        }
        "deregister" => RegistryCommand::Deregister(Deregister {
            name: name(words),
            incarnation: incarnation(words),
        }),
        _ => return None,
    };
    Some(Command::Registry(command))
}

pub(crate) fn name(words: &mut Words<'_>) -> InstanceName {
    InstanceName {
        service: words.next().to_owned(),
        id: words.next().to_owned(),
    }
}

/// The incarnation, where one is named.
fn incarnation(words: &mut Words<'_>) -> Revision {
    words
        .option()
        .map_or(Revision(0), |word| Revision(number(word)))
}

fn register(words: &mut Words<'_>) -> Register {
    let mut register = Register {
        name: name(words),
        ..Register::default()
    };
    let mut instance = Instance::default();
    while let Some(option) = words.option() {
        match option.split_once('=').unwrap_or((option, "")) {
            ("incarnation", of) => register.incarnation = Revision(number(of)),
            ("lease", id) => register.lease = LeaseId(number(id)),
            ("ttl", ttl) => register.grant = Some(Ttl(unsigned(ttl))),
            ("zone", zone) => instance.zone = zone.to_owned(),
            ("later", later) => instance.later = later.to_owned(),
            ("suspect", "") => instance.suspect = true,
            (word, "") => instance.readiness = place(word) as u32,
            _ => panic!("{option} is no option of a registration"),
        }
    }
    register.instance = Bytes::from(instance.encode_to_vec());
    register
}

fn place(word: &str) -> usize {
    let place = READINESS.iter().position(|(name, _)| *name == word);
    place.unwrap_or_else(|| panic!("{word} is no readiness"))
}

/// The value of an instance as text, or `None` when the key is none's or the value no message.
pub(crate) fn value(kv: &KeyValue) -> Option<String> {
    if !kv.key.starts_with(SERVICES_PREFIX.as_bytes()) {
        return None;
    }
    let instance = Instance::decode(kv.value.clone()).ok()?;
    let (readiness, _) = READINESS.get(instance.readiness as usize)?;
    let mut words = vec![(*readiness).to_owned()];
    if instance.suspect {
        words.push("suspect".to_owned());
    }
    for (name, text) in [("zone", &instance.zone), ("later", &instance.later)] {
        if !text.is_empty() {
            words.push(format!("{name}={text}"));
        }
    }
    Some(format!("[{}]", words.join(" ")))
}
