//! Charts as SVG: axes with units, intervals as bands, legible in print without colours.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 86.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 58.0;
/// Colours that differ in lightness too (Wong, Nature Methods 8 (2011)), and dashes for print.
const STYLES: [(&str, &str); 5] = [
    ("#0072b2", ""),
    ("#d55e00", "7 4"),
    ("#009e73", "2 3"),
    ("#000000", "10 3 2 3"),
    ("#cc79a7", "12 4"),
];

/// A chart of lines or points.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above the axes.
    pub title: String,
    /// The horizontal axis with its unit.
    pub x_label: String,
    /// The vertical axis with its unit.
    pub y_label: String,
    /// What the vertical axis shows.
    pub y_range: Range,
    /// What is drawn.
    pub series: Vec<Series>,
}

/// What of its values an axis shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Zero and all values.
    FromZero,
    /// All values, and zero if it is near.
    Values,
    /// Powers of ten; values up to zero are left out.
    PowersOfTen,
}

/// A line, or points.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// In the order of drawing.
    pub points: Vec<Point>,
    /// Whether a line joins the points; else each is marked.
    pub joined: bool,
}

/// A point with its interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Horizontal.
    pub x: f64,
    /// Vertical.
    pub y: f64,
    /// Where the true value lies, if that is known.
    pub interval: Option<[f64; 2]>,
    /// Beside the point; empty for none.
    pub note: String,
}

impl Point {
    /// A point without an interval and a note.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, interval: None, note: String::new() }
    }
}

/// The values of an axis and where they are drawn.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Chart {
    /// The chart as an SVG element that stands alone too.
    pub fn to_svg(&self) -> String {
        let (x, y) = self.scales();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
            escape(&self.title)
        );
        self.draw_axes(&mut svg, &x, &y);
        let all = self.series.iter().flat_map(|series| &series.points);
        let drawn = all.filter(|point| y.shows(point.y));
        let marks: Vec<[f64; 2]> =
            drawn.map(|point| [x.place(point.x), y.place(point.y)]).collect();
        for (series, style) in self.series.iter().zip(STYLES.iter().cycle()) {
            draw_series(&mut svg, series, style, &x, &y);
            let noted = series.points.iter().filter(|point| !point.note.is_empty());
            for point in noted.filter(|point| y.shows(point.y)) {
                let at = [x.place(point.x), y.place(point.y)];
                draw_note(&mut svg, &point.note, at, &marks);
            }
        }
        self.draw_legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    fn scales(&self) -> (Scale, Scale) {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values
                .filter(|value| value.is_finite())
                .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
                    [low.min(value), high.max(value)]
                })
        };
        let x = range(&mut points().map(|point| point.x));
        let ends = |point: &Point| {
            let [low, high] = point.interval.unwrap_or([point.y; 2]);
            [low, point.y, high]
        };
        let logarithmic = self.y_range == Range::PowersOfTen;
        let y = range(&mut points().flat_map(ends).filter(|&value| !logarithmic || value > 0.0));
        let y = match self.y_range {
            Range::FromZero => [y[0].min(0.0), y[1]],
            Range::Values => from_zero_if_near(y),
            Range::PowersOfTen => y,
        };
        (
            Scale::new(from_zero_if_near(x), false, LEFT, WIDTH - RIGHT),
            Scale::new(y, logarithmic, HEIGHT - BOTTOM, TOP),
        )
    }

    fn draw_axes(&self, svg: &mut String, x: &Scale, y: &Scale) {
        for tick in x.ticks() {
            let at = x.place(tick);
            let _ = write!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
                HEIGHT - BOTTOM,
                HEIGHT - BOTTOM + 18.0,
                label(tick)
            );
        }
        for tick in y.ticks() {
            let at = y.place(tick);
            let _ = write!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.5,
                label(tick)
            );
        }
        let (middle_x, middle_y) = ((LEFT + WIDTH - RIGHT) / 2.0, (TOP + HEIGHT - BOTTOM) / 2.0);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{0:.1}H{1:.1}\" fill=\"none\" stroke=\"#000\"/>\n\
             <text x=\"{middle_x:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{3}</text>\n\
             <text transform=\"translate(20 {middle_y:.1}) rotate(-90)\" text-anchor=\"middle\">{4}</text>\n",
            HEIGHT - BOTTOM,
            WIDTH - RIGHT,
            HEIGHT - 14.0,
            escape(&self.x_label),
            escape(&self.y_label)
        );
    }

    fn draw_legend(&self, svg: &mut String) {
        if self.series.len() < 2 {
            return;
        }
        // Below the title, from the right.
        let mut right = WIDTH - RIGHT;
        for (number, series) in self.series.iter().enumerate().rev() {
            let (colour, dashes) = STYLES[number % STYLES.len()];
            let width = 7.2 * series.name.chars().count() as f64;
            let text = right - width;
            let _ = if series.joined {
                writeln!(
                    svg,
                    "<path d=\"M{:.1} 34h24\" stroke=\"{colour}\" stroke-width=\"2.2\" \
                     stroke-dasharray=\"{dashes}\"/>",
                    text - 30.0
                )
            } else {
                let at = text - 12.0;
                writeln!(svg, "<circle cx=\"{at:.1}\" cy=\"34\" r=\"4\" fill=\"{colour}\"/>")
            };
            let name = escape(&series.name);
            let _ = writeln!(svg, "<text x=\"{text:.1}\" y=\"38.5\">{name}</text>");
            right = text - 46.0;
        }
    }
}

fn draw_series(svg: &mut String, series: &Series, style: &(&str, &str), x: &Scale, y: &Scale) {
    let (colour, dashes) = style;
    let shown: Vec<&Point> = series.points.iter().filter(|point| y.shows(point.y)).collect();
    let at = |px: f64, py: f64| format!("{:.1} {:.1}", x.place(px), y.place(py));
    if series.joined {
        let with: Vec<(&Point, [f64; 2])> =
            shown.iter().filter_map(|point| Some((*point, point.interval?))).collect();
        if with.len() > 1 {
            let upper = with.iter().map(|(point, [_, high])| at(point.x, *high));
            let lower = with.iter().rev().map(|(point, [low, _])| at(point.x, *low));
            let outline = upper.chain(lower).collect::<Vec<_>>().join("L");
            let _ = writeln!(svg, "<path d=\"M{outline}Z\" fill=\"{colour}\" opacity=\"0.18\"/>");
        }
        let line = shown.iter().map(|point| at(point.x, point.y)).collect::<Vec<_>>().join("L");
        if !line.is_empty() {
            let _ = writeln!(
                svg,
                "<path d=\"M{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2.2\" \
                 stroke-dasharray=\"{dashes}\"/>"
            );
        }
    }
    for point in shown.iter().filter(|point| !series.joined || !point.note.is_empty()) {
        let (px, py) = (x.place(point.x), y.place(point.y));
        if let Some([low, high]) = point.interval.filter(|_| !series.joined) {
            let (low, high) = (y.place(low), y.place(high));
            let _ = writeln!(
                svg,
                "<path d=\"M{px:.1} {low:.1}V{high:.1}\" stroke=\"{colour}\" stroke-width=\"1.4\"/>"
            );
        }
        let _ = writeln!(svg, "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"4\" fill=\"{colour}\"/>");
    }
}

/// Writes a note beside a point, on the side where it covers the fewest others.
fn draw_note(svg: &mut String, note: &str, [px, py]: [f64; 2], marks: &[[f64; 2]]) {
    let width = 6.2 * note.chars().count() as f64;
    // Away from the nearer edge first.
    let sides = if px > 0.6 * WIDTH { [-1.0, 1.0] } else { [1.0, -1.0] };
    let places = [-7.0, 17.0].map(|down| sides.map(|side| (side, py + down)));
    let covered = |&(side, base): &(f64, f64)| {
        let (from, to) = (px.min(px + side * (width + 7.0)), px.max(px + side * (width + 7.0)));
        let outside = from < LEFT || to > WIDTH || base > HEIGHT - BOTTOM;
        let under = marks.iter().filter(|[x, y]| {
            (from..to).contains(x) && (base - 14.0..base + 6.0).contains(y) && [*x, *y] != [px, py]
        });
        under.count() + if outside { marks.len() } else { 0 }
    };
    let best = places.as_flattened().iter().min_by_key(|place| covered(place));
    let &(side, base) = best.unwrap_or(&(1.0, py));
    let anchor = if side < 0.0 { "end" } else { "start" };
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"{anchor}\" font-size=\"11.5\">{}</text>",
        px + 7.0 * side,
        escape(note)
    );
}

/// A range that begins at zero, unless that leaves much of it empty.
fn from_zero_if_near([low, high]: [f64; 2]) -> [f64; 2] {
    match low {
        low if low > 0.25 * high => [low - 0.05 * (high - low), high],
        low => [low.min(0.0), high],
    }
}

impl Scale {
    fn new([low, high]: [f64; 2], logarithmic: bool, from: f64, to: f64) -> Self {
        let (low, high) = if low.is_finite() { (low, high) } else { (0.1, 1.0) };
        let (low, high) = if logarithmic {
            let low = 10f64.powf(low.log10().floor());
            (low, 10f64.powf(high.log10().ceil()).max(low * 10.0))
        } else {
            // A value that never changes is seen beside zero.
            match low {
                low if high > low => (low, high + 0.04 * (high - low)),
                low if low > 0.0 => (0.0, 1.04 * low),
                low => (low, low + 1.0),
            }
        };
        Self { low, high, logarithmic, from, to }
    }

    fn shows(&self, value: f64) -> bool {
        value.is_finite() && (!self.logarithmic || value > 0.0)
    }

    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            let value = value.max(self.low);
            (value / self.low).log10() / (self.high / self.low).log10()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values, some five of them.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.low.log10().round() as i32;
            let last = self.high.log10().round() as i32;
            let step = (last - first + 5) / 6;
            let step = step.max(1) as usize;
            return (first..=last).step_by(step).map(|power| 10f64.powi(power)).collect();
        }
        let rough = (self.high - self.low) / 6.5;
        let unit = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit);
        let step = step.into_iter().find(|&step| step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }
}

/// A tick's value: three digits at most.
fn label(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e5).contains(&magnitude) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    // Ticks of a survival may differ by little.
    let text = format!("{value:.7}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

/// A text without the signs that mean something in XML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(y_range: Range, points: Vec<Point>) -> Chart {
        Chart {
            title: "Loss & leak".into(),
            x_label: "years".into(),
            y_label: "P(loss)".into(),
            y_range,
            series: vec![
                Series { name: "a<b".into(), points: points.clone(), joined: true },
                Series { name: "b".into(), points, joined: false },
            ],
        }
    }

    #[test]
    fn charts_have_labels_bands_and_legends() {
        let points = (1..6)
            .map(|i| Point {
                interval: Some([f64::from(i) * 0.9, f64::from(i) * 1.1]),
                ..Point::new(f64::from(i), f64::from(i))
            })
            .collect();
        let svg = chart(Range::FromZero, points).to_svg();
        for part in
            ["Loss &amp; leak", ">years<", ">P(loss)<", "a&lt;b", "opacity=\"0.18\"", "<circle"]
        {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn nothing_and_zeros_make_a_chart_too() {
        for range in [Range::FromZero, Range::Values, Range::PowersOfTen] {
            for points in [vec![], vec![Point::new(0.0, 0.0)], vec![Point::new(1.0, 1e-12); 2]] {
                let svg = chart(range, points).to_svg();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        let ticks = |low, high, logarithmic| Scale::new([low, high], logarithmic, 0.0, 1.0).ticks();
        assert_eq!(ticks(0.0, 6.0, false), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(ticks(2e-5, 0.3, true), [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1.0]);
        assert_eq!(["0", "0.5", "1e-5", "250"], [0.0, 0.5, 1e-5, 250.0].map(label));
        assert_eq!(["0.99995", "0.3"], [0.99995, 0.1 + 0.2].map(label));
    }
}
