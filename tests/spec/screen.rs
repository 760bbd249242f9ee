//! How problems look.

use kubewright::spec::nearest;

use crate::world::*;

#[test]
fn all_mistakes_are_shown_with_their_lines_and_counted() {
    let text = "schema = 1\nname = 'demo.k8s.example.com'\nkubernetes = '1.34.2'\naws = { region = 'us-east-1', zones = ['us-east-1a'] }\n\
        network = { pods = '10.20.0.0/16' }\napi = { dns_zone = 'k8s.example.com', access = ['203.0.113.0/24'] }\n\
        ssh = { public_key = '~/.ssh/id_ed25519.pub', access = ['203.0.113.0/24'] }\n\
        [[instance_group]]\nname = 'control-plane'\nrole = 'control-plane'\ncount = 2\nmachine-type = \"t3.medium\"\nmachine_type = 't3.medium'\n";
    let expected = "\
error: pods 10.20.0.0/16 overlap the VPC 10.20.0.0/16
 --> clusters/ha.toml:5:20
  |
5 | network = { pods = '10.20.0.0/16' }
  |                    ^^^^^^^^^^^^^^
  |
  = help: for example \"192.168.0.0/16\"
error: 2 control planes cannot keep quorum when one is lost; use 1, 3 or 5
  --> clusters/ha.toml:11:9
   |
11 | count = 2
   |         ^
error: unknown key `machine-type`; did you mean `machine_type`?
  --> clusters/ha.toml:12:1
   |
12 | machine-type = \"t3.medium\"
   | ^^^^^^^^^^^^
clusters/ha.toml: 3 errors; nothing was changed
";
    assert_eq!(load(text).unwrap_err().render(100, false), expected);
}

#[test]
fn the_caret_stands_under_its_word_with_tabs_wide_characters_and_crlf() {
    for (line, word) in
        [("\tcolour = 1", "colour"), ("tags = { \"漢字\" = \"語\", Name = \"x\" }", "Name"), ("cafe = 1 # é", "cafe")]
    {
        for end in ["\n", "\r\n"] {
            let text = edit(HA, "[aws]\n", &format!("{line}\n[aws]\n")).replace('\n', end);
            let shown = load(&text).unwrap_err().render(100, false);
            let lines: Vec<&str> = shown.lines().collect();
            let at = lines.iter().position(|shown| shown.contains('^')).unwrap();
            let width = |text: &str| unicode_width::UnicodeWidthStr::width(text);
            let caret = width(lines[at].split('^').next().unwrap());
            let under = width(lines[at - 1].split(word).next().unwrap());
            assert_eq!(caret, under, "{shown}");
            assert!(!shown.contains(['\t', '\r']), "{shown:?}");
        }
    }
}

#[test]
fn a_long_line_is_cut_around_the_caret() {
    let many: Vec<String> = (0..200).map(|n| format!("\"10.{n}.0.0/16\"")).collect();
    let text = edit(HA, "[aws]\n", &format!("node_ports.access = [{}, \"10.300.0.0/16\"]\n[aws]\n", many.join(", ")));
    let shown = load(&text).unwrap_err().render(100, false);
    assert!(shown.contains("\"10.300.0.0/16\"") && shown.contains("..."), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 110), "{shown}");
}

#[test]
fn nothing_of_the_file_reaches_the_terminal_as_a_control_character() {
    for evil in ["\"\\u001b[2J\" = 1", "\"\u{202e}x\" = 1", "x = \"\u{9b}31m\"", "cni = 1 # \u{200b}\u{2066}"] {
        let text = edit(HA, "[aws]\n", &format!("{evil}\n[aws]\n"));
        let problems = problems(load(&text));
        let shown = problems.render(100, false);
        let bad = |c: char| {
            (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
        };
        assert!(!shown.contains(bad), "{shown:?}");
    }
}

#[test]
fn colour_only_adds_to_the_text() {
    let problems = load("schema = 2\n").unwrap_err();
    let colored = problems.render(100, true);
    assert!(colored.contains('\u{1b}'));
    assert_eq!(anstream::adapter::strip_str(&colored).to_string(), problems.render(100, false));
}

#[test]
fn json_has_the_same_facts() {
    let problems = load(&edit(HA, "schema = 1", "schema = 2")).unwrap_err();
    let json = problems.to_json();
    assert_eq!(json.as_array().unwrap().len(), 1);
    assert_eq!(json[0]["file"], "clusters/ha.toml");
    assert_eq!((json[0]["line"].as_u64(), json[0]["column"].as_u64()), (Some(11), Some(10)));
    assert_eq!((json[0]["code"].as_str(), json[0]["severity"].as_str()), (Some("schema-version"), Some("error")));
    assert!(json[0]["message"].is_string() && json[0]["help"].is_string());
}

#[test]
fn a_file_full_of_mistakes_stays_readable() {
    let keys: String = (0..5000).map(|n| format!("key{n} = 1\n")).collect();
    let problems = load(&(keys + HA)).unwrap_err();
    let shown = problems.render(100, false);
    assert!(shown.contains("... and 4900 more\n"), "{}", &shown[shown.len() - 200..]);
    assert!(shown.ends_with("clusters/ha.toml: 5000 errors; nothing was changed\n"));
}

#[test]
fn the_nearest_name_is_the_one_that_was_meant() {
    let known = ["demo.k8s.example.com", "prod.k8s.example.com"];
    assert_eq!(nearest("dmo.k8s.example.com", known), Some(known[0]));
    assert_eq!(nearest("something-else", known), None);
    assert_eq!(nearest("", known), None);
    assert_eq!(nearest("networkCIDR", ["cidr", "network_cidr"]), Some("network_cidr"));
}
