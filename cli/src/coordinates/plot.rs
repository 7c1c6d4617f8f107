//! The members' coordinates as a picture: a page or a drawing that needs nothing but itself.
//!
//! Eight dimensions are flattened onto the plane that shows most of their spread, on one scale in
//! milliseconds; heights (access links) have no direction and stand in the table. The page wears
//! the demo report's look, in light and in dark.

use crate::control::protocol::Place;
use crate::demo::projection::Projection;
use crate::markup::{add, escape};

/// The look of all pages of this program.
const STYLE: &str = include_str!("../demo/report/style.css");
/// Colours of further datacenters, beyond the three of the demo. After the sixth they begin anew.
const MORE_COLOURS: &str = "\
:root { --dc3: #8250c8; --dc4: #b3306f; --dc5: #5d7a1f; }
@media (prefers-color-scheme: dark) { :root { --dc3: #b995f5; --dc4: #f283b4; --dc5: #a9cc5e; } }
.dc3 { --c: var(--dc3); } .dc4 { --c: var(--dc4); } .dc5 { --c: var(--dc5); }
.down { fill: none; stroke: var(--bad); }
";
const COLOUR_COUNT: usize = 6;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 520.0;
const MARGIN_X: f64 = 96.0;
const MARGIN_Y: f64 = 70.0;
/// The narrowest picture, in milliseconds: on one machine, noise should not fill the page.
const SPAN_MS_MIN: f64 = 1.0;
/// Rows of the table of members; more would make a page that no phone opens.
const ROW_COUNT_MAX: usize = 500;

type Point = [f64; 2];

/// Members by datacenter, on the plane.
struct Map<'a> {
    places: &'a [Place],
    points: Vec<Point>,
    datacenters: Vec<&'a str>,
    explained: f64,
}

impl<'a> Map<'a> {
    fn new(places: &'a [Place]) -> Map<'a> {
        let mut datacenters: Vec<&str> =
            places.iter().map(|place| place.datacenter.as_str()).collect();
        datacenters.sort_unstable();
        datacenters.dedup();
        let vectors: Vec<&[f64]> = places.iter().map(|place| &place.vector_ms[..]).collect();
        let mut projection = Projection::fit(&vectors);
        if let [first, .., last] = &vectors[..] {
            projection.orient(first, last, vectors[vectors.len() / 2]);
        }
        let points = vectors.iter().map(|vector| projection.project(vector)).collect();
        Map { places, points, datacenters, explained: projection.explained }
    }

    fn datacenter(&self, index: usize) -> usize {
        let name = self.places[index].datacenter.as_str();
        self.datacenters.binary_search(&name).expect("collected from the same list")
    }

    /// The members of a datacenter.
    fn inside(&self, datacenter: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.places.len()).filter(move |&index| self.datacenter(index) == datacenter)
    }
}

/// A whole page. There has to be at least one place.
pub fn page(places: &[Place], asked: &str) -> String {
    let map = Map::new(places);
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Shoal coordinates</title>\n",
    );
    add(
        &mut page,
        format_args!("<style>\n{STYLE}{MORE_COLOURS}</style>\n</head>\n<body>\n<main>\n"),
    );
    let (nodes, datacenters) = (places.len(), map.datacenters.len());
    add(
        &mut page,
        format_args!(
            "<header>\n<h1>Where the nodes are</h1>\n<p>{nodes} {} in {datacenters} {}, placed by \
             the round trips between them, as {} sees them.</p>\n</header>\n",
            if nodes == 1 { "node" } else { "nodes" },
            if datacenters == 1 { "datacenter" } else { "datacenters" },
            escape(asked)
        ),
    );
    page.push_str("<section>\n<h2>The map</h2>\n<div class=\"card\">\n");
    page.push_str(&drawing(&map));
    add(
        &mut page,
        format_args!(
            "</div>\n<p class=\"note\">Coordinates have eight dimensions; this plane shows {:.0} % \
             of their spread. Point at a dot for its address.</p>\n</section>\n",
            map.explained * 100.0
        ),
    );
    if datacenters > 1 {
        page.push_str(&distances(&map));
    }
    page.push_str(&members(&map));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// The map alone, as a drawing. There has to be at least one place.
pub fn svg(places: &[Place]) -> String {
    let drawing = drawing(&Map::new(places));
    let style = format!(
        "<style>\n{STYLE}{MORE_COLOURS}svg {{ font-family: system-ui, sans-serif; }}\n</style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill: var(--card)\"/>\n"
    );
    let opened = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\"";
    let drawing = drawing.replacen("<svg class=\"map\"", opened, 1);
    let (head, body) = drawing.split_once(">\n").expect("the head ends its line");
    format!("{head}>\n{style}{body}")
}

fn drawing(map: &Map<'_>) -> String {
    let bound = |d: usize, start: f64, pick: fn(f64, f64) -> f64| {
        map.points.iter().map(|point| point[d]).fold(start, pick)
    };
    let low = [0, 1].map(|d| bound(d, f64::INFINITY, f64::min));
    let high = [0, 1].map(|d| bound(d, f64::NEG_INFINITY, f64::max));
    let span = [0, 1].map(|d| (high[d] - low[d]).max(SPAN_MS_MIN));
    let factor = ((WIDTH - 2.0 * MARGIN_X) / span[0]).min((HEIGHT - 2.0 * MARGIN_Y) / span[1]);
    // No taller than its content needs.
    let height = (span[1] * factor + 2.0 * MARGIN_Y).max(HEIGHT * 0.6);
    let middle = [0, 1].map(|d| (low[d] + high[d]) / 2.0);
    let at = |point: Point| {
        let x = WIDTH / 2.0 + (point[0] - middle[0]) * factor;
        [x, height / 2.0 - (point[1] - middle[1]) * factor]
    };
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"Map of the members' coordinates\">\n"
    );
    svg.push_str(&grid(factor, height));
    for (index, point) in map.points.iter().enumerate() {
        let place = &map.places[index];
        let [x, y] = at(*point);
        let colour = map.datacenter(index) % COLOUR_COUNT;
        let down = if place.state == "alive" { "" } else { " down" };
        add(
            &mut svg,
            format_args!(
                "<circle class=\"dot dc{colour}{down}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"6\">\
                 <title>{} {} in {}, {}</title></circle>\n",
                escape(&place.address),
                escape(&place.role),
                escape(&place.datacenter),
                escape(&place.state)
            ),
        );
    }
    let mut labels = Labels::default();
    for (number, name) in map.datacenters.iter().enumerate() {
        let inside: Vec<Point> = map.inside(number).map(|index| at(map.points[index])).collect();
        let count = inside.len();
        let mean = |d: usize| inside.iter().map(|point| point[d]).sum::<f64>() / count as f64;
        let top = inside.iter().map(|point| point[1]).fold(f64::INFINITY, f64::min);
        let text = format!("{name} ({count})");
        let half = text.chars().count() as f64 * 5.0;
        let x = mean(0).clamp(half, WIDTH - half);
        let y = labels.free([x, top - 16.0], half, height);
        let colour = number % COLOUR_COUNT;
        add(
            &mut svg,
            format_args!(
                "<text class=\"place dc{colour}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
                escape(&text)
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Labels that are drawn, so that the next one can keep clear of them.
#[derive(Default)]
struct Labels(Vec<(Point, f64)>);

impl Labels {
    /// The height of a label at this place, lifted until it covers no other, or put below all of
    /// them.
    fn free(&mut self, [x, mut y]: Point, half: f64, height: f64) -> f64 {
        let covers = |labels: &Labels, y: f64| {
            labels.0.iter().any(|([other_x, other_y], other_half)| {
                (x - other_x).abs() < half + other_half && (y - other_y).abs() < 20.0
            })
        };
        let start = y;
        while covers(self, y) && y > 20.0 {
            y -= 20.0;
        }
        if covers(self, y) {
            y = start;
            while covers(self, y) && y < height - 12.0 {
                y += 20.0;
            }
        }
        self.0.push(([x, y], half));
        y
    }
}

/// A light grid of round milliseconds and a bar that says how wide it is.
fn grid(factor: f64, height: f64) -> String {
    let steps = [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0];
    let step = steps.into_iter().find(|step| step * factor >= 60.0).unwrap_or(500.0);
    let pitch = step * factor;
    let mut svg = String::from("<g class=\"grid\">");
    let mut x = pitch / 2.0;
    while x < WIDTH {
        add(&mut svg, format_args!("<path d=\"M{x:.1} 0V{height:.0}\"/>"));
        x += pitch;
    }
    let mut y = pitch / 2.0;
    while y < height {
        add(&mut svg, format_args!("<path d=\"M0 {y:.1}H{WIDTH}\"/>"));
        y += pitch;
    }
    let (from, at) = (14.0, height - 14.0);
    add(
        &mut svg,
        format_args!(
            "</g>\n<path class=\"ruler\" d=\"M{from} {:.1}V{at:.1}H{:.1}v-5\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{step} ms</text>\n",
            at - 5.0,
            from + pitch,
            from + 5.0,
            at - 7.0
        ),
    );
    svg
}

/// The predicted round trips between datacenters.
fn distances(map: &Map<'_>) -> String {
    let mut html = String::from(
        "<section>\n<h2>Between datacenters</h2>\n<p class=\"introduction\">Median of the \
         predicted round trips, in milliseconds; inside a datacenter between its own nodes.</p>\n\
         <div class=\"card scroll\">\n<table>\n<tr><th></th>",
    );
    for (number, name) in map.datacenters.iter().enumerate() {
        let colour = number % COLOUR_COUNT;
        add(&mut html, format_args!("<th><b class=\"dc{colour}\">{}</b></th>", escape(name)));
    }
    html.push_str("</tr>\n");
    for (row, name) in map.datacenters.iter().enumerate() {
        let colour = row % COLOUR_COUNT;
        add(&mut html, format_args!("<tr><td><b class=\"dc{colour}\">{}</b></td>", escape(name)));
        for column in 0..map.datacenters.len() {
            match median_between(map, row, column) {
                Some(ms) => add(&mut html, format_args!("<td>{ms:.1}</td>")),
                None => html.push_str("<td>-</td>"),
            }
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n</div>\n</section>\n");
    html
}

fn median_between(map: &Map<'_>, a: usize, b: usize) -> Option<f64> {
    // A sample is as good as all pairs of two large datacenters.
    let some = |datacenter: usize| map.inside(datacenter).take(40).collect::<Vec<_>>();
    let (from, to) = (some(a), some(b));
    let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
    let mut all: Vec<f64> = pairs
        .filter(|(from, to)| from != to)
        .map(|(from, to)| {
            map.places[from].coordinate().distance(&map.places[to].coordinate()) * 1e3
        })
        .collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

fn members(map: &Map<'_>) -> String {
    let mut html = String::from(
        "<section>\n<h2>The nodes</h2>\n<div class=\"card scroll\">\n<table>\n<tr><th>address</th>\
         <th>datacenter</th><th>role</th><th>state</th><th>access link, ms</th><th>error</th>\
         </tr>\n",
    );
    let mut order: Vec<&Place> = map.places.iter().collect();
    order.sort_by_key(|place| (&place.datacenter, &place.role, &place.address));
    for place in order.iter().take(ROW_COUNT_MAX) {
        let number = map.datacenters.binary_search(&place.datacenter.as_str()).unwrap_or(0);
        let state = if place.state == "alive" { "" } else { " class=\"killed\"" };
        add(
            &mut html,
            format_args!(
                "<tr><td><code>{}</code></td><td><b class=\"dc{}\">{}</b></td><td>{}</td>\
                 <td{state}>{}</td><td>{:.2}</td><td>{:.0} %</td></tr>\n",
                escape(&place.address),
                number % COLOUR_COUNT,
                escape(&place.datacenter),
                escape(&place.role),
                escape(&place.state),
                place.height_ms,
                place.error * 100.0
            ),
        );
    }
    html.push_str("</table>\n</div>\n");
    if order.len() > ROW_COUNT_MAX {
        let rest = order.len() - ROW_COUNT_MAX;
        add(&mut html, format_args!("<p class=\"note\">and {rest} more</p>\n"));
    }
    html.push_str("</section>\n");
    html
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Four datacenters on a square of 40 ms, three nodes each.
    pub fn invented() -> Vec<Place> {
        let corners =
            [("east", 0.0, 0.0), ("north", 40.0, 0.0), ("south", 0.0, 40.0), ("west", 40.0, 40.0)];
        let mut places = Vec::new();
        for (number, (datacenter, x, y)) in corners.into_iter().enumerate() {
            for node in 0..3 {
                let mut vector_ms = [0.0; 8];
                (vector_ms[2], vector_ms[5]) = (x + f64::from(node), y);
                places.push(Place {
                    address: format!("10.0.{number}.{node}:7462"),
                    role: "manager".to_owned(),
                    datacenter: datacenter.to_owned(),
                    state: if node == 2 { "suspect" } else { "alive" }.to_owned(),
                    vector_ms,
                    height_ms: 0.5,
                    adjustment_ms: 0.0,
                    error: 0.1,
                });
            }
        }
        places
    }

    #[test]
    fn a_page_has_every_node_and_every_distance() {
        let page = page(&invented(), "10.0.0.0:7462");
        assert_eq!(page.matches("<circle").count(), 12);
        assert!(page.contains("12 nodes in 4 datacenters"));
        assert!(page.contains("<td>41.0</td>"), "40 ms and two access links of 0.5 ms");
        assert!(!page.contains("http"), "it needs nothing but itself");
    }

    #[test]
    fn a_drawing_stands_alone() {
        let svg = svg(&invented());
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"map\" viewBox"));
        assert!(svg.trim_end().ends_with("</svg>") && svg.contains("prefers-color-scheme: dark"));
        assert_eq!(svg.matches("<svg").count(), 1);
    }

    #[test]
    fn names_cannot_break_the_page() {
        let mut places = invented();
        places[0].state = "<script>".to_owned();
        assert!(!page(&places, "a&b").contains("<script>"));
    }

    #[test]
    fn one_node_alone_is_a_picture_too() {
        let places = &invented()[..1];
        assert_eq!(page(places, "a").matches("<circle").count(), 1);
        assert!(!page(places, "a").contains("NaN"));
    }
}
