//! 1,000 tasks in four processes want one missing key at once.

use std::time::{Duration, Instant};

use larder_testkit::servers::RedisServer;

use crate::load::value;
use crate::measure::{double, median, quantile};
use crate::peers::whole::{self, Source, Whole};
use crate::processes::{Crew, orders};
use crate::report::{Table, number};

use super::Effort;

const PROCESSES: usize = 4;
const TASKS: usize = 250;
const LOAD: Duration = Duration::from_millis(100);

const CONTENDERS: [&str; 6] = [
    "redis-rs by hand",
    "moka before redis-rs by hand",
    "multi-tier-cache",
    "amalgam-cache, with its locker",
    "larder in Redis",
    "larder in Redis, locked",
];

pub fn run(effort: Effort) -> Vec<Table> {
    let about = format!(
        "{TASKS} tasks in each of {PROCESSES} processes ask for one key that is missing; a load takes {LOAD:?}. Loads for each key (median and \
         most), and how much later than the load's end the answers came, in milliseconds."
    );
    let columns = ["through", "loads", "most", "half of all", "99 %", "all"];
    let mut table = Table::new("A stampede", about, &columns);
    let mut bars = vec![];
    for contender in CONTENDERS {
        let Some(server) = RedisServer::start(&[]) else { return vec![] };
        let mut crew = Crew::start(PROCESSES, &["stampede", contender, &server.url()]);
        let (mut loads, mut late) = (vec![], vec![]);
        for round in 0..effort.pick(5, 20) {
            let mut sum = 0.0;
            for answer in crew.order(&round.to_string()) {
                let mut figures = answer.split(' ').map(|figure| figure.parse::<f64>().expect("a number"));
                sum += figures.next().expect("the loads");
                late.extend(figures.map(|took| took / 1_000.0 - LOAD.as_millis() as f64));
            }
            loads.push(sum);
        }
        let most = loads.iter().copied().fold(0.0, f64::max);
        let after = |part| number(quantile(late.clone(), part));
        bars.push((contender.to_owned(), median(loads.clone())));
        table.row([
            contender.to_owned(),
            number(median(loads)),
            number(most),
            after(0.5),
            after(0.99),
            after(1.0),
        ]);
    }
    vec![table.drawn("loads for one key: less is better", bars)]
}

/// One of the processes.
pub fn process(contender: &str, url: &str) {
    let source = Source::new(|key| async move {
        tokio::time::sleep(LOAD).await;
        value(key)
    });
    let runtime = double();
    match contender {
        "redis-rs by hand" => {
            serve(&runtime, &runtime.block_on(whole::by_hand(url, source.clone())), &source)
        }
        "moka before redis-rs by hand" => {
            serve(&runtime, &runtime.block_on(whole::moka_by_hand(url, source.clone())), &source)
        }
        "multi-tier-cache" => {
            serve(&runtime, &runtime.block_on(whole::multi_tier(url, source.clone())), &source)
        }
        "amalgam-cache, with its locker" => {
            serve(&runtime, &runtime.block_on(whole::amalgam_tiered(url, source.clone())), &source)
        }
        "larder in Redis" => {
            serve(&runtime, &runtime.block_on(whole::larder_far(url, source.clone())), &source)
        }
        _ => serve(&runtime, &runtime.block_on(whole::larder_locked(url, source.clone())), &source),
    }
}

fn serve<W: Whole>(runtime: &tokio::runtime::Runtime, cache: &W, source: &Source) {
    for order in orders() {
        let key: u64 = order.parse().expect("a key");
        let before = source.loads();
        let took = runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..TASKS {
                let cache = cache.clone();
                tasks.spawn(async move {
                    let began = Instant::now();
                    assert_eq!(cache.get(key).await, value(key));
                    began.elapsed().as_micros().to_string()
                });
            }
            tasks.join_all().await
        });
        println!("{} {}", source.loads() - before, took.join(" "));
    }
}
