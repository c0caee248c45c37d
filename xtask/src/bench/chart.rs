//! Charts as SVG, readable in light and in dark.

use super::figures::All;
use super::table::{ASYNCIO_TCP, Group, Load, RAW_TONIC};

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

/// Bars: throughput at depth 256 as ratios to the baseline of each group that has this load.
pub(super) fn bars(all: &All, groups: &[Group]) -> String {
    let (mut body, mut y) = (String::new(), 24);
    for group in groups.iter().filter(|group| group.loads.iter().any(|load| load.name == LOAD)) {
        let known = [RAW_TONIC, ASYNCIO_TCP].into_iter().find(|name| group.baselines.contains(name));
        if let Some(baseline) = known {
            body += &section(&mut y, all, group, baseline);
        }
    }
    svg(740, y, &body)
}

/// One group of bars, below `y`.
fn section(y: &mut usize, all: &All, group: &Group, baseline: &str) -> String {
    let rate = |name: &str| all.median(name, LOAD, "msgs_per_s");
    let Some(base) = rate(baseline) else { return String::new() };
    let ratios: Vec<(&str, f64)> =
        group.subjects.iter().filter_map(|one| Some((one.name, rate(one.name)? / base))).collect();
    let scale = 400.0 / ratios.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let title = format!("{}, {LOAD}: messages a second × {baseline}", group.title);
    let mut body = format!("<text class=\"h\" x=\"8\" y=\"{y}\">{title}</text>\n");
    let top = *y + 8;
    for (name, ratio) in ratios {
        *y += 24;
        let kind = if name.starts_with("Quark") || name.starts_with("Rust,") { "q" } else { "o" };
        let width = ratio * scale;
        body += &format!(
            "<text x=\"268\" y=\"{y}\" text-anchor=\"end\">{name}</text>\
             <rect class=\"{kind}\" x=\"276\" y=\"{}\" width=\"{width:.1}\" height=\"16\"/>\
             <text x=\"{:.1}\" y=\"{y}\">{ratio:.2}</text>\n",
            *y - 13,
            282.0 + width
        );
    }
    let one = 276.0 + scale;
    body += &format!("<line class=\"l\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{top}\" y2=\"{}\"/>\n", *y + 6);
    *y += 40;
    body
}

/// Throughput over the number of silos as bars, and below it the median time of a call over the number of callers as
/// curves, both of whose scales are logarithmic.
pub(super) fn growth(all: &All, silos: &Group, callers: &Group) -> String {
    let mut top = 24;
    let mut body =
        silos.baselines.iter().map(|baseline| section(&mut top, all, silos, baseline)).collect::<String>();
    body += &format!("<g transform=\"translate(0 {})\">\n{}</g>\n", top - 20, curves(all, callers));
    svg(740, top + 310, &body)
}

fn curves(all: &All, group: &Group) -> String {
    let (x, y) = (|callers: f64| 64.0 + callers.log10() * 150.0, |us: f64| 295.0 - us.log10() * 50.0);
    let mut body = "<text class=\"h\" x=\"8\" y=\"20\">p50 of a call, by callers at once</text>\n".to_owned();
    for (power, label) in ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms"].iter().enumerate() {
        let at = y(10f64.powi(power as i32));
        body += &format!(
            "<text x=\"56\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>\
             <line class=\"l\" x1=\"64\" x2=\"680\" y1=\"{at:.0}\" y2=\"{at:.0}\" opacity=\"0.3\"/>\n",
            at + 4.0
        );
    }
    for load in group.loads {
        let at = x(load.depth as f64);
        body += &format!("<text x=\"{at:.0}\" y=\"316\" text-anchor=\"middle\">{}</text>\n", load.depth);
    }
    for (number, subject) in group.subjects.iter().enumerate() {
        let point = |load: &Load| {
            let time = all.median(subject.name, load.name, "p50_us")?;
            Some(format!("{:.1},{:.1} ", x(load.depth as f64), y(time)))
        };
        let path: String = group.loads.iter().filter_map(point).collect();
        let (middle, place) = (66 + 20 * number, 70 + 20 * number);
        body += &format!(
            "<polyline class=\"c{number}\" fill=\"none\" stroke-width=\"2.5\" points=\"{path}\"/>\
             <line class=\"c{number}\" stroke-width=\"2.5\" x1=\"80\" x2=\"104\" y1=\"{middle}\" y2=\"{middle}\"/>\
             <text x=\"110\" y=\"{place}\">{}</text>\n",
            subject.name
        );
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::figures::of_line;
    use super::super::table::{GROUPS, GROWTH};
    use super::*;

    #[test]
    fn a_group_without_the_load_has_no_bars() {
        let mut all = All::default();
        for (name, rate) in [(RAW_TONIC, 100), ("Quark, Rust", 150)] {
            all.add(name, LOAD, of_line(&format!("{{\"msgs_per_s\": {rate}}}")));
        }
        let svg = bars(&all, GROUPS);
        assert_eq!(svg.matches(">1.50<").count(), 1, "{svg}");
        assert!(svg.contains("Rust and C, 64 B") && !svg.contains("larger payloads"), "{svg}");
    }

    #[test]
    fn the_curves_have_a_point_for_each_load() {
        let mut all = All::default();
        for load in GROWTH[1].loads {
            all.add(RAW_TONIC, load.name, of_line("{\"p50_us\": 10.0}"));
        }
        let svg = growth(&all, &GROWTH[0], &GROWTH[1]);
        assert!(
            svg.contains("points=\"64.0,245.0 214.0,245.0 364.0,245.0 514.0,245.0 664.0,245.0 \""),
            "{svg}"
        );
    }
}
