//! The names of keys in Redis.
//!
//! | key | content |
//! |---|---|
//! | `<namespace>:v:{<key>}` | the value: [`larder::backend::Frame`] |
//! | `<namespace>:f:{<key>}` | the fence of the load that may fill: `s` (shared) or `x` (exclusive) and 32 hex digits |
//! | `<namespace>:q:{<key>}` | writes in progress: a sorted set of write guards (32 hex digits), by the server's millisecond in which each ends |
//! | `<namespace>:l:{<namespace>}` | the ledger's head: 16 hex digits, `:`, a count |
//! | `<namespace>:t:{<namespace>}` | the ledger's tags: a hash of counts, `id` and `floor` |
//! | `<namespace>:n:{<namespace>}` | the number of notifications sent about changes; only with [`crate::Pushes::PubSub`] |
//! | `larder:beat:<listener>:<number>:{<node>}` | a heartbeat, for a minute |
//! | `larder:lock:{<name>}` | a lock: its token; released over the channel of the same name |
//!
//! `<key>` is [`larder::key::StoreKey::as_str`]: never empty and without braces, so that all keys of an entry are
//! in one slot.

use larder::key::StoreKey;

/// The text between the namespace and the key in the name of a value.
const VALUE: &str = ":v:{";
/// The same in the name of its fence.
const FENCE: &str = ":f:{";
/// The same in the name of its write guards.
const GUARDS: &str = ":q:{";
/// The same in the name of a ledger's head.
const HEAD: &str = ":l:{";

/// The kind of a name and its namespace. `None` for a name that does not concern near tiers.
pub(crate) fn parsed(name: &str) -> Option<(&str, Kind)> {
    let (namespace, _) = name.split_once('{')?;
    let value = namespace.strip_suffix(":v:").map(|namespace| (namespace, Kind::Value));
    value.or_else(|| Some((namespace.strip_suffix(":l:")?, Kind::Head)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Head,
}

/// The names of one entry.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) value: String,
    pub(crate) fence: String,
    pub(crate) guards: String,
}

impl Names {
    /// All names of the entry, in the order of the scripts.
    pub(crate) fn all(&self) -> [&str; 3] {
        [&self.value, &self.fence, &self.guards]
    }
}

/// The names of many values, in one string.
#[derive(Debug, Default)]
pub(crate) struct Values {
    text: String,
    /// The position at which each name ends.
    ends: Vec<usize>,
}

impl Values {
    pub(crate) fn with_room_for(bytes: usize, count: usize) -> Self {
        Self { text: String::with_capacity(bytes), ends: Vec::with_capacity(count) }
    }

    pub(crate) fn push(&mut self, space: &Space, key: &StoreKey) {
        space.write(&mut self.text, VALUE, key);
        self.ends.push(self.text.len());
    }

    /// The total length of the names.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }

    pub(crate) fn all(&self) -> Vec<&str> {
        let mut begin = 0;
        self.ends.iter().map(|&end| &self.text[std::mem::replace(&mut begin, end)..end]).collect()
    }
}

/// The names of one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    namespace: String,
    pub(crate) head: String,
    pub(crate) tags: String,
    /// The number of notifications sent about the namespace; only where changes are published.
    pub(crate) told: String,
}

impl Space {
    pub(crate) fn new(namespace: String) -> Self {
        let head = format!("{namespace}:l:{{{namespace}}}");
        let tags = format!("{namespace}:t:{{{namespace}}}");
        let told = format!("{namespace}:n:{{{namespace}}}");
        Self { namespace, head, tags, told }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The prefix of the names of all values, and of the head: the changes that concern near tiers.
    pub(crate) fn prefixes(&self) -> [String; 2] {
        [VALUE, HEAD].map(|kind| format!("{}{kind}", self.namespace))
    }

    pub(crate) fn value(&self, key: &StoreKey) -> String {
        self.name(VALUE, key)
    }

    fn name(&self, kind: &str, key: &StoreKey) -> String {
        let mut name = String::with_capacity(self.namespace.len() + kind.len() + key.as_str().len() + 1);
        self.write(&mut name, kind, key);
        name
    }

    fn write(&self, out: &mut String, kind: &str, key: &StoreKey) {
        [&self.namespace, kind, key.as_str(), "}"].into_iter().for_each(|part| out.push_str(part));
    }

    /// The names of many values.
    pub(crate) fn values(&self, keys: &[StoreKey]) -> Values {
        let mut values = Values::with_room_for(0, keys.len());
        keys.iter().for_each(|key| values.push(self, key));
        values
    }

    pub(crate) fn entry(&self, key: &StoreKey) -> Names {
        let [value, fence, guards] = [VALUE, FENCE, GUARDS].map(|kind| self.name(kind, key));
        Names { value, fence, guards }
    }

    /// The names of a plain value, all in the slot of its own.
    pub(crate) fn plain(&self, name: String) -> Names {
        let tagged = name.split_once('{').is_some_and(|(_, rest)| rest.find('}').is_some_and(|end| end > 0));
        let beside = |kind: char| match tagged {
            true => format!("{}:{kind}:{name}", self.namespace),
            false => format!("{}:{kind}:{{{name}}}", self.namespace),
        };
        Names { fence: beside('f'), guards: beside('q'), value: name }
    }
}

/// The slot of a key in a cluster: CRC16 (XMODEM) of the part in braces, or of the whole key if it has none.
pub(crate) fn slot(name: &str) -> u16 {
    let tag = name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(name);
    crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes()) % 16_384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_in_one_slot() {
        let names = Space::new("shop:product@2".into()).entry(&StoreKey::new(&("a}{b", 7)));
        assert_eq!(names.value, "shop:product@2:v:{(=a%7D%7Bb,7)}");
        assert_eq!(names.fence, "shop:product@2:f:{(=a%7D%7Bb,7)}");
        assert_eq!(slot(&names.value), slot(&names.fence));
        assert_eq!(slot(&names.value), slot(&names.guards));
    }

    #[test]
    fn names_that_are_written_together_are_told_apart_again() {
        let space = Space::new("shop".into());
        let keys = ["a", "", "bcd"].map(StoreKey::new);
        assert_eq!(space.values(&keys).all(), keys.map(|key| space.value(&key)));
        assert!(space.values(&[]).all().is_empty());
    }

    #[test]
    fn a_plain_value_and_its_fence_are_in_one_slot() {
        let space = Space::new("shop".into());
        for name in ["session:7", "user:{7}:session", "{7}"] {
            let names = space.plain(name.to_owned());
            assert_eq!(slot(name), slot(&names.fence), "{name}");
            assert_eq!(slot(name), slot(&names.guards), "{name}");
        }
        assert_ne!(space.plain("a".into()).fence, space.plain("{a}x".into()).fence);
    }

    /// The values from the cluster's specification.
    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("{user1000}.following"), slot("user1000"));
        assert_eq!(slot("foo{}{bar}"), slot_of_whole("foo{}{bar}"));
        assert_eq!(slot("foo{{bar}}zap"), slot_of_whole("{bar"));
        assert_eq!(slot("foo{bar}{zap}"), slot_of_whole("bar"));
    }

    fn slot_of_whole(text: &str) -> u16 {
        crc16::State::<crc16::XMODEM>::calculate(text.as_bytes()) % 16_384
    }
}
