//! The names are what they are said to be: in the table, in what is exported, and in the Grafana dashboard.
#![cfg(feature = "prometheus")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use larder_metrics::{Kind, METRICS, Metric, Scrape};

const TABLE: &str = include_str!("../src/names.md");
const DASHBOARD: &str = include_str!("../grafana/larder.json");

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
        _ => unreachable!("a kind that has no name"),
    }
}

/// Returns the metrics exported for a cache that was used: each name with its kind and its labels.
async fn exported() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let squares = include!("../../core/doc/squares.rs").unwrap();
    squares.get(&2).await.unwrap();
    let scrape = Scrape::new();
    scrape.add("square", &squares);
    let mut exported: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let text = scrape.text();
    for line in text.lines() {
        if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap();
            exported.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
        } else if let Some((sample, labels)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let name = base(sample, &exported);
            let labels = labels.split('}').next().unwrap().split(',');
            let labels = labels.map(|label| label.split_once('=').unwrap().0.to_owned());
            exported.get_mut(&name).unwrap().1.extend(labels.filter(|label| label != "le"));
        }
    }
    exported
}

/// The metric that a sample belongs to.
fn base<T>(sample: &str, known: &BTreeMap<String, T>) -> String {
    let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|part| sample.strip_suffix(part));
    let whole = parts.chain([sample]).find(|name| known.contains_key(*name));
    whole.unwrap_or_else(|| panic!("{sample} is not exported")).to_owned()
}

#[tokio::test]
async fn all_names_that_are_documented_are_exported_and_no_others() {
    let documented: BTreeMap<_, _> = METRICS
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(|&label| label.to_owned()).collect::<BTreeSet<_>>();
            (metric.name.to_owned(), (kind(metric).to_owned(), labels))
        })
        .collect();
    assert_eq!(exported().await, documented);
}

#[test]
fn the_table_in_the_documentation_is_the_list_in_the_code() {
    let rows: Vec<String> = TABLE.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let wanted: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", metric.name, kind(metric), labels.join(", "), metric.help)
        })
        .collect();
    assert_eq!(rows, wanted);
}

/// All words of the dashboard that look like a metric of larder.
fn words(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    words.filter(|word| word.starts_with("larder_")).map(str::to_owned).collect()
}

/// All texts below `name`, wherever they are.
fn texts<'a>(json: &'a serde_json::Value, name: &str, found: &mut Vec<&'a str>) {
    match json {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(field, value)| match value.as_str() {
            Some(text) if field == name => found.push(text),
            _ => texts(value, name, found),
        }),
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, name, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_dashboard_asks_for_what_is_exported_and_for_all_of_it() {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = vec![];
    texts(&dashboard, "expr", &mut queries);
    texts(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    let exported = exported().await;
    let asked: BTreeSet<String> =
        queries.iter().flat_map(|query| words(query)).map(|word| base(&word, &exported)).collect();
    let all: BTreeSet<String> = exported.keys().cloned().collect();
    assert_eq!(asked, all, "the dashboard shows every metric");

    // a label that no metric of the query has would silently give an empty panel
    for query in queries {
        let labels: BTreeSet<&str> = words(query)
            .iter()
            .flat_map(|word| exported[&base(word, &exported)].1.iter())
            .map(String::as_str)
            .chain(["le"])
            .collect();
        for grouped in query.split("by (").skip(1) {
            for label in grouped.split(')').next().unwrap().split(',') {
                assert!(labels.contains(label.trim()), "{label} in {query}");
            }
        }
        for matched in query.split('{').skip(1) {
            for label in matched.split('}').next().unwrap().split(',') {
                let label = label.split(['=', '!']).next().unwrap().trim();
                assert!(labels.contains(label), "{label} in {query}");
            }
        }
    }
}
