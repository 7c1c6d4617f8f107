//! Pages, looked at in a real browser: Debian's chromium without a screen.
#![allow(dead_code)] // Each test looks at its own pages.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Shows a page in a frame of this many pixels and tells what came out.
const FRAME: &str = r#"<!DOCTYPE html>
<body style="margin:0"><iframe id="frame" src="PAGE" style="border:0;width:WIDTHpx;height:844px"></iframe>
<pre id="told"></pre>
<script>
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const style = frame.contentWindow.getComputedStyle(page.body);
  told.textContent = JSON.stringify({
    width: root.clientWidth, content: root.scrollWidth, height: root.scrollHeight,
    background: style.backgroundColor, text: style.color,
    foreign: frame.contentWindow.performance.getEntriesByType("resource").length,
  });
};
</script>
"#;

/// Looks at a page on a phone and on a desk, in light and in dark: nothing sticks out at the side,
/// the background is as light or as dark as asked for, the text stands out from it, and nothing is
/// loaded from elsewhere.
pub fn look_at(page: &Path) {
    if Command::new("chromium").arg("--version").output().is_err() {
        println!("skipped: {} is not looked at, for chromium is not installed", page.display());
        return;
    }
    let name = page.file_name().unwrap().to_str().unwrap();
    let frame = page.with_file_name(format!("frame-of-{name}"));
    let profile = page.with_file_name("chromium");
    for width in [390, 1_280] {
        let html = FRAME.replace("PAGE", name).replace("WIDTH", &width.to_string());
        fs::write(&frame, html).unwrap();
        for (scheme, is_light) in [("1", true), ("0", false)] {
            let output = Command::new("chromium")
                .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
                .args(["--allow-file-access-from-files", "--virtual-time-budget=5000"])
                .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg(format!("--window-size={width},900"))
                .arg(format!("file://{}", frame.display()))
                .output()
                .unwrap();
            let dom = String::from_utf8_lossy(&output.stdout);
            let told =
                dom.split("<pre id=\"told\">").nth(1).and_then(|rest| rest.split('<').next());
            let told: Value = serde_json::from_str(told.unwrap_or_default())
                .unwrap_or_else(|error| panic!("{name} was not shown: {error}\n{dom}"));
            let number = |key: &str| told[key].as_u64().expect(key);
            assert!(number("content") <= number("width"), "{name} at {width}: {told}");
            assert!(number("height") > 300, "{name} at {width}: {told}");
            assert_eq!(number("foreign"), 0, "{name} loads something: {told}");
            let [background, text] =
                ["background", "text"].map(|key| luminance(told[key].as_str().expect(key)));
            assert_eq!(background > 0.5, is_light, "{name}: {told}");
            // WCAG's enhanced contrast.
            let (light, dark) = (background.max(text), background.min(text));
            assert!((light + 0.05) / (dark + 0.05) >= 7.0, "{name}: {told}");
        }
    }
    fs::remove_file(&frame).unwrap();
    let _ = fs::remove_dir_all(&profile);
}

/// The relative luminance of `rgb(r, g, b)`, as WCAG defines it.
fn luminance(colour: &str) -> f64 {
    let inside = colour.trim_start_matches("rgb(").trim_end_matches(')');
    let linear = inside.split(',').map(|part| {
        let part: f64 = part.trim().parse().expect(colour);
        let share = part / 255.0;
        if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
    });
    linear.zip([0.2126, 0.7152, 0.0722]).map(|(part, weight)| part * weight).sum()
}
