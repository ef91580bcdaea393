//! An entry's times between the clocks of processes and of the server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{MILLI, MINUTE, entry, key, open};
use larder::CacheBackend;
use larder::clock::{Clock, ManualClock, Timestamp};
use larder_memory::MemoryServer;

const HOUR: Duration = Duration::from_secs(3_600);

fn clock(start: Duration) -> ManualClock {
    ManualClock::at(Timestamp::ORIGIN.saturating_add(start))
}

#[tokio::test]
async fn processes_whose_clocks_are_hours_apart_agree() {
    let clocks = [clock(5 * HOUR), clock(3 * HOUR), clock(40 * HOUR)];
    let [of_server, of_one, of_two] = &clocks;
    let server = MemoryServer::with_clock(of_server.clone());
    let (one, two) = (open(&server.connect("one")), open(&server.connect("two")));
    let advance = |by| clocks.iter().for_each(|clock| clock.advance(by));

    one.put(&key(1), entry("bread", of_one.now(), MINUTE), of_one.now()).await.unwrap();
    advance(Duration::from_secs(20));
    let found = two.get(&key(1), of_two.now()).await.unwrap().unwrap();
    assert_eq!(found.remaining(of_two.now()), Duration::from_secs(40));
    assert_eq!(found.age(of_two.now()), Duration::from_secs(20));
    advance(Duration::from_secs(40) - MILLI);
    assert!(two.get(&key(1), of_two.now()).await.unwrap().is_some(), "a millisecond before its end");
    advance(MILLI);
    assert!(two.get(&key(1), of_two.now()).await.unwrap().is_none(), "at its end");
    assert!(one.get(&key(1), of_one.now()).await.unwrap().is_none());
}

#[tokio::test]
async fn for_ever_survives_the_way_there_and_back() {
    let time = clock(HOUR);
    let server = MemoryServer::with_clock(time.clone());
    let backend = open(&server.connect("one"));
    backend.put(&key(1), entry("bread", time.now(), Duration::MAX), time.now()).await.unwrap();
    time.advance(1_000_000 * HOUR);
    let found = backend.get(&key(1), time.now()).await.unwrap().unwrap();
    assert_eq!((found.expires(), found.remaining(time.now())), (Timestamp::NEVER, Duration::MAX));
    let moved_on =
        entry("cake", time.now(), MINUTE).with_times(time.now(), Timestamp::NEVER, Timestamp::NEVER);
    backend.put(&key(2), moved_on, time.now()).await.unwrap();
    let found = backend.get(&key(2), time.now()).await.unwrap().unwrap();
    assert_eq!(found.expires(), Timestamp::NEVER);
}

#[tokio::test]
async fn a_millisecond_is_the_shortest_life_and_is_not_lengthened() {
    let time = clock(HOUR);
    let server = MemoryServer::with_clock(time.clone());
    let backend = open(&server.connect("one"));
    for ttl in [Duration::from_nanos(1), MILLI] {
        backend.put(&key(1), entry("bread", time.now(), ttl), time.now()).await.unwrap();
        let found = backend.get(&key(1), time.now()).await.unwrap();
        assert!(found.unwrap().remaining(time.now()) <= MILLI, "{ttl:?}: alive when stored");
        time.advance(MILLI);
        assert!(
            backend.get(&key(1), time.now()).await.unwrap().is_none(),
            "{ttl:?}: dead a millisecond later"
        );
    }
}

/// A store that rounds every life up to a millisecond would bring the dead back.
#[tokio::test]
async fn what_arrives_dead_stays_dead() {
    let time = clock(HOUR);
    let server = MemoryServer::with_clock(time.clone());
    let backend = open(&server.connect("one"));
    let late = entry("bread", time.now(), MINUTE);
    time.advance(2 * MINUTE);
    backend.put(&key(1), late, time.now()).await.unwrap();
    assert!(backend.get(&key(1), time.now()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_fraction_of_a_millisecond_is_not_added_by_reading() {
    let time = clock(HOUR);
    let server = MemoryServer::with_clock(time.clone());
    let backend = open(&server.connect("one"));
    let asked = entry("bread", time.now(), 5 * MILLI);
    backend.put(&key(1), asked.clone(), time.now()).await.unwrap();
    time.advance(Duration::from_micros(4_900));
    let found = backend.get(&key(1), time.now()).await.unwrap().unwrap();
    assert_eq!(found.expires(), asked.expires());
}
