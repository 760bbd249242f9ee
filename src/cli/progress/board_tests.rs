//! The board on events in every order.

use super::*;
use crate::apply::Failure;
use crate::bootstrap::NodeError;
use crate::cli::text::Page;
use crate::cloud::{CloudError, ErrorClass};
use crate::desired::fixture;
use crate::plan::Plan;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn plan() -> Plan {
    crate::cli::render::plan::first_plan(&fixture::cluster())
}

fn action(id: &str) -> Action {
    plan().actions.into_iter().find(|action| action.id == id).unwrap_or_else(|| panic!("no action {id}"))
}

fn text(facts: &[Fact]) -> String {
    let mut page = Page::new(80);
    facts.iter().for_each(|fact| page.row(1, fact.cells.clone()));
    page.plain()
}

fn live(board: &Board, second: i64) -> String {
    let lines = board.live(at(second), 80, 20);
    lines.iter().map(|line| line.iter().map(Span::text).collect::<String>() + "\n").collect()
}

#[test]
fn a_call_is_one_live_line_and_then_one_that_stays() {
    let mut board = Board::default();
    let action = action("create instance/nodes-us-east-1a-1");
    assert_eq!(board.take(&Event::ActionStarted(action.clone()), at(0)), []);
    let waiting = Event::Waiting { action: action.id.clone(), what: "i-0f3c is pending".into() };
    assert_eq!(text(&board.take(&waiting, at(1))), " create instance/nodes-us-east-1a-1  waiting: i-0f3c is pending\n");
    assert_eq!(live(&board, 3), " creating instance nodes-us-east-1a-1  i-0f3c is pending                  0:03\n");
    let done = board.take(&Event::ActionDone { action, aws_id: Some("i-0f3c".into()), seconds: 3.12 }, at(3));
    assert_eq!(text(&done), " created   instance nodes-us-east-1a-1           i-0f3c                 3.1 s\n");
    assert_eq!(board.in_work(), 0);
    assert_eq!(live(&board, 4), "");
}

#[test]
fn a_node_shows_its_step_and_what_it_waits_for() {
    let mut board = Board::default();
    board.take(&Event::ActionStarted(action("prepare nodes-us-east-1a-1")), at(0));
    let node = |event| Event::Node { slot: "nodes-us-east-1a-1".into(), event };
    let step = NodeEvent::StepStarted { step: "packages".into(), index: 1, total: 5 };
    let facts = board.take(&node(step), at(10));
    assert!(facts.iter().all(|fact| fact.pipe_only), "the live line says it");
    assert_eq!(text(&facts), " nodes-us-east-1a-1  step packages (2 of 5)\n");
    board.take(&node(NodeEvent::Waiting("kubelet".into())), at(11));
    assert_eq!(live(&board, 81), " nodes-us-east-1a-1  packages [##        ] 2/5  kubelet                   1:21\n");
}

#[test]
fn a_wait_is_told_when_it_changes_and_every_half_minute() {
    let mut board = Board::default();
    let mut told = 0;
    for second in 0..90 {
        let what = if second < 70 { "i-0 is pending" } else { "i-0 is running" };
        let event = Event::Waiting { action: "create instance/x".into(), what: what.into() };
        told += board.take(&event, at(second)).len();
    }
    assert_eq!(told, 4, "at 0, 30 and 60 seconds, and when it changed");
}

#[test]
fn more_than_the_screen_holds_is_counted() {
    let mut board = Board::default();
    let actions = plan().actions;
    actions.iter().for_each(|action| drop(board.take(&Event::ActionStarted(action.clone()), at(0))));
    let all = board.in_work();
    let lines = board.live(at(1), 80, 5);
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[4][0].text(), format!(" and {} more in work", all - 4));
}

fn events(hostile: &str) -> Vec<Event> {
    let error = CloudError {
        class: ErrorClass::Throttled,
        action: "ec2:RunInstances".into(),
        code: "RequestLimitExceeded".into(),
        message: hostile.into(),
        request_id: None,
    };
    let node_error = NodeError {
        slot: "nodes-us-east-1a-1".into(),
        address: "10.0.0.1".into(),
        step: "join".into(),
        command: None,
        exit: Some(1),
        stderr: vec![hostile.into()],
        log: vec![],
        cause: hostile.into(),
        left: "x".into(),
        retryable: false,
        seconds: 3,
    };
    let (call, node) = (action("create vpc"), action("prepare nodes-us-east-1a-1"));
    let slot = "nodes-us-east-1a-1".to_owned();
    vec![
        Event::Phase("verify"),
        Event::ActionStarted(call.clone()),
        Event::ActionStarted(node.clone()),
        Event::Waiting { action: call.id.clone(), what: hostile.into() },
        Event::Again { action: call.id.clone(), error: error.clone(), in_seconds: 4 },
        Event::Node { slot: slot.clone(), event: NodeEvent::StepStarted { step: hostile.into(), index: 1, total: 0 } },
        Event::Node { slot: slot.clone(), event: NodeEvent::Waiting(hostile.into()) },
        Event::Node { slot, event: NodeEvent::Warning(hostile.into()) },
        Event::ActionFailed { action: call, failure: Failure::Cloud(error) },
        Event::ActionFailed { action: node, failure: Failure::Node(Box::new(node_error)) },
        Event::Note(hostile.into()),
    ]
}

proptest! {
    #[test]
    fn no_live_line_is_wider_than_the_screen_and_nothing_moves_the_cursor(hostile in ".{0,200}", width in 40usize..140) {
        let mut board = Board::default();
        for event in events(&format!("{hostile}\x1b[2J\u{202e}")) {
            let facts = board.take(&event, at(0));
            for line in board.live(at(61), width, 20) {
                let wide: usize = line.iter().map(Span::width).sum();
                prop_assert!(wide <= width, "{} > {}: {:?}", wide, width, line);
                prop_assert!(!line.iter().any(|span| span.text().chars().any(char::is_control)));
            }
            let text = text(&facts);
            prop_assert!(!text.chars().any(|c| c != '\n' && c.is_control()), "{:?}", text);
        }
    }
}
