//! A miss in this process: look, load from a source that answers at once, keep, put something out.

use crate::load::Key;
use crate::measure::{Contender, allocations, interleave, nanos};
use crate::peers::local::{Local, all};
use crate::report::{Table, number};

use super::Effort;

const CAPACITY: u64 = 20_000;
const FEW: usize = 200;

pub fn run(effort: Effort) -> Vec<Table> {
    let mut tables = vec![table::<u64>(effort), table::<String>(effort)];
    let first = tables.remove(0);
    let bars =
        first.rows.iter().filter_map(|row| Some((row[0].clone(), row[1].replace(' ', "").parse().ok()?)));
    let bars = bars.collect();
    tables.insert(0, first.drawn("nanoseconds a miss: less is better", bars));
    tables
}

fn table<K: Key>(effort: Effort) -> Table {
    let title = format!("A miss in this process: {}", K::NAME);
    let about = "Nanoseconds to look without success, load a 200-byte value from a source that answers at once, and keep it in a full cache of \
                 20 000; one thread. larder announces the load, runs it on a task of its own and fences the fill. hitbox and cached do not share \
                 loads here; hitbox is called by its backend.";
    let mut table = Table::new(title, about, &["through", "ns", "x moka (future)", "allocations"]);
    let peers = all::<K>();
    let caches: Vec<Box<dyn Local<K>>> = peers.iter().map(|peer| (peer.build)(CAPACITY)).collect();
    let mut next = CAPACITY;
    let fresh = std::cell::RefCell::new(move |count: usize| {
        next += count as u64;
        (next - count as u64..next).map(K::numbered).collect::<Vec<K>>()
    });
    let full: Vec<K> = (0..CAPACITY).map(K::numbered).collect();
    let counts: Vec<usize> = caches
        .iter()
        .map(|cache| {
            cache.fill(&full);
            // as many as can be had in a moment: there are some that look at every entry to put one out
            let keys = (fresh.borrow_mut())(FEW);
            let each = nanos(FEW, || cache.load(&keys));
            ((effort.pick(20e6, 60e6) / each) as usize).clamp(FEW, 20_000)
        })
        .collect();
    let mut contenders: Vec<Contender<'_>> = peers
        .iter()
        .zip(&caches)
        .zip(&counts)
        .map(|((peer, cache), &count)| {
            let fresh = &fresh;
            Contender::new(peer.name, move || {
                let keys = (fresh.borrow_mut())(count);
                nanos(count, || cache.load(&keys))
            })
        })
        .collect();
    let figures = interleave(&mut contenders, effort.pick(5, 11));
    drop(contenders);
    let Some(base) = figures.iter().find(|figures| figures.name == "moka (future)") else { return table };
    for (figures, cache) in figures.iter().zip(&caches) {
        let keys = (fresh.borrow_mut())(FEW);
        let allocated = allocations(FEW, || cache.load(&keys));
        table.row([
            figures.name.clone(),
            number(figures.median()),
            number(figures.ratio(base)),
            number(allocated),
        ]);
    }
    table
}
