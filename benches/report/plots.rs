//! The report's plots, drawn by plotters as SVG, for a page that may be light or dark.
//!
//! plotters writes colours as numbers. The few used here are put-ins that [`themed`] replaces by
//! the style sheet's variables, so that one drawing follows the reader's colour scheme.

use plotters::coord::Shift;
use plotters::coord::ranged1d::ValueFormatter;
use plotters::prelude::*;
use shoal_benches::figures::{Figure, Results};

use crate::numbers::{plain, show};
use crate::scale::{Growth, growths};

/// Drawn so wide, so that text stays legible when a phone shows it smaller.
const SIZE: (u32, u32) = (560, 340);
/// Where bars begin, behind their names.
const LEFT: i32 = 236;
const FONT: (&str, u32) = ("sans-serif", 15);

const TEXT: RGBColor = RGBColor(1, 2, 3);
const GRID: RGBColor = RGBColor(2, 3, 4);
const OURS: RGBColor = RGBColor(3, 4, 5);
const THEIRS: RGBColor = RGBColor(4, 5, 6);
const LIMIT: RGBColor = RGBColor(5, 6, 7);

/// Put-in and variable of the style sheet.
const THEME: [(&str, &str); 5] = [
    ("#010203", "var(--soft)"),
    ("#020304", "var(--grid)"),
    ("#030405", "var(--dc0)"),
    ("#040506", "var(--dc1)"),
    ("#050607", "var(--faint)"),
];

/// A plot and what it shows.
#[derive(Debug)]
pub struct Plot {
    pub title: &'static str,
    pub note: String,
    pub svg: String,
}

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Every plot for which there are figures.
pub fn all(results: &Results) -> Vec<Plot> {
    [exchanges(results), detection(results), updates(results), tick(results)]
        .into_iter()
        .flatten()
        .collect()
}

/// Draws, and gives the drawing its place in the page. A plot that cannot be drawn is left out.
fn draw(
    title: &'static str,
    note: String,
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Drawn,
) -> Option<Plot> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        paint(&area).and_then(|()| Ok(area.present()?)).ok()?;
    }
    Some(Plot { title, note, svg: themed(&svg, title, size) })
}

/// The drawing with the page's colours, free to take the width that there is.
fn themed(svg: &str, title: &str, (width, height): (u32, u32)) -> String {
    let mut themed = svg.to_owned();
    for (put_in, variable) in THEME {
        themed = themed.replace(put_in, variable);
    }
    let body = themed.split_once('>').map_or("", |(_, body)| body);
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" \
         xmlns=\"http://www.w3.org/2000/svg\">{body}"
    )
}

fn font<'a>() -> TextStyle<'a> {
    TextStyle::from(FONT.into_font()).color(&TEXT)
}

/// Processor time per exchange, a bar per server.
fn exchanges(results: &Results) -> Option<Plot> {
    let servers = [
        ("asyncio", "asyncio echo", THEIRS),
        ("echo", "bare echo", THEIRS),
        ("poll", "Shoal, poll", OURS),
        ("uring", "Shoal, uring", OURS),
    ];
    let mut bars: Vec<(String, f64, RGBColor)> = Vec::new();
    for (pattern, words) in [
        ("bursts", "32 at a time"),
        ("singles", "one at a time"),
        ("hyperscale", "Python's format"),
    ] {
        for (server, name, color) in servers {
            if let Some(cpu) = results.value(&format!("exchange/{pattern}/{server}/cpu")) {
                bars.push((format!("{name}, {words}"), cpu, color));
            }
        }
    }
    let most = bars.iter().map(|bar| bar.1).fold(0.0, f64::max);
    if bars.is_empty() {
        return None;
    }
    let note =
        "A node opens, parses, applies, answers and seals; an echo returns the bytes it got.";
    let row = 34;
    let height = bars.len() as u32 * row + 16;
    draw("Processor time per exchange", note.to_owned(), (SIZE.0, height), |area| {
        for (index, (name, cpu, color)) in bars.iter().rev().enumerate() {
            let top = 8 + index as i32 * row as i32;
            // The root of the time, so that the short ones can be told apart beside the long ones.
            let share = (cpu / most).powf(0.5);
            let right = LEFT + (share * 240.0) as i32;
            let bar = Rectangle::new([(LEFT, top + 4), (right, top + 26)], color.filled());
            area.draw(&bar)?;
            area.draw(&Text::new(name.clone(), (0, top + 9), font()))?;
            area.draw(&Text::new(show(*cpu, "ns"), (right + 8, top + 9), font()))?;
        }
        Ok(())
    })
}

/// How the share of kills that everybody knows of grows with time.
fn detection(results: &Results) -> Option<Plot> {
    let ours = results.get("detect/shoal/all")?;
    let theirs = results.get("detect/serf/all");
    let longest = theirs.map_or(ours.high, |theirs| theirs.high.max(ours.high)) / 1e3;
    let note =
        "Share of the kills of one agent of five that all the others have declared.".to_owned();
    draw("From a kill to everybody knowing", note, SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(46)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..longest * 1.1, 0.0..102.0)?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(font())
            .x_desc("seconds")
            .x_label_formatter(&|value| plain(*value))
            .y_label_formatter(&|value| format!("{value:.0} %"))
            .draw()?;
        for (figure, name, color) in [(Some(ours), "Shoal", OURS), (theirs, "Serf", THEIRS)] {
            let Some(figure) = figure else { continue };
            let steps = share_known(figure, longest * 1.1);
            chart.draw_series(LineSeries::new(steps, color.stroke_width(3)))?;
            let label = font().color(&color);
            let at = (figure.value / 1e3 + longest * 0.02, 44.0);
            chart.draw_series([Text::new(name, at, label)])?;
        }
        Ok(())
    })
}

/// The steps of a cumulative distribution, seconds against per cent.
fn share_known(figure: &Figure, end: f64) -> Vec<(f64, f64)> {
    let mut sorted: Vec<f64> = figure.samples.iter().map(|ms| ms / 1e3).collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len().max(1) as f64;
    let mut steps = vec![(0.0, 0.0)];
    for (index, &at) in sorted.iter().enumerate() {
        steps.push((at, 100.0 * index as f64 / count));
        steps.push((at, 100.0 * (index + 1) as f64 / count));
    }
    steps.push((end, 100.0));
    steps
}

fn updates(results: &Results) -> Option<Plot> {
    let growths = growths(results);
    let wanted: Vec<&Growth> = growths.iter().filter(|g| g.title.contains("updates")).collect();
    curve("A datagram with 20 updates, by members", &wanted)
}

fn tick(results: &Results) -> Option<Plot> {
    let growths = growths(results);
    let wanted: Vec<&Growth> = growths.iter().filter(|g| g.title.contains("round")).collect();
    curve("A probe round, by members", &wanted)
}

/// Costs by number of members, both axes logarithmic.
fn curve(title: &'static str, growths: &[&Growth]) -> Option<Plot> {
    let points = || growths.iter().flat_map(|growth| &growth.points);
    let least = points().map(|(_, figure)| figure.value).reduce(f64::min)?;
    let most = points().map(|(_, figure)| figure.value).reduce(f64::max)?;
    let words = |growth: &&Growth| {
        let name = growth.title.rsplit(' ').next().unwrap_or_default();
        format!("{name} grows with members ^ {}", plain(growth.exponent()))
    };
    let note = growths.iter().map(words).collect::<Vec<_>>().join("; ") + ".";
    draw(title, note, SIZE, |area| {
        let x = (80.0..130_000.0).log_scale();
        let y = (least / 3.0..most * 3.0).log_scale();
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(46)
            .y_label_area_size(62)
            .build_cartesian_2d(x, y)?;
        mesh(&mut chart)?;
        for growth in growths {
            let color = if growth.is_ours { OURS } else { THEIRS };
            let points = || growth.points.iter().map(|(size, figure)| (*size, figure.value));
            chart.draw_series(LineSeries::new(points(), color.stroke_width(3)))?;
            chart.draw_series(points().map(|at| Circle::new(at, 5, color.filled())))?;
            let name = growth.title.rsplit(' ').next().unwrap_or_default();
            if let Some((size, value)) = points().next() {
                let at = (size, value * 1.9);
                chart.draw_series([Text::new(name, at, font().color(&color))])?;
            }
        }
        Ok(())
    })
}

fn mesh<X, Y>(chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>) -> Drawn
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut style = chart.configure_mesh();
    style.axis_style(LIMIT).bold_line_style(GRID).light_line_style(TRANSPARENT);
    style.label_style(font()).x_desc("members").x_labels(5).y_labels(5);
    style
        .x_label_formatter(&|value| show(*value, ""))
        .y_label_formatter(&|value| show(*value, "ns"));
    style.draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_have_no_colour_of_their_own_but_the_pages() {
        let mut results = crate::goals::tests::run().results;
        results.add("criterion/updates/handle 20/foca/100", 2_000.0, "ns");
        results.add("criterion/updates/handle 20/foca/50000", 473_000.0, "ns");
        let plots = all(&results);
        assert_eq!(plots.len(), 3);
        for plot in plots {
            assert!(plot.svg.starts_with("<svg class=\"chart\" viewBox=\"0 0 560"));
            assert!(plot.svg.trim_end().ends_with("</svg>"));
            assert!(plot.svg.contains("var(--dc0)"));
            assert!(!plot.svg.contains("=\"#"), "{}", plot.svg);
        }
        assert!(all(&Results::default()).is_empty());
    }

    #[test]
    fn the_share_of_what_is_known_grows_to_all() {
        let mut results = Results::default();
        results.add_samples("x", &[2_000.0, 1_000.0], "ms");
        let steps = share_known(results.get("x").unwrap(), 3.0);
        assert_eq!(
            steps,
            [(0.0, 0.0), (1.0, 0.0), (1.0, 50.0), (2.0, 50.0), (2.0, 100.0), (3.0, 100.0)]
        );
    }
}
