//! The report's words and tables.

use super::super::record::{Moment, Outcome, PhaseRecord};
use super::{add, count, duration, escape, percent};

/// The page's icon: three fish.
pub const ICON: &str = concat!(
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E",
    "%3Cpath d='M3 10q6-6 12 0q-6 6-12 0zm-2-3l3 3-3 3z' fill='%234076d8'/%3E",
    "%3Cpath d='M15 19q6-6 12 0q-6 6-12 0zm-2-3l3 3-3 3z' fill='%23d98314'/%3E",
    "%3Cpath d='M5 26q5-5 10 0q-5 5-10 0zm-2-3l3 3-3 3z' fill='%2318997a'/%3E%3C/svg%3E"
);

/// A fish that swims to the right, its nose at the given place.
fn fish(x: f64, y: f64, size: f64, datacenter: usize) -> String {
    let (body, depth, tail) = (size, size * 0.42, size * 0.3);
    format!(
        "<path class=\"fish dc{datacenter}\" d=\"M{x} {y}q{:.1} {:.1} {:.1} 0l-{tail:.1} \
         -{tail:.1}v{:.1}l{tail:.1} -{tail:.1}q{:.1} {:.1} {:.1} 0z\"/>",
        -body / 2.0,
        -depth * 2.0,
        -body,
        tail * 2.0,
        body / 2.0,
        depth * 2.0,
        body
    )
}

/// The shoal: five fish per datacenter, as many as there are nodes.
fn shoal() -> String {
    let places: [[f64; 2]; 15] = [
        [188.0, 34.0],
        [160.0, 18.0],
        [158.0, 50.0],
        [130.0, 33.0],
        [126.0, 62.0],
        [134.0, 8.0],
        [100.0, 20.0],
        [98.0, 47.0],
        [70.0, 32.0],
        [72.0, 60.0],
        [104.0, 72.0],
        [66.0, 10.0],
        [40.0, 46.0],
        [38.0, 20.0],
        [44.0, 70.0],
    ];
    let fishes = places.iter().enumerate();
    let fishes = fishes.map(|(index, [x, y])| fish(*x, *y, 19.0, [0, 1, 2, 1, 0, 2, 0][index % 7]));
    let fishes: String = fishes.collect();
    format!("<svg class=\"logo\" viewBox=\"14 0 180 82\" aria-hidden=\"true\">{fishes}</svg>\n")
}

/// The top of the page.
pub fn headline(outcome: &Outcome) -> String {
    let names = outcome.datacenters.iter().enumerate();
    let names: Vec<String> =
        names.map(|(index, name)| format!("<b class=\"dc{index}\">{}</b>", escape(name))).collect();
    let (last, others) = names.split_last().map_or(("", &[][..]), |(last, others)| (last, others));
    format!(
        "<header>\n{}<h1>A shoal, seen at work</h1>\n<p>{} encrypted nodes in {} and {last}, each \
         on a UDP socket of its own, with the delays of those places between them. They found each \
         other, worked out where they are, routed {} jobs, lost the managers of {} and carried on. \
         Everything below was measured in this one run of {}.</p>\n</header>\n",
        shoal(),
        outcome.nodes.len(),
        others.join(", "),
        count(u64::from(total(&outcome.routing.before))),
        escape(&outcome.datacenters[outcome.detection.datacenter]),
        duration(outcome.duration_ms)
    )
}

fn total(table: &[Vec<u32>]) -> u32 {
    table.iter().flatten().sum()
}

/// The key figures.
pub fn figures(outcome: &Outcome) -> String {
    let detection = &outcome.detection;
    let routing = &outcome.routing;
    let alarms = match detection.false_deaths {
        0 => "no healthy node was ever declared dead".to_owned(),
        number => format!("{number} declarations about healthy nodes"),
    };
    let figures = [
        (
            duration(outcome.formation.mesh_ms),
            "to a full mesh",
            format!("{} views, all alive", outcome.formation.views),
        ),
        (
            percent(outcome.coordinates.median_relative_error),
            "prediction error",
            "median between datacenters, from coordinates alone".to_owned(),
        ),
        (
            duration(routing.median_rtt_ms),
            "from gate to chosen datacenter",
            format!("a random choice: {}", duration(routing.random_median_rtt_ms)),
        ),
        (
            duration(detection.first_dead_ms),
            "until the failure was known",
            format!("to every survivor after {}", duration(detection.all_dead_ms)),
        ),
        (
            duration(routing.failover_ms),
            "until all jobs went elsewhere",
            format!("{} jobs met a dead manager and were routed again", routing.misdirected),
        ),
        (count(u64::from(detection.false_deaths)), "false alarms", alarms),
    ];
    let mut html = String::from("<ul class=\"figures\">\n");
    for (value, title, detail) in figures {
        add(
            &mut html,
            format_args!(
                "<li><strong>{value}</strong><span>{title}</span><small>{detail}</small></li>\n"
            ),
        );
    }
    html.push_str("</ul>\n");
    html
}

/// What the accuracy charts say.
pub fn accuracy(outcome: &Outcome) -> String {
    let coordinates = &outcome.coordinates;
    format!(
        "After {} of probing, half of all predictions between datacenters are within {} of the \
         truth and nine in ten within {}; over all pairs the median error is {}. The upper bound \
         that routing uses holds for {} of the pairs.",
        coordinates.samples.last().map_or("no time".to_owned(), |sample| duration(sample.at_ms)),
        percent(coordinates.median_relative_error),
        percent(coordinates.p90_relative_error),
        duration(coordinates.median_absolute_error_ms),
        percent(coordinates.within_bound)
    )
}

/// What the routing charts say.
pub fn routing(outcome: &Outcome) -> String {
    let routing = &outcome.routing;
    let reason = |(name, jobs): (&&str, &u32)| {
        format!("<i>{}</i> {}", name.replace('_', " "), count(u64::from(*jobs)))
    };
    let reasons = routing.reasons.iter().map(reason);
    let lost = outcome.detection.datacenter;
    let row = routing.after.get(lost).map_or(&[][..], Vec::as_slice);
    let mut next: Vec<usize> = (0..row.len()).filter(|&index| row[index] > 0).collect();
    next.sort_by_key(|&index| std::cmp::Reverse(row[index]));
    let next = next
        .into_iter()
        .map(|index| format!("<b class=\"dc{index}\">{}</b>", escape(&outcome.datacenters[index])));
    let next = next.collect::<Vec<_>>().join(" or ");
    format!(
        "A gate sends a job to the best health there is, and there to where the upper bound of the \
         round trip, made worse by load and doubt, is lowest. After the managers of <b \
         class=\"dc{lost}\">{}</b> died, {} jobs were still sent to them and had to be routed \
         again; {} after the failure the last of them had been, and from then on its gate chose {}. \
         The router's own reasons: {}.",
        escape(&outcome.datacenters[lost]),
        routing.misdirected,
        duration(routing.failover_ms),
        if next.is_empty() { "nobody" } else { &next },
        reasons.collect::<Vec<_>>().join(", ")
    )
}

/// What the detection chart says.
pub fn detection(outcome: &Outcome) -> String {
    let detection = &outcome.detection;
    format!(
        "The two managers stopped without a word at {} into the run. The first survivor grew \
         suspicious after {}, the first death was declared after {}, and after {} every survivor \
         knew of both.",
        duration(detection.at_ms),
        duration(detection.first_suspect_ms),
        duration(detection.first_dead_ms),
        duration(detection.all_dead_ms)
    )
}

/// The phases as a strip, and as a list with what each found.
pub fn timeline(outcome: &Outcome) -> String {
    let mut html = String::from("<div class=\"card\">\n<div class=\"strip\" aria-hidden=\"true\">");
    for (index, phase) in outcome.phases.iter().enumerate() {
        let length = (phase.end_ms - phase.start_ms).max(1.0);
        add(&mut html, format_args!("<i style=\"flex:{length:.0}\">{}</i>", index + 1));
    }
    html.push_str("</div>\n<ol class=\"timeline\">\n");
    for phase in &outcome.phases {
        let PhaseRecord { name, start_ms, end_ms, summary, moments } = phase;
        add(
            &mut html,
            format_args!(
                "<li><b>{name}</b> <time>{:.1} s to {:.1} s</time><p>{}</p>{}</li>\n",
                start_ms / 1e3,
                end_ms / 1e3,
                escape(summary),
                moment_list(moments)
            ),
        );
    }
    html.push_str("</ol>\n</div>\n");
    html
}

/// What was notable in a phase.
fn moment_list(moments: &[Moment]) -> String {
    if moments.is_empty() {
        return String::new();
    }
    let items = moments.iter().map(|Moment { at_ms, text }| {
        format!("<li><time>{:.2} s</time> {}</li>", at_ms / 1e3, escape(text))
    });
    format!("<ul class=\"moments\">{}</ul>", items.collect::<String>())
}

/// What the chart of the job that ran out of time says.
pub fn deadline(outcome: &Outcome) -> String {
    let timeout = &outcome.timeout;
    let gate = outcome.nodes.get(timeout.gate).map_or("", |node| &node.name);
    format!(
        "Job {} was given {} and nobody finished it. Shortly before the end its workers asked for more \
         time and were granted {} (AD-26), so nothing happened when the first time was over. Then its \
         managers reported it, the {} declared the global timeout after {} (AD-34), and {} after its \
         start the last datacenter had ended it. The nodes deliver these messages themselves.",
        timeout.job,
        duration(timeout.limit_ms),
        duration(timeout.extension_ms),
        escape(gate),
        duration(timeout.decided_ms),
        duration(timeout.ended_ms)
    )
}

/// One line per node.
pub fn nodes(outcome: &Outcome) -> String {
    let mut html = String::from(
        "<div class=\"card scroll\"><table>\n<thead><tr><th>Node</th><th>saw all</th>\
         <th>height</th><th>fate</th></tr></thead>\n<tbody>\n",
    );
    for node in &outcome.nodes {
        let fate = if node.killed { "killed" } else { "left" };
        add(
            &mut html,
            format_args!(
                "<tr><td><b class=\"dc{}\">{}</b> <code>{}</code></td><td>{}</td><td>{:.2} \
                 ms</td><td class=\"{fate}\">\
                 {fate}</td></tr>\n",
                node.datacenter,
                escape(&node.name),
                escape(&node.address),
                duration(node.complete_ms),
                node.height_ms
            ),
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

/// How it was done and how to do it again.
pub fn footer(outcome: &Outcome) -> String {
    let traffic = &outcome.traffic;
    format!(
        "<footer>\n<p>Nodes sent {} datagrams, {} kB, AES-256-GCM sealed: {:.0} per node and \
         second. The relay delivered {}, none later than {} after its time. Backend {}, seed {}, \
         shoal {}.</p>\n\
         <p>Do it again: <code>shoal demo --seed {}</code></p>\n</footer>\n",
        count(traffic.datagrams),
        count(traffic.bytes / 1000),
        traffic.datagrams_per_node_second,
        count(traffic.relayed),
        duration(traffic.relay_lateness_max_ms),
        outcome.backend,
        outcome.seed,
        outcome.version,
        outcome.seed
    )
}
