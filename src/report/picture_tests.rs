//! Pictures are read back as XML by a few rules of their own.

use proptest::prelude::*;

use super::super::made_up::{run, task};
use super::*;
use crate::apply::Event;

/// Everything between the tags, and a complaint about anything that is not well formed or comes from outside.
fn texts(picture: &str) -> String {
    let (mut open, mut texts, mut rest) = (vec![], String::new(), picture);
    while let Some((before, tag)) = rest.split_once('<') {
        texts.push_str(before);
        let (tag, after) = tag.split_once('>').expect("a tag ends");
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap_or_default();
        assert!(["svg", "style", "rect", "text", "title", "line"].contains(&name), "{tag}");
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "{tag}"),
            (_, true) => {}
            _ => open.push(name),
        }
        rest = after;
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
    for entity in texts.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;"].iter().any(|known| entity.starts_with(known)), "&{entity}");
    }
    assert!(texts.chars().all(|c| c == '\n' || !c.is_control()), "{texts:?}");
    texts
}

#[test]
fn a_run_is_drawn_with_its_steps_waits_and_failures() {
    let picture = svg(&run("nodes-a-1"), "demo: 12 s");
    let texts = texts(&picture);
    for told in [
        "demo: 12 s",
        "nodes-a-1",
        "prepare nodes-a-1 / packages: 4.0 s, from 3.0 s",
        "waiting: SSH: refused: 0.5 s, from 2.5 s",
        "waiting: &lt;lock &amp; \"key\"&gt;: 1.0 s, from 6.0 s",
        "prepare other / kernel: 1.0 s, from 8.0 s, failed",
        "waited for create vpc: 2.5 s, from 7.5 s",
        "join nodes-a-1: 2.0 s, from 10 s, not finished",
        "prefers-color-scheme: dark",
    ] {
        assert!(texts.contains(told), "{told}: {texts}");
    }
    assert!(picture.contains(r#"class="failed""#));
}

#[test]
fn nothing_to_do_is_a_picture_too() {
    let mut timeline = Timeline::default();
    timeline.close(0.0);
    assert!(texts(&svg(&timeline, "demo: 0.0 s")).contains("There was nothing to do."));
}

#[test]
fn a_large_cluster_and_a_long_run_have_a_readable_grid() {
    let mut timeline = Timeline::default();
    for n in 0..300 {
        timeline.take(&Event::ActionStarted(task(NodeTask::Prepare, &format!("nodes-{n}"), &[])), f64::from(n));
    }
    timeline.close(90_000.0);
    let picture = svg(&timeline, "demo");
    let _ = texts(&picture);
    assert!(picture.matches(r#"class="grid""#).count() <= 13, "{picture}");
}

proptest! {
    #[test]
    fn no_name_breaks_out(name in ".*", title in "\\PC*") {
        let _ = texts(&svg(&run(&name), &title));
        let _ = texts(&svg(&run(&format!("</text><script>{name}")), &format!("]]>{title}\u{0}\u{202e}\u{ffff}")));
    }
}
