//! Whatever the bytes are: no panic, and every place lies in the file.

use kubewright::spec::Problems;
use proptest::prelude::*;

use crate::world::*;

fn sound(bytes: &[u8]) -> Result<(), TestCaseError> {
    let problems = problems(load_with(bytes, &Files::default()));
    let text = String::from_utf8_lossy(bytes);
    let widths: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
    for problem in &problems.list {
        prop_assert!(!problem.message.is_empty() && !problem.message.contains('\n'));
        if let Some(place) = &problem.place {
            prop_assert!((1..=widths.len()).contains(&place.line), "line {} of {}", place.line, widths.len());
            let width = widths[place.line - 1];
            prop_assert!((1..=width + 1).contains(&place.column), "column {} of {width}", place.column);
        }
    }
    let sorted = problems.list.is_sorted_by_key(|problem| problem.place.as_ref().map(|place| (place.line, place.column)));
    prop_assert!(sorted);
    shown(&problems)
}

fn shown(problems: &Problems) -> Result<(), TestCaseError> {
    for width in [0, 40, 100] {
        let text = problems.render(width, false);
        prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        prop_assert!(text.is_empty() == problems.is_empty());
    }
    prop_assert_eq!(problems.to_json().as_array().map(Vec::len), Some(problems.list.len()));
    Ok(())
}

/// Pieces that are likely to meet a rule.
fn piece() -> impl Strategy<Value = String> {
    let words: Vec<&str> = vec![
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        "\"",
        "'",
        "\"\"\"",
        "\n",
        "\r",
        "\r\n",
        "\t",
        "#",
        ",",
        ".",
        "-1",
        "0",
        "true",
        "nan",
        "\\u0000",
        "\u{feff}",
        "漢",
        "\u{1b}",
        "0.0.0.0/0",
        "10.20.0.0/16",
        "us-east-1a",
        "instance_group",
        "[aws]",
        "count = 2",
        "zones = []",
        "0x10",
        "1979-05-27",
        "99999999999999999999",
        "ami-",
        "~",
        "PRIVATE KEY-----",
    ];
    prop_oneof![proptest::sample::select(words).prop_map(str::to_owned), "\\PC{0,6}", ".{0,3}"]
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        sound(&bytes)?;
    }

    #[test]
    fn arbitrary_toml_like_text(pieces in proptest::collection::vec(piece(), 0..60)) {
        sound(pieces.concat().as_bytes())?;
    }

    #[test]
    fn examples_with_pieces_cut_out_and_put_in(
        example in 0..EXAMPLES.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..30_usize, piece()), 1..6),
    ) {
        let mut bytes = EXAMPLES[example].1.as_bytes().to_vec();
        for (at, cut, put) in changes {
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.into_bytes());
        }
        sound(&bytes)?;
    }
}

#[test]
fn lines_of_the_examples_left_out_or_doubled() {
    for (_, text) in EXAMPLES {
        let lines: Vec<&str> = text.lines().collect();
        for skip in 0..lines.len() {
            let left_out: Vec<&str> = lines.iter().enumerate().filter(|(at, _)| *at != skip).map(|(_, line)| *line).collect();
            sound(left_out.join("\n").as_bytes()).unwrap();
            let mut doubled = lines.clone();
            doubled.insert(skip, lines[skip]);
            sound(doubled.join("\r\n").as_bytes()).unwrap();
        }
    }
}

#[test]
fn deep_nesting_and_huge_single_lines() {
    for text in [
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("x = {}", "{ a = ".repeat(50_000)),
        format!("{} = 1", vec!["a"; 50_000].join(".")),
        format!("[{}]", vec!["a"; 50_000].join(".")),
        format!("name = \"{}\"", "a".repeat(900_000)),
        format!("[aws]\nzones = [{}]", "1,".repeat(100_000)),
        format!("x = {}", "9".repeat(900_000)),
        "=\n".repeat(50_000),
    ] {
        sound(text.as_bytes()).unwrap();
    }
}
