//! `kakera codes`: what every code of a size costs, on paper and on this machine.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use kakera_engine::code::{
    Code, CodeCosts, CodeError, CodeKind, CodeParameters, HelperAnswer, survey,
};
use kakera_engine::names::Slot;
use serde::Serialize;

use crate::arguments::SurveyOptions;
use crate::failure::{Failure, Kind};
use crate::output::{Align, Output, Report, write_table};

/// The object that is coded to measure speeds.
const OBJECT_LEN: usize = 1 << 20;
/// How long one operation of one code is repeated; the fastest time counts.
const MEASURING_TIME: Duration = Duration::from_millis(10);
/// Characters of a line of text.
const LINE_LEN: usize = 96;

/// Compares the codes for n and k.
pub(crate) fn run(output: Output, options: &SurveyOptions) -> Result<(), Failure> {
    let SurveyOptions { n, k, d } = *options;
    let advice = "kakera codes --n 20 --k 8 --d 14";
    CodeParameters { kind: CodeKind::Mbr, n, k, d: d.unwrap_or(k) }
        .check()
        .map_err(|error| Failure::of(Kind::Usage, error, advice))?;
    let mut report =
        SurveyReport { n, k, object_bytes: OBJECT_LEN, codes: Vec::new(), impossible: Vec::new() };
    for (parameters, costs) in survey(n, k, d) {
        match costs.and_then(|costs| Ok((costs, parameters.build()?))) {
            Ok((costs, code)) => report.codes.push(CodeReport::measure(&code, costs)?),
            Err(error) => {
                let Failure { message, advice, .. } = Failure::of(Kind::Usage, error, "");
                report.impossible.push(ImpossibleReport { reason: message, r#try: advice });
            }
        }
    }
    output.report(&report)
}

#[derive(Serialize)]
struct SurveyReport {
    n: u8,
    k: u8,
    object_bytes: usize,
    codes: Vec<CodeReport>,
    impossible: Vec<ImpossibleReport>,
}

#[derive(Serialize)]
struct CodeReport {
    code: String,
    /// Bytes on all slots, per byte of the object.
    stored: f64,
    /// Bytes sent to repair a fragment, per byte of the object.
    moved: f64,
    helpers: u8,
    alpha: usize,
    products_per_byte: PerOperation,
    gigabytes_per_second: PerOperation,
}

/// Encoding and decoding by bytes of the object, repair by bytes of the fragment.
#[derive(Clone, Copy, Serialize)]
struct PerOperation {
    encode: f64,
    decode: f64,
    repair: f64,
}

#[derive(Serialize)]
struct ImpossibleReport {
    reason: String,
    r#try: String,
}

impl CodeReport {
    fn measure(code: &Code, costs: CodeCosts) -> Result<Self, Failure> {
        let failed = |error| Failure::of(Kind::Failure, error, "report this as a mistake");
        Ok(Self {
            code: code.parameters().to_string(),
            stored: costs.stored,
            moved: costs.moved,
            helpers: costs.helpers,
            alpha: costs.alpha,
            products_per_byte: PerOperation {
                encode: costs.encode_products,
                decode: costs.decode_products,
                repair: costs.repair_products,
            },
            gigabytes_per_second: speeds(code).map_err(failed)?,
        })
    }
}

/// Of one thread: decoding from the last k slots, and the newcomer's part of the repair of slot 1.
fn speeds(code: &Code) -> Result<PerOperation, CodeError> {
    let object: Vec<u8> = (0..OBJECT_LEN as u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    let layout = code.layout(OBJECT_LEN as u64);
    let slots: Vec<Slot> = Slot::all(code.parameters().n).collect();
    let fragments = code.encode(&object);
    let parts: Vec<(Slot, &[u8])> =
        slots.iter().map(|&slot| (slot, &fragments[slot.index()][..])).collect();
    let last = &parts[slots.len() - usize::from(code.parameters().k)..];

    let plan = code.plan_repair(slots[0], &slots[1..])?;
    let answer = |slot: &Slot| match plan.answer() {
        HelperAnswer::Symbols => code.helper_symbols(&layout, slots[0], &fragments[slot.index()]),
        HelperAnswer::Fragment => Ok(fragments[slot.index()].clone()),
    };
    let answers = plan.helpers().iter().map(answer).collect::<Result<Vec<_>, _>>()?;
    let answers: Vec<(Slot, &[u8])> =
        plan.helpers().iter().zip(&answers).map(|(&slot, bytes)| (slot, &bytes[..])).collect();

    let gigabytes = |bytes: usize, time: Duration| bytes as f64 / time.as_secs_f64() / 1e9;
    Ok(PerOperation {
        encode: gigabytes(OBJECT_LEN, fastest(|| drop(black_box(code.encode(&object))))),
        decode: gigabytes(OBJECT_LEN, fastest(|| drop(black_box(code.decode(&layout, last))))),
        repair: gigabytes(
            fragments[0].len(),
            fastest(|| drop(black_box(code.repair(&layout, slots[0], &answers)))),
        ),
    })
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    let mut fastest = Duration::MAX;
    while fastest == Duration::MAX || start.elapsed() < MEASURING_TIME {
        let one = Instant::now();
        work();
        fastest = fastest.min(one.elapsed());
    }
    // A clock may stand still for what takes no time.
    fastest.max(Duration::from_nanos(1))
}

impl Report for SurveyReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "Any {} of {} slots give an object back.\n", self.k, self.n)?;
        self.write_codes(out)?;
        writeln!(
            out,
            "\n\
             stored: bytes on all slots; moved: bytes that the d helpers send for a lost fragment;\n\
             both per byte of the object. x/B: products in GF(256) per byte, of the object when encoding and\n\
             decoding, of the fragment in a repair. GB/s: one thread of this machine, {} KiB, the\n\
             newcomer of a repair.",
            self.object_bytes >> 10
        )?;
        for ImpossibleReport { reason, r#try } in &self.impossible {
            writeln!(out)?;
            write_wrapped(out, &format!("Not possible: {reason}."))?;
            writeln!(out, "  try: {try}")?;
        }
        Ok(())
    }
}

impl SurveyReport {
    fn write_codes(&self, out: &mut dyn Write) -> io::Result<()> {
        let row = |code: &CodeReport| {
            let (products, speeds) = (code.products_per_byte, code.gigabytes_per_second);
            [
                code.code.clone(),
                format!("{:.2}", code.stored),
                format!("{:.3}", code.moved),
                code.helpers.to_string(),
                code.alpha.to_string(),
                format!("{:.1}", products.encode),
                format!("{:.1}", products.decode),
                format!("{:.1}", products.repair),
                format!("{:.2}", speeds.encode),
                format!("{:.2}", speeds.decode),
                format!("{:.2}", speeds.repair),
            ]
        };
        let rows: Vec<[String; 11]> = self.codes.iter().map(row).collect();
        let headings = [
            "code",
            "stored",
            "moved",
            "d",
            "alpha",
            "encode",
            "decode",
            "repair x/B",
            "encode",
            "decode",
            "repair GB/s",
        ];
        let align = |heading| (heading, if heading == "code" { Align::Left } else { Align::Right });
        write_table(out, headings.map(align), &rows)
    }
}

/// Breaks a text between words.
fn write_wrapped(out: &mut dyn Write, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > LINE_LEN {
            writeln!(out, "{line}")?;
            line = "  ".to_owned();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_break_between_words() {
        let mut out = Vec::new();
        write_wrapped(&mut out, &"word ".repeat(40)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.split_whitespace().count(), 40);
        assert!(text.lines().count() > 1 && text.lines().all(|line| line.len() <= LINE_LEN));
    }
}
