//! Tables, as text and as Markdown.

use std::fmt::Write as _;

/// Figures side by side.
#[derive(Debug, Clone)]
pub struct Table {
    pub title: String,
    /// A description of the measurement, in a sentence or two.
    pub about: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
    pub bars: Option<Bars>,
}

/// The part of a table that is drawn.
#[derive(Debug, Clone)]
pub struct Bars {
    pub unit: &'static str,
    pub bars: Vec<(String, f64)>,
}

impl Table {
    pub fn new(title: impl Into<String>, about: impl Into<String>, columns: &[&str]) -> Self {
        Self {
            title: title.into(),
            about: about.into(),
            columns: columns.iter().map(ToString::to_string).collect(),
            rows: vec![],
            bars: None,
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Has these figures drawn.
    pub fn drawn(mut self, unit: &'static str, bars: Vec<(String, f64)>) -> Self {
        self.bars = Some(Bars { unit, bars });
        self
    }

    fn widths(&self) -> Vec<usize> {
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
            cells.chain([self.columns[at].chars().count()]).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(width).collect()
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let widths = self.widths();
        let mut text = format!("\n{}\n{}\n", self.title, self.about);
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            for (at, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                // names to the left, figures to the right
                _ = if at == 0 { write!(text, "  {cell:<width$}") } else { write!(text, "  {cell:>width$}") };
            }
            text.push('\n');
        }
        text
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: Vec<String> =
            (0..self.columns.len()).map(|at| if at == 0 { "---" } else { "---:" }.to_owned()).collect();
        let mut text = format!("\n### {}\n{}\n\n", self.title, self.about);
        text.push_str(&line(&self.columns));
        text.push_str(&line(&rule));
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }
}

/// A figure with as many digits as it deserves.
pub fn number(figure: f64) -> String {
    match figure.abs() {
        _ if figure.is_nan() => "-".to_owned(),
        size if size >= 10_000.0 => thousands(figure.round() as i64),
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

fn thousands(number: i64) -> String {
    let digits = number.abs().to_string();
    let mut text = if number < 0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}
