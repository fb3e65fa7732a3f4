//! What a bench found: a JSON object for each figure as soon as it is known, and a table at the end.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

/// One figure.
#[derive(Clone, Debug, PartialEq)]
struct Figure {
    bench: &'static str,
    metric: String,
    value: f64,
    unit: &'static str,
    labels: Map<String, Value>,
}

impl Figure {
    fn json(&self) -> Value {
        json!({
            "bench": self.bench, "metric": self.metric, "value": rounded(self.value), "unit": self.unit,
            "labels": self.labels,
        })
    }

    fn labels_text(&self) -> String {
        let pairs = self.labels.iter().map(|(name, value)| match value {
            Value::String(text) => format!("{name}={text}"),
            other => format!("{name}={other}"),
        });
        pairs.collect::<Vec<_>>().join(" ")
    }
}

/// Six digits are more than any of these measurements has.
fn rounded(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// Takes figures and tells them to the standard output and to a file.
pub struct Report {
    figures: Vec<Figure>,
    file: File,
}

impl Report {
    /// Appends to the file; its folder is made where it is missing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self {
            figures: Vec::new(),
            file,
        })
    }

    /// Tells one figure. `labels` is a JSON object, or null for none.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn figure(
        &mut self,
        bench: &'static str,
        metric: impl Into<String>,
        value: f64,
        unit: &'static str,
        labels: Value,
    ) -> io::Result<()> {
        let labels = match labels {
            Value::Object(labels) => labels,
            _ => Map::new(),
        };
        let figure = Figure {
            bench,
            metric: metric.into(),
            value,
            unit,
            labels,
        };
        let line = figure.json().to_string();
        println!("{line}");
        writeln!(self.file, "{line}")?;
        self.figures.push(figure);
        Ok(())
    }

    /// Every figure so far, in columns.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 5]> = self
            .figures
            .iter()
            .map(|figure| {
                [
                    figure.bench.to_owned(),
                    figure.metric.clone(),
                    figure.labels_text(),
                    shown(figure.value),
                    figure.unit.to_owned(),
                ]
            })
            .collect();
        let heads = ["bench", "metric", "labels", "value", "unit"].map(str::to_owned);
        let mut widths = heads.clone().map(|head| head.len());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [bench, metric, labels, value, _] = widths;
        let mut text = String::new();
        for [a, b, c, d, e] in std::iter::once(&heads).chain(&rows) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{a:bench$}  {b:metric$}  {c:labels$}  {d:>value$}  {e}");
        }
        text
    }
}

/// Three digits after the point for small numbers, none for large ones.
fn shown(value: f64) -> String {
    if value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_of_json_and_one_of_the_table() {
        let path = std::env::temp_dir().join(format!("flickrhub-bench-{}.jsonl", uuid::Uuid::now_v7()));
        let mut report = Report::to_file(&path).unwrap();
        report
            .figure(
                "accept",
                "accept_errors",
                0.0,
                "requests",
                json!({"connections": 100}),
            )
            .unwrap();
        report
            .figure("dispatch", "dispatch_us", 12_345.678_912, "µs", Value::Null)
            .unwrap();
        let lines = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            json!({"bench": "accept", "metric": "accept_errors", "value": 0.0, "unit": "requests",
                   "labels": {"connections": 100}})
        );
        assert_eq!(lines[1]["value"], 12_345.68);
        let table = report.table();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(
            table.contains("connections=100") && table.contains("12346"),
            "{table}"
        );
    }
}
