//! Line charts over a linear axis, as SVG 1.1 for screen and print.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 118.0;
const BOTTOM: f64 = 60.0;
const LEGEND_TOP: f64 = 54.0;
const LEGEND_ROW: f64 = 20.0;
const LEGEND_SAMPLE: f64 = 44.0;

/// A chart of values over a count or a time.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    /// With its unit.
    pub(super) x_label: &'a str,
    /// With its unit.
    pub(super) y_label: &'a str,
    /// From 0.
    pub(super) x_max: f64,
    pub(super) x_step: f64,
    pub(super) y_axis: Axis,
    pub(super) series: Vec<Series<'a>>,
}

/// How values become heights.
pub(super) enum Axis {
    /// Of positive values: powers of ten, the least and the largest shown.
    Decades(i32, i32),
    /// From 0 to the first, with a line at each multiple of the second.
    Linear(f64, f64),
}

/// A line, named in the legend.
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: &'a str,
    /// SVG's `stroke-dasharray`: lines differ without their colours too.
    pub(super) dashes: &'a str,
    pub(super) width: f64,
}

impl Chart<'_> {
    /// The whole file.
    pub(super) fn to_svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, sans-serif\" \
             font-size=\"14\" fill=\"#222\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, (WIDTH / 2.0, 28.0), "middle", 16, self.title);
        self.draw_grid(&mut svg);
        for (row, series) in (0..).zip(&self.series) {
            self.draw(series, &mut svg);
            let y = LEGEND_TOP + LEGEND_ROW * f64::from(row);
            polyline(&mut svg, series, &[(LEFT, y), (LEFT + LEGEND_SAMPLE, y)]);
            text(&mut svg, (LEFT + LEGEND_SAMPLE + 10.0, y + 5.0), "start", 14, series.name);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_grid(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, is_minor) in self.y_axis.lines() {
            let y = self.y(value);
            line(svg, (LEFT, y), (right, y), if is_minor { "#eee" } else { "#bbb" });
            if !is_minor {
                text(svg, (LEFT - 8.0, y + 5.0), "end", 14, &value.to_string());
            }
        }
        for step in 0..=(self.x_max / self.x_step) as u32 {
            let value = f64::from(step) * self.x_step;
            let x = self.x(value);
            line(svg, (x, bottom), (x, bottom + 6.0), "#222");
            text(svg, (x, bottom + 22.0), "middle", 14, &value.to_string());
        }
        line(svg, (LEFT, bottom), (right, bottom), "#222");
        line(svg, (LEFT, TOP), (LEFT, bottom), "#222");
        text(svg, ((LEFT + right) / 2.0, HEIGHT - 14.0), "middle", 14, self.x_label);
        let middle = (TOP + bottom) / 2.0;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            svg,
            "<text x=\"22\" y=\"{middle}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 22 {middle})\">{}</text>",
            self.y_label
        );
    }

    fn draw(&self, series: &Series<'_>, svg: &mut String) {
        let points: Vec<(f64, f64)> =
            series.points.iter().map(|(x, y)| (self.x(*x), self.y(*y))).collect();
        polyline(svg, series, &points);
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * value / self.x_max
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y_axis.share(value).clamp(0.0, 1.0)
    }
}

impl Axis {
    /// Where lines are drawn, and whether a line is one without a number.
    fn lines(&self) -> Vec<(f64, bool)> {
        match *self {
            Self::Decades(least, largest) => (least..=largest)
                .flat_map(|decade| {
                    let minor = if decade < largest { 2..10 } else { 0..0 };
                    let value = 10f64.powi(decade);
                    let minor = minor.map(move |times| (value * f64::from(times), true));
                    std::iter::once((value, false)).chain(minor)
                })
                .collect(),
            Self::Linear(largest, step) => {
                let steps = 0..=(largest / step) as u32;
                steps.map(|number| (f64::from(number) * step, false)).collect()
            }
        }
    }

    /// How far up a value stands.
    fn share(&self, value: f64) -> f64 {
        match *self {
            Self::Decades(least, largest) => {
                (value.log10() - f64::from(least)) / f64::from(largest - least)
            }
            Self::Linear(largest, _) => value / largest,
        }
    }
}

fn polyline(svg: &mut String, series: &Series<'_>, points: &[(f64, f64)]) {
    let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let Series { colour, width, dashes, .. } = series;
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" \
         stroke-dasharray=\"{dashes}\"/>",
        points.join(" ")
    );
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{colour}\" fill=\"none\"/>"
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, size: u32, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_at_their_powers_of_ten() {
        let points = vec![(0.0, 1.0), (100.0, 10.0)];
        let series = Series { name: "one", points, colour: "#000", dashes: "none", width: 2.0 };
        let chart = Chart {
            title: "title",
            x_label: "count",
            y_label: "seconds",
            x_max: 100.0,
            x_step: 50.0,
            y_axis: Axis::Decades(0, 1),
            series: vec![series],
        };
        let svg = chart.to_svg();
        assert!(svg.contains("<polyline points=\"84.0,440.0 700.0,118.0\""), "{svg}");
        assert_eq!(svg.matches(">50</text>").count(), 1);
        assert_eq!(Axis::Linear(20.0, 5.0).lines().len(), 5);
        assert_eq!(Axis::Linear(20.0, 5.0).share(15.0), 0.75);
        assert_eq!(svg.matches(">10</text>").count(), 1);
    }
}
