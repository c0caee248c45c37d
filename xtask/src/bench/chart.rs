//! Charts as SVG, readable in light and in dark.

use super::figures::All;
use super::table::{ASYNCIO_TCP, Group, RAW_TONIC};

const STYLE: &str = "<style>text{font:13px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.o{fill:#8c959f}.q{fill:#0969da}\
.l{stroke:#57606a;stroke-dasharray:4 3}.c0{stroke:#8c959f}.c1{stroke:#0969da}.c2{stroke:#bc4c00}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.o{fill:#6e7681}.q{fill:#4493f8}.l{stroke:#9198a1}.c0{stroke:#9198a1}\
.c1{stroke:#4493f8}.c2{stroke:#f0883e}}</style>\n";

const LOAD: &str = "depth 256";

fn svg(width: usize, height: usize, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n{STYLE}{body}</svg>\n"
    )
}

/// Bars: throughput at depth 256 as ratios to the baseline of each group.
pub(super) fn bars(all: &All, groups: &[Group]) -> String {
    let (mut body, mut y) = (String::new(), 24);
    for (group, baseline) in groups.iter().flat_map(|group| {
        let known = [RAW_TONIC, ASYNCIO_TCP].into_iter().find(|name| group.baselines.contains(name));
        known.map(|baseline| (group, baseline))
    }) {
        let Some(base) = all.median(baseline, LOAD, "msgs_per_s") else { continue };
        let ratios: Vec<(&str, f64)> = group
            .subjects
            .iter()
            .filter_map(|one| Some((one.name, all.median(one.name, LOAD, "msgs_per_s")? / base)))
            .collect();
        let most = ratios.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
        let scale = 400.0 / most;
        body += &format!(
            "<text class=\"h\" x=\"8\" y=\"{y}\">{}, {LOAD}: messages a second × {baseline}</text>\n",
            group.title
        );
        let top = y + 8;
        for (name, ratio) in ratios {
            y += 24;
            let kind = if name.starts_with("Quark") { "q" } else { "o" };
            let width = ratio * scale;
            body += &format!(
                "<text x=\"268\" y=\"{y}\" text-anchor=\"end\">{name}</text>\
                 <rect class=\"{kind}\" x=\"276\" y=\"{}\" width=\"{width:.1}\" height=\"16\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{ratio:.2}</text>\n",
                y - 13,
                282.0 + width
            );
        }
        let one = 276.0 + scale;
        body +=
            &format!("<line class=\"l\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top}\" y2=\"{}\"/>\n", y + 6);
        y += 40;
    }
    svg(740, y, &body)
}

/// Curves: the median time of a call over the number of callers, both on logarithmic scales.
pub(super) fn curves(all: &All, group: &Group) -> String {
    let (x, y) = (|callers: f64| 64.0 + callers.log10() * 130.0, |us: f64| 290.0 - us.log10() * 52.0);
    let mut body = "<text class=\"h\" x=\"8\" y=\"20\">p50 of a call, by callers at once</text>\n".to_owned();
    for (power, label) in ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"].iter().enumerate() {
        let at = y(10f64.powi(power as i32));
        body += &format!("<text x=\"56\" y=\"{at:.0}\" text-anchor=\"end\">{label}</text>");
        body += &format!(
            "<line class=\"l\" x1=\"60\" x2=\"600\" y1=\"{at:.0}\" y2=\"{at:.0}\" opacity=\"0.3\"/>\n"
        );
    }
    for load in group.loads {
        let at = x(load.depth as f64);
        body += &format!("<text x=\"{at:.0}\" y=\"312\" text-anchor=\"middle\">{}</text>\n", load.depth);
    }
    for (number, subject) in group.subjects.iter().enumerate() {
        let points: Vec<(f64, f64)> = group
            .loads
            .iter()
            .filter_map(|load| {
                Some((x(load.depth as f64), y(all.median(subject.name, load.name, "p50_us")?)))
            })
            .collect();
        let path: String = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        let place = 50 + 20 * number;
        body +=
            &format!("<polyline class=\"c{number}\" fill=\"none\" stroke-width=\"2.5\" points=\"{path}\"/>");
        body += &format!(
            "<line class=\"c{number}\" stroke-width=\"2.5\" x1=\"80\" x2=\"104\" y1=\"{}\" y2=\"{}\"/>",
            place - 4,
            place - 4
        );
        body += &format!("<text x=\"110\" y=\"{place}\">{}</text>\n", subject.name);
    }
    svg(640, 326, &body)
}
