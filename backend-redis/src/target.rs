//! The address of the server, parsed from a URL.

use larder::{Error, Result};

/// A URL, parsed as far as the client libraries differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) topology: Topology,
    pub(crate) tls: bool,
    /// `user:password@`, or nothing; still percent-encoded.
    pub(crate) login: String,
    /// `host:port` of each node, or the socket's path.
    pub(crate) hosts: Vec<String>,
    /// The number of the database; 0 by default.
    pub(crate) database: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topology {
    Node,
    Unix,
    Cluster,
    Sentinel { service: String },
}

impl Target {
    pub(crate) fn parse(url: &str) -> Result<Self> {
        // text that is no URL may contain a password anywhere, so it is not repeated
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let (tls, plain) = match scheme.strip_prefix("rediss") {
            Some(rest) => (true, rest),
            None => (false, scheme.strip_prefix("redis").ok_or_else(unknown)?),
        };
        if !matches!(plain, "" | "+unix" | "-cluster" | "-sentinel") || (tls && plain == "+unix") {
            return Err(unknown());
        }
        if matches!((tls, plain), (false, "+unix")) {
            return Self::unix(rest);
        }
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let login = if login.is_empty() { String::new() } else { format!("{login}@") };
        if login.contains(['/', '?', '#']) {
            return Err(Error::config(format!("the login of {scheme}:// holds `/`, `?` or `#`: {WRITE}")));
        }
        if rest.contains(['?', '#']) {
            let mend = "larder reads no options from it, and in a password they are written %3F and %23";
            return Err(Error::config(format!("`?` or `#` in a URL of {scheme}://: {mend}")));
        }
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts = hosts.split(',').filter(|host| !host.is_empty()).map(with_port);
        let hosts = hosts.collect::<Result<Vec<_>>>()?;
        if hosts.is_empty() {
            return Err(Error::config(format!("no host in {scheme}://..: write {scheme}://host:port")));
        }
        let (topology, database) = match plain {
            "" if hosts.len() > 1 => {
                let mend = "write redis-cluster://.. or redis-sentinel://../service";
                return Err(Error::config(format!("several hosts with {scheme}://: {mend}")));
            }
            "" => (Topology::Node, path),
            "-cluster" => (Topology::Cluster, path),
            "-sentinel" => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    let mend = "write redis-sentinel://host:port,host:port/mymaster";
                    return Err(Error::config(format!("sentinels need the name of their service: {mend}")));
                }
                (Topology::Sentinel { service: service.to_owned() }, database)
            }
            _ => return Err(unknown()),
        };
        let database = number(database)?;
        if topology == Topology::Cluster && database != 0 {
            return Err(Error::config("a cluster has only database 0: leave the number away"));
        }
        Ok(Self { topology, tls, login, hosts, database })
    }

    fn unix(rest: &str) -> Result<Self> {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !path.starts_with('/') {
            let mend = "write redis+unix:///run/redis.sock?user=..&pass=..";
            return Err(Error::config(format!("the path of a socket begins with `/`: {mend}")));
        }
        let mut target = Self {
            topology: Topology::Unix,
            tls: false,
            login: String::new(),
            hosts: vec![path.to_owned()],
            database: 0,
        };
        let (mut user, mut password) = ("", "");
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("db", text)) => target.database = number(text)?,
                Some(("user", text)) => user = text,
                Some(("pass", text)) => password = text,
                _ => {
                    let mend = "write db=, user= or pass=";
                    return Err(Error::config(format!("an option of redis+unix:// that is unknown: {mend}")));
                }
            }
        }
        if !password.is_empty() {
            target.login = format!("{user}:{password}@");
        }
        Ok(target)
    }

    /// The URL of one node, in the form that all clients read; only redis-rs reads that of a socket.
    pub(crate) fn node_url(&self, host: &str) -> String {
        let Self { tls, login, database, topology, .. } = self;
        if *topology == Topology::Unix {
            let login =
                login.trim_end_matches('@').split_once(':').map_or_else(String::new, |(user, password)| {
                    let user = if user.is_empty() { String::new() } else { format!("&user={user}") };
                    format!("{user}&pass={password}")
                });
            return format!("redis+unix://{host}?db={database}{login}");
        }
        let scheme = if *tls { "rediss" } else { "redis" };
        format!("{scheme}://{login}{host}/{database}")
    }
}

/// Parses `host:port`. Text that is no host may be a misplaced password, and is not repeated.
fn with_port(host: &str) -> Result<String> {
    // the colons of an IPv6 address are inside its brackets
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((_, "")) => (host, "6379"),
        Some((_, after)) => (&host[..host.len() - after.len()], after.strip_prefix(':').unwrap_or("")),
        None => host.split_once(':').unwrap_or((host, "6379")),
    };
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    let is_name = match name.strip_prefix('[') {
        Some(address) => {
            address.ends_with(']')
                && address.trim_end_matches(']').chars().all(|c| c.is_ascii_hexdigit() || ":.%".contains(c))
        }
        None => !name.is_empty() && name.chars().all(is_plain),
    };
    if !is_name {
        return Err(Error::config(format!("a host that is none: {WRITE}")));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(format!("{name}:{port}")),
        _ => Err(Error::config(format!("the port of {name} is no number from 1 to 65535: {WRITE}"))),
    }
}

const WRITE: &str =
    "write redis://user:password@host:port, and `@`, `/`, `?`, `#` in a password as %40, %2F, %3F, %23";

/// The error for a URL that a client library refuses.
pub(crate) const WRONG_URL: &str =
    "the URL is not one of Redis: write redis://user:password@host:port/0, a password percent-encoded";

fn number(database: &str) -> Result<i64> {
    if database.is_empty() {
        return Ok(0);
    }
    let mend = "write a number, as in redis://localhost:6379/2";
    database.parse().map_err(|_| Error::config(format!("the database of the URL is no number: {mend}")))
}

fn unknown() -> Error {
    Error::config(
        "the URL names no way to reach Redis: use redis://, rediss://, redis+unix://, redis-cluster:// or \
         redis-sentinel://host:port,host:port/service (rediss-cluster://, rediss-sentinel:// with TLS)",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_is_taken_apart() {
        let target = Target::parse("redis://cache").unwrap();
        assert_eq!(
            (target.topology.clone(), target.hosts.clone(), target.database),
            (Topology::Node, vec!["cache:6379".into()], 0)
        );
        assert_eq!(target.node_url("cache:6379"), "redis://cache:6379/0");
        let target = Target::parse("rediss://user:p%40ss@[::1]:7000/3").unwrap();
        assert_eq!(target.node_url(&target.hosts[0]), "rediss://user:p%40ss@[::1]:7000/3");
        let target = Target::parse("redis-cluster://:secret@a:1,b,[::1]/").unwrap();
        assert_eq!(
            (target.topology, target.hosts),
            (Topology::Cluster, vec!["a:1".into(), "b:6379".into(), "[::1]:6379".into()])
        );
        let target = Target::parse("rediss-sentinel://a:26379,b:26379/mymaster/2").unwrap();
        assert_eq!(target.topology, Topology::Sentinel { service: "mymaster".into() });
        assert!(target.tls && target.database == 2);
        let target = Target::parse("redis+unix:///run/redis.sock?db=1&pass=secret").unwrap();
        assert_eq!(target.node_url(&target.hosts[0]), "redis+unix:///run/redis.sock?db=1&pass=secret");
    }

    #[test]
    fn what_cannot_work_says_how_it_would() {
        for (url, mend) in [
            ("localhost:6379", "redis://"),
            ("http://localhost", "use redis://"),
            ("redis://", "no host"),
            ("redis://a,b", "redis-cluster://"),
            ("redis://a/first", "write a number"),
            ("redis-cluster://a/3", "only database 0"),
            ("redis-sentinel://a,b", "mymaster"),
            ("redis+unix:///a?dbs=1", "write db="),
            ("redis+unix://a", "begins with `/`"),
            ("redis://localhost:port", "the port of localhost"),
            ("redis://localhost:0", "from 1 to 65535"),
            ("redis://h:6379?db=3", "reads no options"),
            ("redis://[::1", "a host that is none"),
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.contains(mend), "{url}: {error}");
        }
    }

    #[test]
    fn no_error_repeats_a_password() {
        for url in [
            "s3cret@localhost:6379",
            "user:s3cret@localhost",
            "s3cret://localhost",
            "redis-s3cret://localhost",
            "redis://:s3cret",
            "redis://user:s3cret",
            "redis://:/s3cret@/localhost",
            "redis://h/s3cret",
            "redis://h:6379?password=s3cret",
            "redis://h:6379#s3cret",
            "redis://:a?s3cret@h",
            "redis-sentinel://h/mymaster/s3cret",
            "redis-cluster://h/s3cret",
            "redis-cluster://a,:s3cret",
            "redis+unix:///run/redis.sock?password=s3cret",
            "redis+unix:///run/redis.sock?s3cret",
            "redis+unix:///run/redis.sock?db=s3cret",
            "redis+unix://:s3cret@/run/redis.sock",
        ] {
            let Err(error) = Target::parse(url) else { panic!("{url} was accepted") };
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{url}: {error:?}");
        }
    }
}
