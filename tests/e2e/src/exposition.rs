//! The text format of Prometheus, read strictly: a scrape that Prometheus would refuse is refused here.
//!
//! The rules are those of "Exposition formats" in the documentation of Prometheus, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name, with the suffix of a histogram.
    pub name: String,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// The samples of a scrape.
///
/// # Errors
/// The first line that is not of the format, a sample whose family was not declared, or one that comes twice.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    if !text.ends_with('\n') {
        return Err("the last line does not end".to_owned());
    }
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut samples = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(comment) = line.strip_prefix('#') {
            if let Some(declaration) = comment.trim_start().strip_prefix("TYPE ") {
                let (name, kind) = declared(declaration).ok_or_else(|| format!("no declaration: {line}"))?;
                if types.insert(name, kind).is_some() {
                    return Err(format!("{name} is declared twice"));
                }
            }
            continue;
        }
        let sample = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        if !is_declared(&types, &sample.name) {
            return Err(format!("{} has no type", sample.name));
        }
        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err(format!("twice: {line}"));
        }
        samples.push(sample);
    }
    Ok(samples)
}

fn declared(declaration: &str) -> Option<(&str, &str)> {
    let (name, kind) = declaration.split_once(' ')?;
    let known = ["counter", "gauge", "histogram", "summary", "untyped"];
    (is_name(name) && known.contains(&kind)).then_some((name, kind))
}

fn is_declared(types: &BTreeMap<&str, &str>, name: &str) -> bool {
    let of_parts = ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .any(|family| matches!(types.get(family), Some(&("histogram" | "summary"))));
    of_parts || types.contains_key(name)
}

fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    first && text.bytes().all(fits)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = number(words.next()?)?;
    let timestamp_fits = words.next().is_none_or(|text| text.parse::<i64>().is_ok());
    (is_name(name) && timestamp_fits && words.next().is_none()).then(|| Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        text => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// The labels after the opening brace, and what follows the closing one.
fn labels(mut rest: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        if !is_name(name) || name.contains(':') || labels.insert(name.to_owned(), value).is_some() {
            return None;
        }
        rest = match after.strip_prefix(',') {
            Some(more) => more,
            None if after.starts_with('}') => after,
            None => return None,
        };
    }
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(index + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other @ ('"' | '\\') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_prometheus_takes_is_read() {
        let text = "# HELP a_total Some \"help\".\n# TYPE a_total counter\n\
            a_total{route=\"/x\",text=\"q\\\"b\\\\n\\n\"} 3\na_total 4.5 1700000000000\n\
            # any comment\n\n# TYPE b_seconds histogram\nb_seconds_bucket{le=\"+Inf\"} 2\n\
            b_seconds_sum 0.1\nb_seconds_count 2\n";
        let samples = parse(text).expect("the format");
        let names: Vec<_> = samples.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "a_total",
                "a_total",
                "b_seconds_bucket",
                "b_seconds_sum",
                "b_seconds_count"
            ]
        );
        assert_eq!(samples[0].labels["text"], "q\"b\\n\n");
        assert!((samples[1].value - 4.5).abs() < f64::EPSILON);
        assert_eq!(samples[2].labels["le"], "+Inf");
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for text in [
            "a 1",
            "a 1\n",
            "# TYPE a counter\na one\n",
            "# TYPE a counter\na\n",
            "# TYPE a counter\n1a 1\n",
            "# TYPE a counter\na{b=1} 1\n",
            "# TYPE a counter\na{b=\"1\" 1\n",
            "# TYPE a counter\na{b=\"1\",b=\"2\"} 1\n",
            "# TYPE a counter\na 1 later\n",
            "# TYPE a counter\na 1\na 2\n",
            "# TYPE a counter\n# TYPE a gauge\na 1\n",
            "# TYPE a meter\na 1\n",
            "# TYPE a counter\na_count 1\n",
            "<html>\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
