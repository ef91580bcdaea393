//! Parses a line.

use larder::{Error, Result};

use crate::kind::{Address, Kind, Library, Local, Memory, Redis, Tiers};
use crate::options::Options;
use crate::scheme::{Family, Scheme, USE};

/// Parses a line with further options from a table.
pub(crate) fn parse(line: &str, more: &[(String, String)]) -> Result<Kind> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("tiered:") {
        let (near, far, query) = tiers(rest)?;
        let mut options = Options::parse("tiered", query)?;
        more.iter().try_for_each(|(name, value)| options.add(name, value))?;
        return tiered(parse(near, &[])?, parse(far, &[])?, options);
    }
    let Some((word, rest)) = line.split_once("://") else {
        return Err(Error::config(format!("a store is named by a URL, and this is none: {USE}")));
    };
    let scheme = Scheme::find(word)?;
    let (body, query) = rest.split_once('?').unwrap_or((rest, ""));
    if query.contains('@') || body.contains('#') {
        let mend = "in a user name or password, `?` is written %3F, `#` %23 and `@` %40";
        return Err(Error::config(format!("{}: the URL ends too early: {mend}", scheme.word)));
    }
    let mut options = Options::parse(scheme.word, query)?;
    more.iter().try_for_each(|(name, value)| options.add(name, value))?;
    let kind = match scheme.family {
        Family::Quick => Kind::Local(Local::read(Library::Quick, body, &mut options)?),
        Family::Moka => Kind::Local(Local::read(Library::Moka, body, &mut options)?),
        Family::Memory => Kind::Memory(Memory::read(body, &mut options)?),
        Family::Redis | Family::Unix => {
            Kind::Redis(Redis::read(address(scheme, body, &mut options)?, &mut options)?)
        }
        Family::Tiered => return Err(bracketed()),
    };
    options.finish()?;
    Ok(kind)
}

fn address(scheme: &'static Scheme, body: &str, options: &mut Options) -> Result<Address> {
    let word = scheme.word;
    let is_unix = scheme.family == Family::Unix;
    if body.rsplit('@').next().is_none_or(|hosts| hosts.is_empty() || (hosts.starts_with('/') && !is_unix)) {
        let mend =
            if is_unix { "redis+unix:///run/redis.sock".to_owned() } else { format!("{word}://host:6379") };
        return Err(Error::config(format!("no server in {word}://: write {mend}")));
    }
    let socket =
        if is_unix { ["db", "user", "pass"].map(|name| options.take_raw(name)) } else { [None, None, None] };
    Ok(Address { scheme: word, body: body.to_owned(), socket })
}

/// Combines two tiers, and the options of both.
pub(crate) fn tiered(near: Kind, far: Kind, mut options: Options) -> Result<Kind> {
    let Kind::Local(near) = near else {
        return Err(Error::config(
            "the near tier, written first, is in this process: use quick:// or moka:// for it",
        ));
    };
    if matches!(far, Kind::Local(_)) {
        return Err(Error::config(
            "both tiers are in this process, and one alone does as well: use a store that processes share as the second",
        ));
    }
    let tiers =
        Tiers { near, far, bound: options.take("max_staleness")?, near_ttl: options.take("near_ttl")? };
    options.finish()?;
    Ok(Kind::Tiered(Box::new(tiers)))
}

/// Splits `(near,far)?options` into the two tiers and the options.
fn tiers(rest: &str) -> Result<(&str, &str, &str)> {
    let inner = rest.trim_start().strip_prefix('(').ok_or_else(bracketed)?;
    let end = closing(inner).ok_or_else(bracketed)?;
    let after = inner[end + 1..].trim();
    let query = match after.strip_prefix('?') {
        Some(query) => query.trim(),
        None if after.is_empty() => "",
        None => return Err(bracketed()),
    };
    let inner = &inner[..end];
    match &commas(inner)[..] {
        [comma] => Ok((&inner[..*comma], &inner[comma + 1..], query)),
        [] => Err(bracketed()),
        _ => {
            let mend = "put tiers into tiers, as in tiered:(quick://,tiered:(moka://,redis://host:6379))";
            Err(Error::config(format!("more than two tiers in one pair of brackets: {mend}")))
        }
    }
}

fn bracketed() -> Error {
    let mend = "tiered:(quick://?max=10000,redis://host:6379)?max_staleness=1s";
    let brackets = "in a password, `(`, `)` and `,` are written %28, %29 and %2C";
    Error::config(format!("two tiers are written in brackets, the near one first: {mend} ({brackets})"))
}

/// Returns the position at which the first open bracket closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.bytes().position(|byte| {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Returns the commas outside of brackets before text that looks like a store: not those between the hosts of a
/// cluster.
fn commas(text: &str) -> Vec<usize> {
    let mut depth = 0;
    let mut found = vec![];
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b',' if depth == 0 && begins_a_store(&text[index + 1..]) => found.push(index),
            _ => {}
        }
    }
    found
}

fn begins_a_store(text: &str) -> bool {
    let text = text.trim_start();
    let is_of_a_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-".contains(&byte);
    let end = text.bytes().position(|byte| !is_of_a_scheme(byte)).unwrap_or(text.len());
    end > 0 && (text[end..].starts_with("://") || text[end..].starts_with(":("))
}
