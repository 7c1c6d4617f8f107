//! The coordinate map: the whole cluster on one plane, and each datacenter through a lens.
//!
//! Nodes of one datacenter are a millisecond apart and datacenters a hundred, so on one scale a
//! datacenter is a dot. The large map therefore labels datacenters, and a lens for each shows its
//! nodes on a scale of its own.

use super::super::projection::Projection;
use super::super::record::Outcome;
use super::{add, escape};

const WIDTH: f64 = 560.0;
const HEIGHT_MIN: f64 = 300.0;
const HEIGHT_MAX: f64 = 430.0;
const MARGIN_X: f64 = 74.0;
const MARGIN_TOP: f64 = 52.0;
/// Below the lower datacenters there are their names, and below those the ruler.
const MARGIN_BOTTOM: f64 = 78.0;
const LENS_SIZE: f64 = 180.0;
/// What the large map's text takes, in pixels per character and line.
const LABEL_CHARACTER: f64 = 7.4;
const LABEL_LINE: f64 = 14.0;

type Point = [f64; 2];

/// A linear map from the plane, in milliseconds, to the drawing, in pixels.
struct Scale {
    factor: f64,
    centre: Point,
    middle: Point,
}

impl Scale {
    fn place(&self, point: Point) -> Point {
        [
            self.middle[0] + (point[0] - self.centre[0]) * self.factor,
            // The drawing's second axis grows downwards.
            self.middle[1] - (point[1] - self.centre[1]) * self.factor,
        ]
    }
}

/// Nodes and centres on the plane.
struct Plane {
    nodes: Vec<Point>,
    trails: Vec<Vec<Point>>,
    centres: Vec<Point>,
    explained: f64,
}

/// The map and its lenses.
pub fn map(outcome: &Outcome) -> String {
    let Some(plane) = flatten(outcome) else {
        return "<p>No coordinates were recorded.</p>\n".to_owned();
    };
    let mut html = String::from("<div class=\"card\">\n");
    html.push_str(&overview(outcome, &plane));
    html.push_str("</div>\n<div class=\"lenses\">\n");
    let reach = |index: usize| {
        let centre = plane.centres[outcome.nodes[index].datacenter];
        distance(plane.nodes[index], centre)
    };
    let radius = (0..plane.nodes.len()).map(reach).fold(0.5, f64::max);
    for datacenter in 0..outcome.datacenters.len() {
        html.push_str(&lens(outcome, &plane, datacenter, radius));
    }
    html.push_str("</div>\n");
    let shown = super::percent(plane.explained);
    add(
        &mut html,
        format_args!(
            "<p class=\"note\">Coordinates have eight dimensions and a height for the access link; \
             the plane shows {shown} of their spread. Turned so that {} is on the left.</p>\n",
            escape(&outcome.datacenters[0])
        ),
    );
    html
}

/// Projects everything. Each moment of a trail is centred on the cluster's mean at that moment:
/// only relative places mean anything.
fn flatten(outcome: &Outcome) -> Option<Plane> {
    let known = outcome.nodes.iter().all(|node| node.vector_ms.len() > 1);
    if outcome.nodes.is_empty() || !known {
        return None;
    }
    let vectors: Vec<&[f64]> = outcome.nodes.iter().map(|node| &node.vector_ms[..]).collect();
    let mut projection = Projection::fit(&vectors);
    let group = |datacenter: usize| {
        let members = outcome.nodes.iter().filter(|node| node.datacenter == datacenter);
        mean(&members.map(|node| &node.vector_ms[..]).collect::<Vec<_>>())
    };
    let centres: Vec<Vec<f64>> = (0..outcome.datacenters.len()).map(group).collect();
    projection.orient(&centres[0], &centres[centres.len() - 1], &centres[centres.len() / 2]);
    let origin = mean(&vectors);
    let moments = outcome.nodes.iter().map(|node| node.trail.len()).min().unwrap_or(0);
    let drift: Vec<Vec<f64>> = (0..moments)
        .map(|moment| {
            mean(&outcome.nodes.iter().map(|node| &node.trail[moment][..]).collect::<Vec<_>>())
        })
        .collect();
    let trail = |trail: &Vec<Vec<f64>>| -> Vec<Point> {
        let centred = trail.iter().zip(&drift).map(|(at, drift)| {
            at.iter().zip(drift).zip(&origin).map(|((at, drift), origin)| at - drift + origin)
        });
        centred.map(|vector| projection.project(&vector.collect::<Vec<_>>())).collect()
    };
    Some(Plane {
        nodes: vectors.iter().map(|vector| projection.project(vector)).collect(),
        trails: outcome.nodes.iter().map(|node| trail(&node.trail)).collect(),
        centres: centres.iter().map(|centre| projection.project(centre)).collect(),
        explained: projection.explained,
    })
}

fn mean(vectors: &[&[f64]]) -> Vec<f64> {
    let dimensions = vectors.first().map_or(0, |vector| vector.len());
    let count = vectors.len() as f64;
    (0..dimensions).map(|d| vectors.iter().map(|vector| vector[d]).sum::<f64>() / count).collect()
}

fn distance(a: Point, b: Point) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// The whole cluster.
fn overview(outcome: &Outcome, plane: &Plane) -> String {
    let all = || plane.nodes.iter().chain(plane.trails.iter().flatten());
    let low: [f64; 2] = [0, 1].map(|d| all().map(|p| p[d]).fold(f64::INFINITY, f64::min));
    let high: [f64; 2] = [0, 1].map(|d| all().map(|p| p[d]).fold(f64::NEG_INFINITY, f64::max));
    let span = [0, 1].map(|d| (high[d] - low[d]).max(1.0));
    let inner = WIDTH - 2.0 * MARGIN_X;
    let factor = (inner / span[0]).min((HEIGHT_MAX - MARGIN_TOP - MARGIN_BOTTOM) / span[1]);
    let height = (span[1] * factor + MARGIN_TOP + MARGIN_BOTTOM).max(HEIGHT_MIN);
    let centre = [0, 1].map(|d| (low[d] + high[d]) / 2.0);
    let middle = (height + MARGIN_TOP - MARGIN_BOTTOM) / 2.0;
    let scale = Scale { factor, centre, middle: [WIDTH / 2.0, middle] };
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"Map of \
         the nodes' coordinates: one cluster per datacenter\">\n"
    );
    svg.push_str(&rulers(&scale, height));
    svg.push_str(&links(outcome, plane, &scale));
    for (node, trail) in outcome.nodes.iter().zip(&plane.trails) {
        svg.push_str(&path(trail, &scale, node.datacenter));
    }
    for (node, place) in outcome.nodes.iter().zip(&plane.nodes) {
        let place = scale.place(*place);
        svg.push_str(&mark(place, 4.5, node.role, node.datacenter, &node.name));
    }
    for (datacenter, name) in outcome.datacenters.iter().enumerate() {
        let [x, y] = scale.place(plane.centres[datacenter]);
        // The upper datacenters carry their name above, the others below, clear of the links.
        let above = y < middle;
        let y = if above { y - 22.0 } else { y + 32.0 };
        let half = name.chars().count() as f64 * LABEL_CHARACTER / 2.0 + 8.0;
        let x = x.clamp(half, WIDTH - half);
        add(
            &mut svg,
            format_args!(
                "<text class=\"place dc{datacenter}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>\n",
                escape(name)
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A light grid of round milliseconds, and a bar that says how wide it is.
fn rulers(scale: &Scale, height: f64) -> String {
    let step = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0];
    let step = step.into_iter().find(|step| step * scale.factor >= 46.0).unwrap_or(500.0);
    let pitch = step * scale.factor;
    let mut svg = String::from("<g class=\"grid\">");
    let [left, top] = scale.middle.map(|middle| middle.rem_euclid(pitch));
    let mut x = left;
    while x < WIDTH {
        add(&mut svg, format_args!("<path d=\"M{x:.1} 0V{height:.0}\"/>"));
        x += pitch;
    }
    let mut y = top;
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
            at - 5.0
        ),
    );
    svg
}

/// The lines between datacenters, with the emulated and the predicted round trip.
fn links(outcome: &Outcome, plane: &Plane, scale: &Scale) -> String {
    let mut svg = String::new();
    let middle = scale.middle;
    for a in 0..plane.centres.len() {
        for b in a + 1..plane.centres.len() {
            let (from, to) = (scale.place(plane.centres[a]), scale.place(plane.centres[b]));
            add(
                &mut svg,
                format_args!(
                    "<path class=\"link\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\n",
                    from[0], from[1], to[0], to[1]
                ),
            );
            let (actual, predicted) = between(outcome, a, b);
            let centre = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
            // Beside the line, on the side away from the map's middle.
            let across = [to[1] - from[1], from[0] - to[0]];
            let length = across[0].hypot(across[1]).max(1.0);
            let outward = across[0] * (centre[0] - middle[0]) + across[1] * (centre[1] - middle[1]);
            let sign = if outward < 0.0 { -1.0 } else { 1.0 };
            let [x, y] = [0, 1].map(|d| centre[d] + sign * across[d] / length * 20.0);
            let anchor = match x - centre[0] {
                offset if offset > 8.0 => "start",
                offset if offset < -8.0 => "end",
                _ => "middle",
            };
            add(
                &mut svg,
                format_args!(
                    "<text class=\"distance\" text-anchor=\"{anchor}\" x=\"{x:.1}\" \
                     y=\"{y:.1}\">{actual:.0} ms\
                     <tspan x=\"{x:.1}\" dy=\"{LABEL_LINE}\" class=\"small\">predicted \
                     {predicted:.1}</tspan></text>\n",
                ),
            );
        }
    }
    svg
}

/// Median round trip between two datacenters: emulated, and predicted from coordinates.
fn between(outcome: &Outcome, a: usize, b: usize) -> (f64, f64) {
    let place = |node: usize| outcome.nodes[node].datacenter;
    let pairs = outcome.coordinates.pairs.iter();
    let pairs: Vec<_> = pairs.filter(|pair| [place(pair.from), place(pair.to)] == [a, b]).collect();
    let median = |value: fn(&super::super::record::PairRecord) -> f64| {
        super::super::record::quantile(
            &mut pairs.iter().map(|pair| value(pair)).collect::<Vec<_>>(),
            0.5,
        )
    };
    (median(|pair| pair.actual_ms), median(|pair| pair.predicted_ms))
}

fn path(trail: &[Point], scale: &Scale, datacenter: usize) -> String {
    let Some(start) = trail.first() else { return String::new() };
    let mut data = String::new();
    for (index, point) in trail.iter().enumerate() {
        let [x, y] = scale.place(*point);
        add(&mut data, format_args!("{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" }));
    }
    let [x, y] = scale.place(*start);
    format!(
        "<path class=\"trail dc{datacenter}\" d=\"{data}\"/>\
         <circle class=\"start dc{datacenter}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>\n"
    )
}

/// A node: gates are diamonds, managers squares, workers circles.
fn mark(place: Point, size: f64, role: &str, datacenter: usize, title: &str) -> String {
    let [x, y] = place;
    let title = escape(title);
    let (element, shape) = match role {
        "gate" => {
            let reach = size * 1.35;
            let top = y - reach;
            let data =
                format!("M{x:.1} {top:.1}l{reach} {reach}l-{reach} {reach}l-{reach} -{reach}z");
            ("path", format!("d=\"{data}\""))
        }
        "manager" => {
            let (left, top, side) = (x - size, y - size, 2.0 * size);
            let corner = format!("x=\"{left:.1}\" y=\"{top:.1}\"");
            ("rect", format!("{corner} width=\"{side}\" height=\"{side}\" rx=\"1\""))
        }
        _ => ("circle", format!("cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{size}\"")),
    };
    format!("<{element} class=\"node dc{datacenter}\" {shape}><title>{title}</title></{element}>\n")
}

/// One datacenter, enlarged so that its nodes come apart.
fn lens(outcome: &Outcome, plane: &Plane, datacenter: usize, radius: f64) -> String {
    let factor = (LENS_SIZE / 2.0 - 26.0) / radius;
    let middle = [LENS_SIZE / 2.0; 2];
    let scale = Scale { factor, centre: plane.centres[datacenter], middle };
    let half = LENS_SIZE / 2.0;
    let name = escape(&outcome.datacenters[datacenter]);
    let mut svg = format!(
        "<figure class=\"card lens\"><figcaption class=\"dc{datacenter}\">{name}</figcaption>\n\
         <svg viewBox=\"0 0 {LENS_SIZE} {LENS_SIZE}\" role=\"img\" aria-label=\"Nodes of \
         {name}\">\n\
         <circle class=\"glass\" cx=\"{half}\" cy=\"{half}\" r=\"{:.0}\"/>\n",
        half - 2.0
    );
    let members: Vec<usize> =
        (0..outcome.nodes.len()).filter(|&n| outcome.nodes[n].datacenter == datacenter).collect();
    let places: Vec<Point> = members.iter().map(|&n| scale.place(plane.nodes[n])).collect();
    let labels =
        arrange(&places, members.iter().map(|&n| outcome.nodes[n].label.as_str()).collect());
    for ((&node, place), label) in members.iter().zip(&places).zip(labels) {
        let node = &outcome.nodes[node];
        svg.push_str(&leader(*place, &label));
        svg.push_str(&mark(*place, 4.5, node.role, datacenter, &node.name));
        let struck = if node.killed { " struck" } else { "" };
        add(
            &mut svg,
            format_args!(
                "<text class=\"label{struck}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
                label.left,
                label.top + 10.0,
                escape(&node.label)
            ),
        );
    }
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0];
    let step = step.into_iter().rfind(|step| step * factor <= 56.0).unwrap_or(0.05);
    let (from, at) = (8.0, LENS_SIZE - 8.0);
    add(
        &mut svg,
        format_args!(
            "<path class=\"ruler\" d=\"M{from} {:.1}V{at}H{:.1}v-4\"/>\
             <text class=\"small\" x=\"{from}\" y=\"{:.1}\">{step} ms</text>\n</svg></figure>\n",
            at - 4.0,
            from + step * factor,
            at - 7.0
        ),
    );
    svg
}

/// A thin line from a mark to a label that had to stay away from it.
fn leader([x, y]: Point, label: &Label) -> String {
    let near_x = x.clamp(label.left, label.left + label.width);
    let near_y = y.clamp(label.top + 2.0, label.top + Label::HEIGHT - 2.0);
    if distance([x, y], [near_x, near_y]) < 12.0 {
        return String::new();
    }
    format!("<path class=\"leader\" d=\"M{x:.1} {y:.1}L{near_x:.1} {near_y:.1}\"/>\n")
}

/// A label's box.
#[derive(Clone, Copy)]
struct Label {
    left: f64,
    top: f64,
    width: f64,
}

impl Label {
    const HEIGHT: f64 = 13.0;

    /// How much of another box, or of the outside, this one covers.
    fn overlap(&self, other: &Label) -> f64 {
        let across =
            (self.left + self.width).min(other.left + other.width) - self.left.max(other.left);
        let down = Label::HEIGHT - (self.top - other.top).abs();
        across.max(0.0) * down.max(0.0)
    }

    fn outside(&self) -> f64 {
        let right = self.left + self.width - LENS_SIZE;
        let bottom = self.top + Label::HEIGHT - LENS_SIZE;
        [-self.left, right, -self.top, bottom].into_iter().map(|beyond| beyond.max(0.0)).sum()
    }
}

/// Puts each label where it covers least: beside its mark, above or below, or further out.
fn arrange(places: &[Point], names: Vec<&str>) -> Vec<Label> {
    let marks = places.iter().map(|[x, y]| Label { left: x - 6.0, top: y - 6.5, width: 12.0 });
    let mut taken: Vec<Label> = marks.collect();
    let mut labels = Vec::with_capacity(places.len());
    for ([x, y], name) in places.iter().zip(names) {
        let width = name.chars().count() as f64 * 5.9 + 2.0;
        let candidates = [0.0, 11.0, 22.0].into_iter().flat_map(|away| {
            [
                (x + 9.0, y - 6.5 - away),
                (x + 9.0, y - 6.5 + away),
                (x - 9.0 - width, y - 6.5 - away),
                (x - 9.0 - width, y - 6.5 + away),
                (x - width / 2.0, y - 20.0 - away),
                (x - width / 2.0, y + 7.0 + away),
            ]
            .map(|(left, top)| (away, Label { left, top, width }))
        });
        let cost = |(away, label): &(f64, Label)| {
            let covered: f64 = taken.iter().map(|other| label.overlap(other)).sum();
            covered + 40.0 * label.outside() + away
        };
        let best = candidates.min_by(|a, b| cost(a).total_cmp(&cost(b)));
        let (_, label) = best.expect("there are candidates");
        taken.push(label);
        labels.push(label);
    }
    labels
}
