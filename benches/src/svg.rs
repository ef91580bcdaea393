//! Bars, one panel for each table that is drawn.

use std::fmt::Write as _;

use crate::report::{Bars, Table, number};

const WIDTH: usize = 860;
const LABEL: usize = 250;
const BAR: usize = 20;
const PLACE: usize = 120;

/// One picture of all tables that have bars; none when no table has.
pub fn chart(tables: &[Table]) -> Option<String> {
    let panels: Vec<(&Table, &Bars)> =
        tables.iter().filter_map(|table| Some((table, table.bars.as_ref()?))).collect();
    let height: usize = panels.iter().map(|(_, bars)| 62 + bars.bars.len() * BAR).sum();
    if panels.is_empty() {
        return None;
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let mut top = 0;
    for (table, bars) in panels {
        panel(&mut svg, top, &table.title, bars);
        top += 62 + bars.bars.len() * BAR;
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn panel(svg: &mut String, top: usize, title: &str, bars: &Bars) {
    let (title, unit) = (escaped(title), escaped(bars.unit));
    _ = writeln!(
        svg,
        "<text x=\"12\" y=\"{}\" font-weight=\"600\" font-size=\"14\" fill=\"#1f2328\">{title}</text>\n\
         <text x=\"12\" y=\"{}\" fill=\"#59636e\">{unit}</text>",
        top + 24,
        top + 42
    );
    let largest =
        scale(bars.bars.iter().map(|(_, figure)| *figure).filter(|figure| figure.is_finite()).collect());
    for (at, (name, figure)) in bars.bars.iter().enumerate() {
        let y = top + 50 + at * BAR;
        let share = if largest > 0.0 { (figure / largest).min(1.0) } else { 0.0 };
        let length = share * (WIDTH - LABEL - PLACE) as f64;
        let cut = if *figure > largest { " (cut off)" } else { "" };
        let own = name.starts_with("larder");
        let (colour, weight) = if own { ("#1a7f64", "600") } else { ("#b6bec8", "400") };
        _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-weight=\"{weight}\" fill=\"#1f2328\">{}</text>\n\
             <rect x=\"{LABEL}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" rx=\"2\" fill=\"{colour}\"/>\n\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#1f2328\">{}{cut}</text>",
            LABEL - 8,
            y + 13,
            escaped(name),
            y + 2,
            length.max(1.0),
            BAR - 5,
            LABEL as f64 + length.max(1.0) + 6.0,
            y + 13,
            number(*figure)
        );
    }
}

/// Returns the figure of the longest bar: the largest one, except those that would leave nothing to see of the
/// others.
fn scale(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let Some(middle) = figures.get(figures.len() / 2).copied() else { return 0.0 };
    figures.into_iter().rev().find(|figure| *figure <= 50.0 * middle).unwrap_or(middle)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
