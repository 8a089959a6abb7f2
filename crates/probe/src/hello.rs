//! The page `knarr run knarr/hello` prints: a ship, a table of what this container sees, one line on what to try next.
//!
//! Law: pure text; colour and width are the caller's knowledge.

use crate::report::Report;
use crate::verdict::{Finding, Verdict, findings};

/// A knarr under sail: one mast, one square sail, open hold.
const SHIP: [&str; 7] = [
    r"          |",
    r"      ____|____",
    r"      )   |   (        This came out of a container.",
    r"     )____|____(       No daemon was running, and none is now.",
    r"  \       |       /",
    r"   \__o_o_|_o_o__/",
    r"~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~",
];

/// Columns below which the options column is left out, because the lines would wrap.
const OPTIONS_WIDTH_MIN: usize = 92;

/// Width of the first column.
const SUBJECT_WIDTH: usize = 16;

/// What to try next: the same image with everything closed that an option can close.
const NEXT: &str = "knarr run --rm --read-only --cap-drop all --memory 64m knarr/hello";

/// Renders `report` for a terminal `width` columns wide, with SGR colours if `colour`.
pub fn hello(report: &Report, colour: bool, width: usize) -> String {
    let paint = Paint(colour);
    let findings = findings(report);
    let protected = findings.iter().filter(|finding| finding.verdict == Verdict::Protected).count();
    let mut page = String::from("\n");
    for line in SHIP {
        page += &format!("{}\n", paint.ship(&clip(line, width)));
    }
    page.push('\n');
    for (subject, text) in identity(report) {
        page += &format!("  {}{text}\n", paint.faint(&format!("  {subject:<SUBJECT_WIDTH$}")));
    }
    page += &format!("\n  {}\n", paint.bold(&format!("Protected: {protected} of {}", findings.len())));
    for finding in &findings {
        page += &format!("  {}\n", row(finding, &paint, width >= OPTIONS_WIDTH_MIN));
    }
    page += &format!("\n  {} {}\n", paint.faint("Try next:"), paint.bold(NEXT));
    page
}

fn identity(report: &Report) -> Vec<(&'static str, String)> {
    let kernel = &report.kernel;
    let (name, release) = (kernel.name.as_deref().unwrap_or("?"), kernel.release.as_deref().unwrap_or("?"));
    vec![
        ("program", report.process.args.join(" ")),
        ("name", report.hostname.clone().unwrap_or_else(|| "none".to_string())),
        ("kernel", format!("{name} {release} {}, the host's own", kernel.machine)),
    ]
}

fn row(finding: &Finding, paint: &Paint, options: bool) -> String {
    let mark = match finding.verdict {
        Verdict::Protected => paint.good("✓"),
        Verdict::Open => paint.open("○"),
    };
    let option = match finding.verdict {
        Verdict::Open if options => finding.option,
        _ => "",
    };
    let line = format!("{mark} {:<SUBJECT_WIDTH$}{:<44}{}", finding.subject, finding.seen, paint.faint(option));
    line.trim_end().to_string()
}

/// The first `width` characters, so that the sea does not wrap.
fn clip(line: &str, width: usize) -> String {
    line.chars().take(width).collect()
}

/// Colours by meaning.
struct Paint(bool);

impl Paint {
    fn sgr(&self, code: &str, text: &str) -> String {
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
    fn ship(&self, text: &str) -> String {
        self.sgr("36", text)
    }
    fn good(&self, text: &str) -> String {
        self.sgr("32", text)
    }
    fn open(&self, text: &str) -> String {
        self.sgr("33", text)
    }
    fn faint(&self, text: &str) -> String {
        self.sgr("2", text)
    }
    fn bold(&self, text: &str) -> String {
        self.sgr("1", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect;

    #[test]
    fn without_colour_there_is_no_escape() {
        assert!(!hello(&collect(), false, 120).contains('\x1b'));
        assert!(hello(&collect(), true, 120).contains("\x1b[36m"));
    }

    #[test]
    fn no_line_is_wider_than_eighty_columns_on_such_a_terminal() {
        let page = hello(&collect(), false, 80);
        let findings = page.lines().filter(|line| line.starts_with("  ✓") || line.starts_with("  ○"));
        assert!(findings.clone().count() > 10);
        assert!(findings.clone().all(|line| line.chars().count() <= 80), "{page}");
    }

    #[test]
    fn every_finding_has_a_row() {
        let report = collect();
        let page = hello(&report, false, 120);
        assert!(findings(&report).iter().all(|finding| page.contains(&finding.seen)), "{page}");
    }
}
