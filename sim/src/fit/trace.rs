//! Traces of machines that come and go.
//!
//! - Plain: `node,start,end` a line, comma-separated, times in seconds; an empty end was not seen.
//!   A first line of names is left out.
//! - Failure Trace Archive: `event_trace.tab`, separated by tabs: event, component, node, platform,
//!   name, type (1 up, 0 away), start, end, reason (Kondo and others, "The Failure Trace Archive",
//!   CCGrid 2010). Lines that begin with `#` are left out.

use std::collections::BTreeMap;

use thiserror::Error;

use super::Observation;
use crate::time::SECOND;

/// What a trace tells of machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Machines.
    pub nodes: usize,
    /// Spans in which one was up.
    pub sessions: Vec<Observation>,
    /// Spans between two sessions.
    pub absences: Vec<Observation>,
    /// From the first sight of a machine to the last; ended if that is long before the trace's end.
    pub lives: Vec<Observation>,
}

/// Why a text is no trace.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TraceError {
    /// There is nothing in it.
    #[error("there are no sessions; try: a line for each, as node,start,end in seconds")]
    Empty,
    /// More than memory should hold.
    #[error("there are more than {LINES_MAX} lines; try: a part of the machines")]
    TooLong,
    /// A line is something else.
    #[error("line {line}: {what}; try: {example}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// A right one.
        example: &'static str,
    },
}

/// Lines of a trace; each takes some hundred bytes.
const LINES_MAX: usize = 10_000_000;

/// Who is silent for longer than this share of the trace before its end has left.
const GONE_SHARE: f64 = 0.1;

const CSV: &str = "a-node,0,3600";
const TAB: &str = "7<tab>1<tab>3<tab>0<tab>a-node<tab>1<tab>0<tab>3600<tab>0";

/// (start, end) in seconds; `None` for an end that was not seen.
type Session = (f64, Option<f64>);

impl Trace {
    /// Reads a trace of either form: tabs make the second.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut nodes: BTreeMap<String, Vec<Session>> = BTreeMap::new();
        let tabbed = text
            .lines()
            .find(|line| !line.starts_with('#'))
            .is_some_and(|line| line.contains('\t'));
        for (index, line) in text.lines().enumerate() {
            if index == LINES_MAX {
                return Err(TraceError::TooLong);
            }
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = if tabbed { tabbed_line } else { plain_line };
            match read(line) {
                Ok(Some((node, session))) => nodes.entry(node).or_default().push(session),
                Ok(None) => {}
                Err(_) if index == 0 => {}
                Err(what) => {
                    let example = if tabbed { TAB } else { CSV };
                    return Err(TraceError::Line { line: index + 1, what, example });
                }
            }
        }
        if nodes.is_empty() {
            return Err(TraceError::Empty);
        }
        Ok(Self::of_sessions(nodes))
    }

    fn of_sessions(nodes: BTreeMap<String, Vec<Session>>) -> Self {
        let times = || {
            let all = nodes.values().flatten();
            all.flat_map(|&(start, end)| [start, end.unwrap_or(start)])
        };
        let begin = times().fold(f64::INFINITY, f64::min);
        let end = times().fold(f64::NEG_INFINITY, f64::max);
        let gone = end - GONE_SHARE * (end - begin);
        let mut trace = Self { nodes: nodes.len(), ..Self::default() };
        let observation =
            |seconds: f64, ended| Observation { span: seconds * SECOND as f64, ended };
        for mut sessions in nodes.into_values() {
            sessions.sort_by(|a, b| a.0.total_cmp(&b.0));
            for &(start, session_end) in &sessions {
                // A session that ends with the trace was cut off.
                let until = session_end.unwrap_or(end);
                let ended = session_end.is_some_and(|until| until < end);
                trace.sessions.push(observation((until - start).max(0.0), ended));
            }
            for pair in sessions.windows(2) {
                let away = pair[1].0 - pair[0].1.unwrap_or(pair[1].0);
                if away > 0.0 {
                    trace.absences.push(observation(away, true));
                }
            }
            let last = sessions.last().map_or(end, |session| session.1.unwrap_or(end));
            let first = sessions.first().map_or(begin, |session| session.0);
            trace.lives.push(observation((last - first).max(0.0), last < gone));
        }
        trace
    }
}

fn plain_line(line: &str) -> Result<Option<(String, Session)>, String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [node, start, end] = fields[..] else {
        return Err(format!("has {} fields, not three", fields.len()));
    };
    session(node, start, end).map(Some)
}

fn tabbed_line(line: &str) -> Result<Option<(String, Session)>, String> {
    let fields: Vec<&str> = line.split('\t').map(str::trim).collect();
    let [_, _, node, _, _, kind, start, end, ..] = fields[..] else {
        return Err(format!("has {} fields, not nine", fields.len()));
    };
    match kind {
        "1" => session(node, start, end).map(Some),
        "0" => Ok(None),
        kind => Err(format!("there is no event type '{kind}'")),
    }
}

fn session(node: &str, start: &str, end: &str) -> Result<(String, Session), String> {
    let seconds = |text: &str| {
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.ok_or_else(|| format!("'{text}' is no time in seconds"))
    };
    let begin = seconds(start)?;
    let end = if end.is_empty() || end == "NULL" { None } else { Some(seconds(end)?) };
    if end.is_some_and(|end| end < begin) {
        return Err("ends before it starts".into());
    }
    Ok((node.to_owned(), (begin, end)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    const PLAIN: &str = "node,start,end\na,0,100\na,150,300\nb,0,1000\nb,1100,\n";

    #[test]
    fn both_forms_say_the_same() {
        let tabbed = "# event_trace\n\
            1\t0\ta\t0\tx\t1\t0\t100\t0\n2\t0\ta\t0\tx\t0\t100\t150\t0\n\
            3\t0\ta\t0\tx\t1\t150\t300\t0\n4\t0\tb\t0\ty\t1\t0\t1000\t0\n\
            5\t0\tb\t0\ty\t1\t1100\tNULL\t0\n";
        let trace = Trace::parse(PLAIN).unwrap();
        assert_eq!(Trace::parse(tabbed).unwrap(), trace);
        let seconds = |observations: &[Observation]| {
            let pair = |one: &Observation| (one.span / SECOND as f64, one.ended);
            observations.iter().map(pair).collect::<Vec<_>>()
        };
        assert_eq!(trace.nodes, 2);
        assert_eq!(
            seconds(&trace.sessions),
            [(100.0, true), (150.0, true), (1000.0, true), (0.0, false)]
        );
        assert_eq!(seconds(&trace.absences), [(50.0, true), (100.0, true)]);
        assert_eq!(seconds(&trace.lives), [(300.0, true), (1100.0, false)]);
    }

    #[test]
    fn a_trace_is_bounded() {
        let text = "\n".repeat(LINES_MAX + 1);
        assert_eq!(Trace::parse(&text), Err(TraceError::TooLong));
        assert_eq!(Trace::parse(&text[1..]), Err(TraceError::Empty));
    }

    #[test]
    fn mistakes_say_the_line() {
        let message = |text: &str| Trace::parse(text).unwrap_err().to_string();
        assert!(message("").starts_with("there are no sessions"));
        assert!(message("node,start,end\n").starts_with("there are no sessions"));
        assert_eq!(message("a,0,1\na,5,4\n"), "line 2: ends before it starts; try: a-node,0,3600");
        assert!(message("a,0,1\na,5\n").starts_with("line 2: has 2 fields, not three"));
        assert!(message("a,0,1\nb,x,4\n").starts_with("line 2: 'x' is no time in seconds"));
        assert!(message("1\t0\ta\t0\tx\t1\t0\t9\t0\n1\t2\t3\n").contains("line 2: has 3 fields"));
    }
}
