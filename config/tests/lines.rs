//! The meaning of lines and tables, and the errors for those without a meaning.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error as _;

use larder::ErrorKind;
use larder_config::StoreConfig;
use proptest::prelude::*;

fn parsed(line: &str) -> StoreConfig {
    line.parse().unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn refused(line: &str) -> String {
    let error = line.parse::<StoreConfig>().expect_err(line);
    assert_eq!(error.kind(), ErrorKind::Config, "{line}");
    error.to_string()
}

#[test]
fn a_line_is_read_and_written() {
    for (line, written) in [
        ("memory://", "memory://?codec=json"),
        (" memory://shop?max=1_000&prefix=a%2Fb ", "memory://shop?max=1000&prefix=a/b&codec=json"),
        ("quick://", "quick://?max=10000"),
        ("moka://?max=500&frees_expired=false", "moka://?max=500"),
        ("moka://?frees_expired=true", "moka://?max=10000&frees_expired=true"),
        ("redis://localhost", "redis://localhost?codec=json"),
        (
            "redis://cache:7000/2?codec=postcard&timeout=0.5s&connections=4&strict=true&client=fred",
            "redis://cache:7000/2?timeout=500ms&codec=postcard&client=fred&connections=4&strict=true",
        ),
        (
            "redis://c?breaker_failures=9&breaker_pause=1m&longest_pause=2s&connect_timeout=90s&pushes=pubsub",
            "redis://c?codec=json&connect_timeout=90s&longest_pause=2s&pushes=pubsub&breaker_failures=9&breaker_pause=60s",
        ),
        (
            "redis-cluster://a:1,b:2,c?compression=zstd&max_bytes=64KiB&keys_env=KEYS",
            "redis-cluster://a:1,b:2,c?codec=json&compression=zstd&max_bytes=65536&keys_env=KEYS",
        ),
        ("rediss-sentinel://a:1,b:2/cache/3", "rediss-sentinel://a:1,b:2/cache/3?codec=json"),
        ("redis://user:secret@h", "redis://user:***@h?codec=json"),
        ("redis://:secret@h", "redis://:***@h?codec=json"),
        ("redis://secret@h", "redis://***@h?codec=json"),
        ("redis://user@h?password_env=P", "redis://user@h?password_env=P&codec=json"),
        (
            "redis+unix:///run/r?db=1&user=u&pass=secret",
            "redis+unix:///run/r?db=1&user=u&pass=***&codec=json",
        ),
        (
            "tiered:(quick://?max=9, redis-cluster://a:1,b:2?codec=postcard) ? max_staleness=200ms&near_ttl=30s",
            "tiered:(quick://?max=9,redis-cluster://a:1,b:2?codec=postcard)?max_staleness=200ms&near_ttl=30s",
        ),
        (
            "tiered:(quick://,tiered:(moka://,redis://:se,cret@h)?max_staleness=2s)",
            "tiered:(quick://?max=10000,tiered:(moka://?max=10000,redis://:***@h?codec=json)?max_staleness=2s)",
        ),
    ] {
        let config = parsed(line);
        assert_eq!(config.to_string(), written, "{line}");
        assert_eq!(format!("{config:?}"), format!("StoreConfig({written})"));
        assert_eq!(parsed(&config.to_string()).to_string(), written, "what is written is read");
    }
}

/// Every error names what is wrong and how it would be right.
#[test]
fn what_cannot_work_says_how_it_would() {
    for (line, mend) in [
        ("", "a store is named by a URL, and this is none: use memory://"),
        ("localhost:6379", "this is none: use memory://"),
        ("quik://", "there is no store `quik`: did you mean `quick`?"),
        ("Redis://h", "did you mean `redis`?"),
        ("redis-clutser://h", "there is no store `redis-clutser`: did you mean `redis-cluster`?"),
        ("memcached://h", "there is no store `memcached`: use memory://"),
        ("quick://localhost", "quick:// is in this process and has no host: write quick://?max=10000"),
        ("quick://?mx=5", "quick: there is no option `mx` here: did you mean `max`?"),
        ("quick://?flavour=5", "quick: there is no option of this name here: there are `max`"),
        ("moka://?codec=json", "values are kept in this process as they are"),
        ("quick://?prefix=a", "nobody else sees what is kept in this process"),
        ("quick://?timeout=1s", "what is in this process is not waited for"),
        ("quick://?max", "an option without a value: options are written name=value"),
        ("quick://?max=1&max=2", "`max` is given twice: leave one out"),
        ("quick://?max=0", "`max` cannot be `0`: write a whole number above zero, such as 10000"),
        ("quick://?max=-1", "`max` cannot be `-1`"),
        ("quick://?max=ten", "`max` cannot be `ten`: write a whole number"),
        ("quick://?frees_expired=true", "quick: there is no option `frees_expired` here: there are `max`"),
        ("moka://?frees_expired=yes", "`frees_expired` cannot be `yes`: write `true` or `false`"),
        ("memory://a:b", "the name of a memory:// server has ASCII letters, digits and -_"),
        ("memory://?prefix=a:b", "cannot be a namespace or prefix: use 1 to 64 ASCII letters"),
        ("redis://", "no server in redis://: write redis://host:6379"),
        ("redis://:pw@/0", "no server in redis://"),
        ("redis+unix://", "no server in redis+unix://: write redis+unix:///run/redis.sock"),
        ("redis://h?timout=1s", "redis: there is no option `timout` here: did you mean `timeout`?"),
        (
            "redis://h?timeout=250",
            "`timeout` cannot be `250`: write a time above zero with its unit, such as 250ms",
        ),
        ("redis://h?timeout=0s", "`timeout` cannot be `0s`: write a time above zero"),
        ("redis://h?strict=yes", "`strict` cannot be `yes`: write `true` or `false`"),
        ("redis://h?codec=jsno", "the option `codec` cannot be `jsno`: did you mean `json`?"),
        ("redis://h?codec=xml", "cannot be `xml`: write `json`, `postcard`, `messagepack` or `bincode`"),
        ("redis://h?compression=gzip", "cannot be `gzip`: write `zstd` or `lz4`"),
        ("redis://h?pushes=pub-sub", "did you mean `pubsub`?"),
        ("redis://h?client=ferd", "did you mean `fred`?"),
        (
            "redis://h?max_bytes=1MB",
            "`max_bytes` cannot be `1MB`: write a number of bytes above zero, such as 65536, 64KiB",
        ),
        ("redis://h?keys_env=", "`keys_env` cannot be what is written there: write some text"),
        (
            "redis://:a@h?password_env=B",
            "a password in the URL and `password_env` too: leave one of them out",
        ),
        ("redis+unix:///r?pass=a&password_env=B", "leave one of them out"),
        ("redis://h?db=1", "there is no option `db` here"),
        (
            "tiered:",
            "two tiers are written in brackets, the near one first: tiered:(quick://?max=10000,redis://host:6379)",
        ),
        ("tiered://quick", "two tiers are written in brackets"),
        ("tiered:(quick://)", "two tiers are written in brackets"),
        ("tiered:(quick://,redis://h", "two tiers are written in brackets"),
        ("tiered:(quick://,redis://h)max_staleness=1s", "two tiers are written in brackets"),
        (
            "tiered:(quick://,moka://,redis://h)",
            "more than two tiers in one pair of brackets: put tiers into tiers",
        ),
        ("tiered:(redis://h,quick://)", "the near tier, written first, is in this process"),
        ("tiered:(quick://,moka://)", "both tiers are in this process"),
        (
            "tiered:(quick://,redis://h)?max_stalenes=1s",
            "tiered: there is no option `max_stalenes` here: did you mean `max_staleness`?",
        ),
        (
            "tiered:(quick://,redis://h)?codec=json",
            "write it inside the brackets, in the tier that it concerns",
        ),
        ("tiered:(quick://,redis://h?max_staleness=1s)", "redis: there is no option `max_staleness` here"),
        ("tiered:(quick://?max=0,redis://h)", "`max` cannot be `0`"),
    ] {
        let message = refused(line);
        assert!(message.contains(mend), "{line}: {message}");
    }
}

#[test]
fn a_password_that_is_not_encoded_is_not_told() {
    for line in [
        "redis://:hunter2?x@h",
        "redis://:hun?ter2=hunter2@h",
        "redis://:hun?timeout=hunter2@h",
        "redis://:hunter2#x@h",
        "redis://:hunter2&x?a&hunter2!=b",
        "hunter2@h",
        "hunter2 with spaces://h",
        "tiered:(quick://,redis://:hunter2(@h)",
        "tiered:(quick://,redis://:)hunter2@h)",
        "redis://:hunter2@h?client=hunter2!",
        "redis://:hunter2@h?max_bytes=hunter2!",
    ] {
        let message = refused(line);
        assert!(!message.contains("ter2"), "{line}: {message}");
    }
}

#[test]
fn an_environment_variable_is_named_in_its_errors() {
    // variables of this test's own, set for another process: setting one here is unsafe
    let run = |line: Option<&str>| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "in_an_environment", "--nocapture"]).env("LARDER_TEST_CHILD", "1");
        if let Some(line) = line {
            command.env("LARDER_TEST_LINE", line);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let told = run(Some("moka://?max=7"));
    assert!(
        told.contains("from_env: moka://?max=7;") && told.contains("from_env_or: moka://?max=7;"),
        "{told}"
    );
    let told = run(None);
    let unset = "LARDER_TEST_LINE is not set: LARDER_TEST_LINE='quick://?max=10000', for example";
    assert!(told.contains(unset) && told.contains("from_env_or: quick://?max=5;"), "{told}");
    let told = run(Some("mokka://"));
    let wrong = "the environment variable LARDER_TEST_LINE / configuration: there is no store `mokka`: did you mean `moka`?";
    assert_eq!(told.matches(wrong).count(), 2, "a default is no cover for a mistake: {told}");
}

#[test]
fn in_an_environment() {
    if std::env::var_os("LARDER_TEST_CHILD").is_none() {
        return;
    }
    let tell = |how: &str, config: larder::Result<StoreConfig>| match config {
        Ok(config) => println!("{how}: {config};"),
        Err(error) => {
            println!("{how}: {error} / {};", error.source().map(ToString::to_string).unwrap_or_default());
        }
    };
    tell("from_env", StoreConfig::from_env("LARDER_TEST_LINE"));
    tell("from_env_or", StoreConfig::from_env_or("LARDER_TEST_LINE", "quick://?max=5"));
}

#[derive(Debug, serde::Deserialize)]
struct Settings {
    cache: StoreConfig,
}

fn file(text: &str) -> Result<StoreConfig, String> {
    toml::from_str::<Settings>(text)
        .map(|settings| settings.cache)
        .map_err(|error| error.message().to_owned())
}

#[test]
fn a_table_says_what_a_line_says() {
    for (text, line) in [
        ("cache = 'quick://?max=500'", "quick://?max=500"),
        ("[cache]\nurl = 'quick://'\nmax = 500", "quick://?max=500"),
        (
            "[cache]\nurl = 'redis://h?codec=postcard'\nstrict = true\ntimeout = '250ms'\nmax_bytes = '1MiB'\nprefix = 'a/b'\n\
             client = 'redis-rs'",
            "redis://h?codec=postcard&strict=true&timeout=250ms&max_bytes=1MiB&prefix=a/b&client=redis-rs",
        ),
        (
            "[cache]\nnear = 'quick://?max=9'\nfar = { url = 'redis-cluster://a:1,b:2', codec = 'postcard' }\nmax_staleness = '500ms'",
            "tiered:(quick://?max=9,redis-cluster://a:1,b:2?codec=postcard)?max_staleness=500ms",
        ),
        (
            "[cache]\nurl = 'tiered:(quick://,redis://h)'\nmax_staleness = '2s'",
            "tiered:(quick://,redis://h)?max_staleness=2s",
        ),
        ("[cache]\nurl = 'redis+unix:///r'\npass = 'a&b%c'\ndb = 2", "redis+unix:///r?pass=a%26b%25c&db=2"),
    ] {
        assert_eq!(file(text).unwrap(), parsed(line), "{text}");
    }
}

#[test]
fn what_a_table_lacks_is_told() {
    for (text, mend) in [
        ("cache = 7", "expected the URL of a store, or a table with `url`, or with `near` and `far`"),
        ("[cache]", "a table needs `url`, or `near` and `far`"),
        ("[cache]\nulr = 'quick://'", "a table needs `url`, or `near` and `far`: did you mean `url`?"),
        ("[cache]\nnear = 'quick://'", "two tiers need `far` too"),
        ("[cache]\nfar = 'redis://h'", "two tiers need `near` too"),
        ("[cache]\nurl = 'quick://'\nfar = 'redis://h'", "not both"),
        ("[cache]\nurl = 'quick://'\nmax = 1.5", "expected text, a whole number or a truth value"),
        ("[cache]\nurl = 'quick://'\nmax = -1", "`max` cannot be `-1`: write a whole number above zero"),
        ("[cache]\nurl = 'quick://?max=1'\nmax = 1", "`max` is given twice"),
        ("[cache]\nurl = 'quick://'\nmaxx = 1", "there is no option `maxx` here: did you mean `max`?"),
        (
            "[cache]\nnear = 'redis://h'\nfar = 'redis://h'",
            "the near tier, written first, is in this process",
        ),
        (
            "[cache]\nnear = 'quick://'\nfar = 'redis://h'\nmax_stalness = '1s'",
            "there is no option `max_stalness` here: did you mean `max_staleness`?",
        ),
        ("cache = 'redis://:hunter2?@h'", "in a user name or password, `?` is written %3F"),
    ] {
        let message = file(text).unwrap_err();
        assert!(message.contains(mend) && !message.contains("hunter2"), "{text}: {message}");
    }
}

/// Options in any order, each at most once.
fn options(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    let count = of.len();
    proptest::sample::subsequence(of.to_vec(), 0..=count).prop_shuffle().prop_map(|options| options.join("&"))
}

fn query(options: &str) -> String {
    if options.is_empty() { String::new() } else { format!("?{options}") }
}

fn local() -> impl Strategy<Value = String> {
    (prop_oneof![Just("quick"), Just("moka")], proptest::option::of(1u64..u64::MAX)).prop_map(
        |(scheme, max)| {
            let max = max.map(|max| format!("?max={max}")).unwrap_or_default();
            format!("{scheme}://{max}")
        },
    )
}

const BYTES: &[&str] = &[
    "prefix=a.b_c/d-1",
    "codec=postcard",
    "compression=lz4",
    "max_bytes=3GiB",
    "keys_env=LARDER%5FKEYS%26",
    "timeout=1h 3ms",
];
const REDIS: &[&str] = &[
    "prefix=staging",
    "codec=messagepack",
    "compression=zstd",
    "timeout=1500us",
    "connect_timeout=1ns",
    "connections=3",
    "longest_pause=7s",
    "pushes=tracking",
    "strict=false",
    "client=redis-rs",
    "breaker_failures=2",
    "breaker_pause=1day",
];

/// A line with a password in it, and the password.
fn far() -> impl Strategy<Value = (String, String)> {
    let secret = "[A-Za-z0-9]{12,20}";
    let hosts = prop_oneof![
        Just(("redis", "h:1/3")),
        Just(("rediss", "[::1]:7000")),
        Just(("redis-cluster", "a:1,b,c:3")),
        Just(("redis-sentinel", "a:1,b:2/service/1")),
    ];
    let user = prop_oneof![Just(""), Just("user"), Just("a%40b")];
    let redis = (hosts, user, secret, options(REDIS)).prop_map(|((scheme, hosts), user, secret, options)| {
        (format!("{scheme}://{user}:s%2C{secret}@{hosts}{}", query(&options)), secret)
    });
    let unix = (secret, options(REDIS)).prop_map(|(secret, options)| {
        (format!("redis+unix:///run/r.sock?pass={secret}&db=2&{options}"), secret)
    });
    let memory = ("[a-z0-9_-]{0,8}", options(BYTES)).prop_map(|(name, options)| {
        (format!("memory://{name}{}", query(&options)), "no secret at all".to_owned())
    });
    prop_oneof![redis, unix, memory]
}

fn line() -> impl Strategy<Value = (String, String)> {
    let tiers = |far: BoxedStrategy<(String, String)>| {
        (local(), far, options(&["max_staleness=250ms", "near_ttl=2m"])).prop_map(
            |(near, (far, secret), options)| (format!("tiered:({near},{far}){}", query(&options)), secret),
        )
    };
    prop_oneof![
        local().prop_map(|line| (line, "no secret at all".to_owned())),
        far(),
        tiers(far().boxed()),
        tiers(tiers(far().boxed()).boxed()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_what_was_read((line, secret) in line()) {
        let config = parsed(&line);
        let written = config.to_string();
        prop_assert!(!written.contains(&secret), "{}", written);
        let debugged = format!("{config:?}");
        prop_assert!(!debugged.contains(&secret), "{}", debugged);
        // the password aside, nothing is lost
        let open = line.replace(&format!("s%2C{secret}"), "***").replace(&secret, "***");
        prop_assert_eq!(&parsed(&written), &parsed(&open), "{}", written);
        prop_assert_eq!(parsed(&written).to_string(), written);
    }

    #[test]
    fn no_line_panics(text in "[a-z:/?&=(),@%# -]{0,60}") {
        _ = text.parse::<StoreConfig>();
    }

    #[test]
    fn no_broken_line_panics_or_tells_its_password((line, secret) in line(), cut in 0usize..80, mark in "[:/?&=(),@%#x]") {
        let cut = cut.min(line.len());
        if let Err(error) = format!("{}{mark}{}", &line[..cut], &line[cut..]).parse::<StoreConfig>() {
            let told = format!("{error} {error:?}");
            // a mark in the middle of the password leaves pieces of it
            prop_assert!(!told.contains(&secret[..6]) && !told.contains(&secret[secret.len() - 6..]), "{}", told);
        }
    }
}
